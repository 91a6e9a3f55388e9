"""One top-K kernel on the workload's factors, one thread, in a process of its own: CPU microseconds per user.

    python kernel.py WORKLOAD KERNEL KIND USERS OUT

naive (argpartition of -scores, 1,024 users at once), gemm (all scores in cache-sized blocks and nothing else: what
brute force cannot be faster than), implicit's `topk` with its filter, faiss `IndexFlatIP` with K + history, ours.
Each figure is the best of three passes; the lists go to OUT/kernel-KERNEL-KIND.npy.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from job import usual_top_k

K = 20
PASSES = 3
KERNELS = ("ours", "gemm", "implicit", "naive", "faiss")
Kernel = Callable[[np.ndarray, np.ndarray, sp.csr_matrix], np.ndarray | None]


def naive(users: np.ndarray, items: np.ndarray, seen: sp.csr_matrix) -> np.ndarray:
    return usual_top_k(users, items, seen, K)[0]


def gemm(users: np.ndarray, items: np.ndarray, seen: sp.csr_matrix) -> None:
    """All scores, block by block, and nothing else."""
    cells = np.empty(256 * 2048, np.float32)
    for first in range(0, len(users), 256):
        block = users[first : first + 256]
        for start in range(0, len(items), 2048):
            tile = items[start : start + 2048].T
            out = cells[: len(block) * tile.shape[1]].reshape(len(block), -1)
            np.matmul(block, tile, out=out)


def implicit(users: np.ndarray, items: np.ndarray, seen: sp.csr_matrix) -> np.ndarray:
    """What implicit's `recommend` calls."""
    from implicit.cpu.topk import topk

    return np.asarray(topk(items, users, K, filter_query_items=seen, num_threads=1)[0])


def faiss(users: np.ndarray, items: np.ndarray, seen: sp.csr_matrix) -> np.ndarray:
    import faiss as library

    from peers.faiss import top_k

    library.omp_set_num_threads(1)
    index = library.IndexFlatIP(items.shape[1])
    index.add(items)
    return top_k(index, users, seen, K)[0]


def prepared(items: np.ndarray) -> Kernel:
    """Ours: items are sorted once, when a model is saved; what is timed is scoring."""
    from scoreline.models.search.factors import best_items
    from scoreline.models.search.norm_sorted import NormSortedItems

    catalogue = NormSortedItems.from_factors(items)

    def ours(users: np.ndarray, items: np.ndarray, seen: sp.csr_matrix) -> np.ndarray:
        offsets = seen.indptr.astype(np.int64)
        found = best_items(catalogue, users, seen_offsets=offsets, seen_items=seen.indices, k=K)
        return found.items.reshape(-1, K)

    return ours


def main() -> None:
    workload, name, kind, count, out = sys.argv[1:]
    users = np.load(Path(workload) / f"{kind}_users.npy")[: int(count)]
    items = np.load(Path(workload) / f"{kind}_items.npy")
    seen = sp.load_npz(Path(workload) / "events.npz")[: len(users)]
    known: dict[str, Kernel] = {"naive": naive, "gemm": gemm, "implicit": implicit, "faiss": faiss}
    kernel = known[name] if name in known else prepared(items)
    spent = []
    for _ in range(PASSES):
        started = time.process_time()
        found = kernel(users, items, seen)
        spent.append((time.process_time() - started) / len(users) * 1e6)
    if found is not None:
        np.save(Path(out) / f"kernel-{name}-{kind}.npy", found)
    print(json.dumps({"us": min(spent), "users": len(users)}))


if __name__ == "__main__":
    main()
