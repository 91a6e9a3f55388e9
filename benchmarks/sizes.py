"""Bytes per user and per item, for docs/scale.md: Parquet as Spark writes it (snappy), arrays as workers map them.

python benchmarks/sizes.py
"""

import json
import tempfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from scoreline.pipeline.plan import Slice

USERS = 20_000


def lists(values: np.ndarray, lengths: np.ndarray) -> pa.Array:
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    return pa.ListArray.from_arrays(pa.array(offsets), pa.array(values))


def bytes_per_user(table: pa.Table) -> float:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "part.parquet"
        pq.write_table(table, path, compression="snappy")
        return path.stat().st_size / table.num_rows


def histories(items: int, mean: int) -> pa.Table:
    """Lengths log-normal, items by a power law, times over a year."""
    dice = np.random.default_rng(1)
    lengths = np.clip(dice.lognormal(np.log(mean) - 0.5, 1.0, USERS), 1, 10_000).astype(int)
    n = int(lengths.sum())
    ids = np.minimum(dice.zipf(1.4, n), items).astype(np.int64)
    ids = (ids * 2_654_435_761 % items).astype(np.int64)
    times = pa.array((1.7e15 + dice.integers(0, 31_536_000, n) * 10**6).astype("datetime64[us]"))
    weights = dice.choice(np.arange(1, 11) / 2, n).astype(np.float32)
    columns = {
        "item_ids": lists(ids, lengths),
        "weights": lists(weights, lengths),
        "event_times": lists(times, lengths),
    }
    keys = {
        "user_id": np.arange(USERS),
        "bucket": np.arange(USERS) % 64,
        "history_hash": dice.integers(0, 2**62, USERS),
    }
    return pa.table({**keys, **columns})


def recommendations(items: int, k: int) -> pa.Table:
    dice = np.random.default_rng(2)
    ids = dice.integers(0, items, USERS * k)
    scores = np.sort(dice.gamma(2, 1, (USERS, k)), axis=1)[:, ::-1].astype(np.float32).ravel()
    structs = pa.StructArray.from_arrays([pa.array(ids), pa.array(scores)], ["item_id", "score"])
    offsets = pa.array(np.arange(0, USERS * k + 1, k, dtype=np.int32))
    keys = {
        "user_id": np.arange(USERS),
        "bucket": np.arange(USERS) % 64,
        "history_hash": dice.integers(0, 2**62, USERS),
    }
    return pa.table({**keys, "recommendations": pa.ListArray.from_arrays(offsets, structs)})


def main() -> None:
    for mean in (50, 150):
        for items in (100_000, 1_000_000):
            table = histories(items, mean)
            sizes = f"{bytes_per_user(table):6.0f} bytes a user, {table.nbytes / USERS:6.0f} in Arrow"
            print(f"user_history, {mean} items of {items:>9,}: {sizes}")
    for items in (100_000, 1_000_000):
        print(f"recommendations, k=20 of {items:>9,}: {bytes_per_user(recommendations(items, 20)):6.0f} bytes a user")
    part = asdict(Slice(4_999, (4_999,), 20_000))
    print(f"manifest: {len(json.dumps(part))} bytes a slice of one bucket")
    for items in (100_000, 1_000_000):
        print(f"factors of {items:,} items x 64, float32: {items * 64 * 4 / 1e6:.0f} MB a node")


if __name__ == "__main__":
    main()
