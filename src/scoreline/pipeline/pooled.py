"""Scoring without Spark's workers: batches of a frame through our own pool, an Arrow stream for the table."""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pyarrow as pa
from pyspark.sql import DataFrame

from scoreline.engine.embedded.sail import batches
from scoreline.engine.memory import SHARE, bytes_of_memory
from scoreline.errors import ConfigurationError
from scoreline.scoring.loaded_model import is_shipped
from scoreline.scoring.node import Shipment
from scoreline.scoring.pool import Pool
from scoreline.scoring.task import ScoringTask

_ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch"
_BYTES = "spark.sql.execution.arrow.maxBytesPerBatch"


def pooled(rows: DataFrame, shipment: Shipment, task: ScoringTask) -> pa.RecordBatchReader:
    """What the workers make of the rows, in their order; nothing happens before the first is asked for."""
    conf = rows.sparkSession.conf
    most, size = int(conf.get(_ROWS, "65536") or 65536), int(conf.get(_BYTES, str(8 << 20)) or 8 << 20)
    answers = _pool().scored((shipment, task), _sized(batches(rows), most, size))
    return pa.RecordBatchReader.from_batches(task.staged, answers)


def peak_bytes() -> int | None:
    """The most memory that a worker of this process's pool had; None if none has scored."""
    return (_pool().peak_bytes or None) if _pool.cache_info().currsize else None


def require_room(model: Path) -> None:
    """Raise ConfigurationError for a model that would not fit into memory as often as it is loaded.

    A model of ours is mapped, its pages are everybody's and given back when memory is short; another each worker loads.
    """
    copies = 1 if is_shipped(model) else _workers()
    size = sum(file.stat().st_size for file in model.rglob("*") if file.is_file())
    if size * copies > (memory := bytes_of_memory()) * SHARE:
        raise ConfigurationError(
            f"The model in {model} has {size / 2**30:,.1f} GiB, and {copies} of its kind would be in memory at once: "
            f"expected at most {SHARE:.0%} of the {memory / 2**30:,.1f} GiB there are. Use fewer processors "
            "(taskset -c 0), or say engine: spark on a cluster."
        )


def _workers() -> int:
    return len(os.sched_getaffinity(0))


@cache
def _pool() -> Pool:
    import atexit

    pool = Pool(_workers())
    atexit.register(pool.close)
    return pool


def _sized(source: Iterator[pa.RecordBatch], rows: int, size: int) -> Iterator[pa.RecordBatch]:
    for batch in source:
        parts = max(1, -(-batch.num_rows // rows), -(-batch.nbytes // size))
        step = max(1, -(-batch.num_rows // parts))
        yield from (batch.slice(at, step) for at in range(0, batch.num_rows, step))
