"""The same work for everybody: users' histories and item factors, generated once into one folder per size.

    histories.parquet                   user_id, item_ids, weights, event_times   one row per user, each item once
    events.npz                          the same as a users x items matrix of ones; item id = column + 1
    {als,svd,normalised}_items.npy      float32 items x 64
    {als,svd,normalised}_users.npy      float32 users x 64    what training gave; the kernels are timed with them
    folded_users.npy                    float32 users x 64    the sum of the ALS factors of a user's items

Whole jobs recommend for `folded_users`: this project folds the histories in as part of its job, peers that
want users' factors are given them.
"""

import argparse
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp

RANK = 64
KINDS = ("als", "svd", "normalised")
_TASTES = 30


@dataclass(frozen=True)
class Size:
    """How many users, items and (roughly) events."""

    users: int
    items: int
    events: int


SIZES = {
    "XS": Size(2_000, 2_000, 120_000),
    "S": Size(16_254, 10_000, 2_500_000),
    "L": Size(162_541, 59_047, 25_000_000),  # MovieLens-25M's shape
}


def interactions(size: Size, *, seed: int = 0) -> sp.csr_matrix:
    """Events with lognormal activity and power-law popularity; 60 % of a user's follow a few of 30 tastes."""
    rng = np.random.default_rng(seed)
    activity = np.exp(rng.normal(0, 1.2, size.users))
    # a quarter more than wanted, since repeats fall out
    wanted = np.clip(activity / activity.sum() * size.events * 1.25, 20, size.items // 4).astype(np.int64)
    popularity = (np.arange(size.items) + 20.0) ** -1.1
    group = rng.integers(0, _TASTES, size.items)
    tastes = rng.dirichlet(np.full(_TASTES, 0.15), size.users).cumsum(axis=1)
    members = [np.flatnonzero(group == g) for g in range(_TASTES)]
    shares = [np.cumsum(popularity[m]) / popularity[m].sum() for m in members]
    anywhere = np.cumsum(popularity) / popularity.sum()
    keys = []
    for first in range(0, size.users, 4096):
        row = np.repeat(np.arange(first, min(first + 4096, size.users)), wanted[first : first + 4096])
        item = np.searchsorted(anywhere, rng.random(len(row)))
        tasteful = np.flatnonzero(rng.random(len(row)) < 0.6)
        chosen = (tastes[row[tasteful]] < rng.random(len(tasteful))[:, None]).sum(axis=1).clip(0, _TASTES - 1)
        for g in range(_TASTES):
            own = tasteful[chosen == g]
            place = np.searchsorted(shares[g], rng.random(len(own))).clip(0, len(members[g]) - 1)
            item[own] = members[g][place]
        keys.append(np.unique(row * size.items + np.minimum(item, size.items - 1)))
    key = np.concatenate(keys)
    ones = np.ones(len(key), np.float32)
    return sp.csr_matrix((ones, (key // size.items, key % size.items)), shape=(size.users, size.items))


def make(folder: Path, name: str, *, peer_python: str, kinds: tuple[str, ...] = ("als",)) -> Path:
    """The workload `folder/name`, made as far as it is not there; ALS is trained by implicit in `peer_python`."""
    target = folder / name
    target.mkdir(parents=True, exist_ok=True)
    if not (target / "histories.parquet").exists():
        matrix = interactions(SIZES[name])
        matrix.sort_indices()
        sp.save_npz(target / "events.npz", matrix, compressed=False)
        _write_histories(matrix, target / "histories.parquet")
    if not (target / "folded_users.npy").exists():
        _train(target, peer_python)
        folded = sp.load_npz(target / "events.npz") @ np.load(target / "als_items.npy")
        np.save(target / "folded_users.npy", np.asarray(folded, np.float32))
    for kind in kinds:
        if not (target / f"{kind}_users.npy").exists():
            {"svd": pure_svd, "normalised": _normalised}[kind](target)
    return target


def _train(target: Path, peer_python: str) -> None:
    if Path(peer_python).exists():
        done = subprocess.run([peer_python, __file__, str(target)], capture_output=True, text=True, check=False)
        if done.returncode == 0:
            return
    power_law(target)


def als(target: Path) -> None:
    """Alternating least squares of implicit."""
    import implicit

    model = implicit.als.AlternatingLeastSquares(factors=RANK, iterations=5, random_state=0, num_threads=2)
    model.fit(sp.load_npz(target / "events.npz"), show_progress=False)
    _save(target, "als", np.asarray(model.user_factors), np.asarray(model.item_factors))
    (target / "origin.json").write_text(json.dumps(f"implicit {implicit.__version__}, 5 iterations"))


def power_law(target: Path) -> None:
    """Where implicit is not to be had: random factors whose norms follow a power law."""
    events = sp.load_npz(target / "events.npz")
    norms = (np.arange(events.shape[1]) + 1.0) ** -0.6
    items = np.random.default_rng(0).normal(size=(events.shape[1], RANK)) * norms[:, None]
    _save(target, "als", events @ items, items)
    (target / "origin.json").write_text(json.dumps("random factors with norms by power law: no implicit here"))


def pure_svd(target: Path) -> None:
    """PureSVD by randomised subspace iteration."""
    events = sp.load_npz(target / "events.npz")
    sketch = np.random.default_rng(1).normal(size=(events.shape[1], RANK + 16)).astype(np.float32)
    for _ in range(4):
        sketch = np.linalg.qr(events.T @ (events @ sketch))[0].astype(np.float32)
    _, _, right = np.linalg.svd(np.linalg.qr(events @ sketch)[1], full_matrices=False)
    vectors = (sketch @ right.T)[:, :RANK]
    _save(target, "svd", events @ vectors, vectors)


def _normalised(target: Path) -> None:
    """ALS factors of norm one: flat norms leave a bound by norms nothing to skip."""
    items = np.load(target / "als_items.npy")
    lengths = np.maximum(np.linalg.norm(items, axis=1, keepdims=True), 1e-12)
    _save(target, "normalised", np.load(target / "als_users.npy"), items / lengths)


def _save(target: Path, kind: str, users: np.ndarray, items: np.ndarray) -> None:
    np.save(target / f"{kind}_items.npy", np.asarray(items, np.float32))
    np.save(target / f"{kind}_users.npy", np.asarray(users, np.float32))


def _write_histories(matrix: sp.csr_matrix, path: Path) -> None:
    offsets = pa.array(matrix.indptr.astype(np.int32))
    # a history has its newest event last
    moments = pa.array(1_700_000_000_000_000 + np.arange(matrix.nnz, dtype=np.int64) * 1_000)
    table = pa.table(
        {
            "user_id": pa.array(np.arange(1, matrix.shape[0] + 1, dtype=np.int64)),
            "item_ids": pa.ListArray.from_arrays(offsets, pa.array(matrix.indices.astype(np.int64) + 1)),
            "weights": pa.ListArray.from_arrays(offsets, pa.array(matrix.data)),
            "event_times": pa.ListArray.from_arrays(offsets, moments.cast(pa.timestamp("us", "UTC"))),
        }
    )
    pq.write_table(table, path, row_group_size=4_096)


if __name__ == "__main__":  # what `make` runs in the peers' environment
    parser = argparse.ArgumentParser(description=als.__doc__)
    parser.add_argument("target", type=Path)
    als(parser.parse_args().target)
