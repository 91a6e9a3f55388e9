"""faiss `IndexFlatIP` in one process: search K + as many as the user has seen, then drop what was seen.

One search has one k, so users go in groups of similar history length, each with the k of its longest; that keeps
every list complete.
"""

import faiss
import numpy as np
import scipy.sparse as sp

from job import Job, as_matrix, read_histories, run_passes, write_lists

_GROUP = 1024


def top_k(index: faiss.IndexFlatIP, users: np.ndarray, seen: sp.csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
    lengths = np.diff(seen.indptr)
    order = np.argsort(lengths, kind="stable")
    found = np.full((len(users), k), -1, np.int64)
    scores = np.zeros((len(users), k), np.float32)
    mark = np.zeros((_GROUP, seen.shape[1]), bool)
    for first in range(0, len(users), _GROUP):
        group = order[first : first + _GROUP]
        part = seen[group]
        row = np.repeat(np.arange(len(group)), np.diff(part.indptr))
        values, items = index.search(users[group], min(k + int(lengths[group].max()), index.ntotal))
        mark[row, part.indices] = True
        fresh = ~np.take_along_axis(mark[: len(group)], items, axis=1)
        mark[row, part.indices] = False
        keep = fresh & (np.cumsum(fresh, axis=1) <= k)
        owner, place = np.nonzero(keep)
        rank = np.cumsum(keep, axis=1)[keep] - 1
        found[group[owner], rank] = items[owner, place]
        scores[group[owner], rank] = values[owner, place]
    return found, scores


def work(job: Job, number: int) -> None:
    faiss.omp_set_num_threads(job.cores)
    histories = read_histories(job)
    items = job.items()
    index = faiss.IndexFlatIP(items.shape[1])
    index.add(items)
    seen = as_matrix(histories, items=len(items))
    found, scores = top_k(index, job.factors(), seen, job.k)
    write_lists(job.place(number), histories.column("user_id"), found, scores)


if __name__ == "__main__":
    run_passes(work, about=__doc__)
