"""The same work for everybody: users' histories with a power law, and item factors, in one folder.

    histories.parquet   user_id, item_ids, weights, event_times   one row per user, each item once
    factors.npy         float32 items x 64      row = item id - 1
    users.npy           float32 users x 64      the sum of the factors of a user's items: what folding in gives

Peers are given `users.npy`; this project folds the histories in as part of its job.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp

RANK = 64


@dataclass(frozen=True)
class Size:
    users: int
    items: int
    mean_history: float
    seed: int = 11


SIZES = {
    "XS": Size(2_000, 2_000, 60.0),
    "S": Size(16_254, 10_000, 154.0),
    "L": Size(162_541, 59_047, 153.5),  # MovieLens-25M's shape
}


def interactions(size: Size) -> sp.csr_matrix:
    """A users x items matrix of ones: popularity ~ rank^-1, log-normal history lengths, tastes over 40 clusters."""
    dice = np.random.default_rng(size.seed)
    clusters = 40
    popularity = 1.0 / np.arange(1, size.items + 1) ** 1.0
    likes = dice.gamma(0.5, 2.0, (clusters, size.items)).astype(np.float32)
    cumulated = np.cumsum(popularity * likes, axis=1)
    cumulated /= cumulated[:, -1:]
    lengths = np.clip(dice.lognormal(np.log(size.mean_history) - 0.72, 1.2, size.users), 5, size.items // 4).astype(int)
    taste = dice.integers(0, clusters, (size.users, 3))
    rows, columns = [], []
    for user in range(size.users):
        # half as many again, since repeats fall out
        drawn = dice.random(int(lengths[user] * 1.5))
        third = len(drawn) // 3
        parts = (drawn[:third], drawn[third : 2 * third], drawn[2 * third :])
        found = [np.searchsorted(cumulated[c], part) for c, part in zip(taste[user], parts, strict=True)]
        items = np.unique(np.concatenate(found))[: size.items]
        kept = items if len(items) <= lengths[user] else dice.choice(items, lengths[user], replace=False)
        rows.append(np.full(len(kept), user, np.int32))
        columns.append(np.minimum(kept, size.items - 1).astype(np.int32))
    row, column = np.concatenate(rows), np.concatenate(columns)
    return sp.csr_matrix((np.ones(len(row), np.float32), (row, column)), shape=(size.users, size.items))


def factors(matrix: sp.csr_matrix, size: Size, kind: str) -> np.ndarray:
    """Item factors: implicit's ALS, PureSVD, or PureSVD with rows of norm one."""
    if kind == "als":
        from implicit.als import AlternatingLeastSquares

        model = AlternatingLeastSquares(factors=RANK, iterations=3, random_state=size.seed, num_threads=2)
        model.fit(matrix, show_progress=False)
        return np.asarray(model.item_factors, np.float32)
    from sklearn.utils.extmath import randomized_svd

    _, _, components = randomized_svd(matrix, RANK, n_iter=2, random_state=size.seed)
    found = np.ascontiguousarray(components.T, np.float32)
    return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-12) if kind == "normalised" else found


def make(folder: Path, name: str, kind: str = "als") -> Path:
    """The workload in `folder/name`, made unless it is there."""
    target = folder / name
    if (target / "users.npy").exists():
        return target
    target.mkdir(parents=True, exist_ok=True)
    size = SIZES[name]
    matrix = interactions(size)
    matrix.sort_indices()
    found = factors(matrix, size, kind)
    np.save(target / "factors.npy", found)
    _write_histories(matrix, target / "histories.parquet")
    np.save(target / "users.npy", np.asarray(matrix @ found, np.float32))
    return target


def _write_histories(matrix: sp.csr_matrix, path: Path) -> None:
    offsets = pa.array(matrix.indptr.astype(np.int32))
    item_ids = pa.ListArray.from_arrays(offsets, pa.array(matrix.indices.astype(np.int64) + 1))
    weights = pa.ListArray.from_arrays(offsets, pa.array(matrix.data))
    moments = pa.array(np.arange(matrix.nnz, dtype=np.int64) % 10**6 * 10**6).cast(pa.timestamp("us", "UTC"))
    table = pa.table(
        {
            "user_id": pa.array(np.arange(1, matrix.shape[0] + 1, dtype=np.int64)),
            "item_ids": item_ids,
            "weights": weights,
            "event_times": pa.ListArray.from_arrays(offsets, moments),
        }
    )
    pq.write_table(table, path, row_group_size=4_096)
