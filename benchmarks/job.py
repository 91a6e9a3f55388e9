"""What a peer is asked to do, and what those that work in one process read and write.

    python -m peers.NAME WORKLOAD OUT [--users N] [--cores C] [--k K] [--passes P] [--variant V]

Every pass reads `WORKLOAD/histories.parquet` and writes the lists of the first N users to `OUT/pass-<n>`; the last line
of the output is JSON, {"stages": {NAME: {"cpu": seconds, "wall": seconds}}}. PYTHONPATH has `benchmarks` and `src`.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import scipy.sparse as sp

from measure import Stages

CHUNK = 1024


@dataclass(frozen=True)
class Job:
    """`users` of the workload (the first ones), lists of `k`, on `cores`."""

    workload: Path
    out: Path
    users: int
    cores: int
    k: int
    passes: int
    variant: str

    @property
    def histories(self) -> Path:
        return self.workload / "histories.parquet"

    @property
    def features(self) -> Path:
        return self.workload / "features.parquet"

    def place(self, number: int) -> Path:
        """Where pass `number` (from 1) writes."""
        return self.out / f"pass-{number}"

    def items(self) -> np.ndarray:
        return np.load(self.workload / "als_items.npy")

    def factors(self) -> np.ndarray:
        """The users' factors."""
        return np.load(self.workload / "folded_users.npy")[: self.users]


def run_passes(work: Callable[[Job, int], None], *, about: str | None) -> None:
    """The whole of a peer in one process: its passes, each a stage of its own."""
    job, stages = read_job(about), Stages()
    for number in range(1, job.passes + 1):
        with stages.stage(f"job {number}"):
            work(job, number)
    stages.report(users=job.users)


def read_job(about: str | None) -> Job:
    parser = argparse.ArgumentParser(description=about)
    parser.add_argument("workload", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--users", type=int, default=0)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--passes", type=int, default=1)
    parser.add_argument("--variant", default="")
    asked = parser.parse_args()
    everyone = pq.read_metadata(next(asked.workload.glob("*.parquet"))).num_rows
    asked.users = min(asked.users or everyone, everyone)
    asked.out.mkdir(parents=True, exist_ok=True)
    return Job(**vars(asked))


def as_matrix(histories: pa.Table, *, items: int) -> sp.csr_matrix:
    """Column `item_ids` as a users x items matrix of ones, without a loop."""
    lists = histories.column("item_ids").combine_chunks()
    offsets = np.concatenate([[0], np.cumsum(lists.value_lengths().to_numpy())])
    columns = pc.subtract(lists.flatten(), 1).to_numpy()
    return sp.csr_matrix((np.ones(len(columns), np.float32), columns, offsets), shape=(len(lists), items))


def read_histories(job: Job) -> pa.Table:
    return pq.read_table(job.histories, columns=["user_id", "item_ids"], filters=pc.field("user_id") <= job.users)


def write_lists(path: Path, users: pa.ChunkedArray, items: np.ndarray, scores: np.ndarray) -> None:
    """Write `user_id, item_ids, scores`; rows of -1 pad lists that are shorter."""
    kept = items >= 0
    offsets = pa.array(np.concatenate([[0], np.cumsum(kept.sum(axis=1))]).astype(np.int32))
    ids = pa.ListArray.from_arrays(offsets, pa.array(items[kept].astype(np.int64) + 1))
    values = pa.ListArray.from_arrays(offsets, pa.array(scores[kept].astype(np.float32)))
    path.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"user_id": users, "item_ids": ids, "scores": values}), path / "lists.parquet")


def usual_top_k(users: np.ndarray, items: np.ndarray, seen: sp.csr_matrix, k: int) -> tuple[np.ndarray, np.ndarray]:
    """The K best unseen items as it is usually written: 1,024 users at once, argpartition of the negated scores."""
    found, values = [], []
    for first in range(0, len(users), CHUNK):
        scores = users[first : first + CHUNK] @ items.T
        part = seen[first : first + CHUNK]
        scores[np.repeat(np.arange(len(scores)), np.diff(part.indptr)), part.indices] = -np.inf
        best = np.argpartition(-scores, k, axis=1)[:, :k]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        found.append(np.take_along_axis(best, order, axis=1))
        values.append(np.take_along_axis(scores, found[-1], axis=1))
    return np.concatenate(found), np.concatenate(values)
