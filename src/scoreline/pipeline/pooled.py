"""Scoring without Spark's workers: batches of a frame through our own pool, an Arrow stream for the table."""

import os
from collections.abc import Iterator
from functools import cache

import pyarrow as pa
from pyspark.sql import DataFrame

from scoreline.engine.embedded.sail import batches
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


@cache
def _pool() -> Pool:
    import atexit

    pool = Pool(len(os.sched_getaffinity(0)))
    atexit.register(pool.close)
    return pool


def _sized(source: Iterator[pa.RecordBatch], rows: int, size: int) -> Iterator[pa.RecordBatch]:
    for batch in source:
        parts = max(1, -(-batch.num_rows // rows), -(-batch.nbytes // size))
        step = max(1, -(-batch.num_rows // parts))
        yield from (batch.slice(at, step) for at in range(0, batch.num_rows, step))
