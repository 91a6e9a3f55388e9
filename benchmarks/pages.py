"""What the pages of scoreline ui look up, over tables of some users: the median seconds of each, in one process.

python benchmarks/pages.py [users]
"""

import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from statistics import median

import numpy as np
import pyarrow as pa
from deltalake import CommitProperties, WriterProperties, write_deltalake

from scoreline.config.settings import Settings
from scoreline.operations.ui.lookups import item_page, overview, user_page
from scoreline.tables.commit_note import Publication
from scoreline.tables.reading import open_readers

ITEMS, K, EVENTS, BUCKETS, RUNS, FILE = 10_000, 20, 30, 64, 100, 250_000
NOW = datetime(2026, 7, 1, tzinfo=UTC)


def lists(users: int, length: int, **values: pa.Array) -> pa.Array:
    ends = pa.array(np.arange(users + 1) * length, pa.int32())
    return pa.ListArray.from_arrays(ends, pa.StructArray.from_arrays(list(values.values()), list(values)))


def write(root: str, users: int) -> None:
    """Each file has every bucket and rows of all runs, which is the worst that there can be."""
    dice = np.random.default_rng(7)
    for first in range(0, users, FILE):
        ids = np.arange(first, min(first + FILE, users))
        n = len(ids)
        keys = {"user_id": ids, "bucket": pa.array(ids % BUCKETS, pa.int32())}
        made = pa.array([NOW - timedelta(hours=h) for h in range(RUNS)]).take(pa.array(dice.integers(0, RUNS, n)))
        scores = pa.array(dice.random(n * K, np.float32))
        listed = lists(n, K, item_id=pa.array(dice.integers(0, ITEMS, n * K)), score=scores)
        same = {"source": "model", "model_name": "films", "model_version": "1", "rules_hash": "r", "run_id": "run"}
        rest = {name: pa.array([value] * n) for name, value in same.items()}
        rows = pa.table({**keys, "recommendations": listed, **rest, "history_hash": ids, "scored_at": made})
        note = Publication(
            pipeline="pages", run_id="run", sequence=1, base_version=0, model="films", model_version="1", input="",
            input_version=0, rules_hash="r", users=n,
        )  # fmt: skip
        kept = CommitProperties(custom_metadata={"userMetadata": note.text()})
        properties = WriterProperties(compression="ZSTD")
        write_deltalake(
            f"{root}/recommendations", rows, mode="append", commit_properties=kept, writer_properties=properties
        )
        ends = pa.array(np.arange(n + 1) * EVENTS, pa.int32())
        events = {
            "item_ids": pa.array(dice.integers(0, ITEMS, n * EVENTS)),
            "weights": pa.array(dice.random(n * EVENTS, np.float32)),
            "event_times": pa.array(dice.integers(0, 2**50, n * EVENTS)).cast(pa.timestamp("us", "UTC")),
        }
        history = {name: pa.ListArray.from_arrays(ends, values) for name, values in events.items()}
        write_deltalake(f"{root}/user_history", pa.table({**keys, **history}), mode="append")


def seconds(work: Callable[[], object], turns: int = 5) -> float:
    taken = []
    for _ in range(turns):
        began = time.perf_counter()
        work()
        taken.append(time.perf_counter() - began)
    return median(taken)


if __name__ == "__main__":
    users = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as root:
        write(root, users)
        said = {"name": "pages", "tables": {"root": root}, "histories": {"buckets": BUCKETS}}
        said |= {"model": {"uri": "models:/films@champion"}, "freshness": {"max_age": "26h"}}
        readers = open_readers(Settings.model_validate(said))
        user = str(users // 2)
        for name, work in {
            "overview": lambda: overview(readers, now=NOW),
            "user": lambda: user_page(readers, user),
            "item": lambda: item_page(readers, "17"),
        }.items():
            print(f"{name:<9} {seconds(work):.3f} s")
