"""Points of the scaling curves that need no Spark: what a worker does with an Arrow batch, one thread, CPU time.

    python points.py WORKLOAD [--quick]

Catalogues of other sizes are drawn from the workload's items with 5 % of noise, so the norms keep their distribution;
histories are drawn by popularity. Prints {"items": {n: us per user}, "history": …, "k": …}.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from model import recommender
from scoreline.models.scoring import Scorer

ITEMS = (1_000, 4_000, 16_000, 64_000, 250_000, 1_000_000)
HISTORY = (10, 30, 100, 300, 1_000, 3_000)
KS = (1, 3, 10, 20, 100, 300, 1_000)
BATCH = 4_096


def catalogue(items: np.ndarray, size: int) -> np.ndarray:
    """`size` items like the given ones, the most popular (first) ones still first."""
    dice = np.random.default_rng(0)
    drawn = items[np.sort(dice.integers(0, len(items), size))]
    spread = np.linalg.norm(drawn, axis=1, keepdims=True) / np.sqrt(items.shape[1])
    return (drawn + 0.05 * spread * dice.normal(size=drawn.shape)).astype(np.float32)


def batch_of(items: int, length: int, users: int) -> pa.RecordBatch:
    """Histories of `length` items each (about: repeats fall out), popular ones more often."""
    dice = np.random.default_rng(1)
    chosen = np.minimum((items ** dice.random((users, length))).astype(np.int64) - 1, items - 1)
    rows = [np.unique(row) + 1 for row in chosen]
    return pa.RecordBatch.from_pydict({"item_ids": pa.array(rows, pa.list_(pa.int64()))})


def stored(workload: Path, users: int) -> pa.RecordBatch:
    """The workload's own histories."""
    rows = pq.read_table(workload / "histories.parquet", columns=["item_ids"]).slice(0, users)
    return rows.combine_chunks().to_batches()[0]


def microseconds(scorer: Scorer, batch: pa.RecordBatch, k: int, passes: int = 2) -> float:
    """CPU time per user, the best of some passes."""
    spent = []
    for _ in range(passes):
        started = time.process_time()
        scorer(batch, {"k": k})
        spent.append((time.process_time() - started) / batch.num_rows * 1e6)
    return min(spent)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", type=Path)
    parser.add_argument("--quick", action="store_true")
    asked = parser.parse_args()
    users = 512 if asked.quick else BATCH
    items = np.load(asked.workload / "als_items.npy")
    own = Scorer(recommender(items))
    found: dict[str, dict[int, float]] = {"items": {}, "history": {}, "k": {}}
    for size in ITEMS[: 4 if asked.quick else None]:
        scorer = Scorer(recommender(catalogue(items, size)))
        found["items"][size] = microseconds(scorer, batch_of(size, 100, users), 20)
    for length in HISTORY:
        found["history"][length] = microseconds(own, batch_of(len(items), length, users), 20)
    for k in KS:
        found["k"][k] = microseconds(own, stored(asked.workload, users), k)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
