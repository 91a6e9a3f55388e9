"""How much a worker gets at once."""

import pyspark
import pytest
from pyspark.sql import types as T

from scoreline.config.settings import ScoringSettings
from scoreline.engine.batch_size import batch_limits

ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch"
BYTES = "spark.sql.execution.arrow.maxBytesPerBatch"
NUMBERS = T.StructType([T.StructField(name, T.DoubleType()) for name in "abcd"])
HISTORY = T.StructType([T.StructField("item_ids", T.ArrayType(T.LongType()))])

counts_bytes = pytest.mark.skipif(pyspark.__version__ < "4.1", reason="Spark counts the bytes of a batch from 4.1 on")


@counts_bytes
def test_rows_of_one_width_are_limited_by_their_number_alone() -> None:
    limits = batch_limits(NUMBERS, ScoringSettings(batch_rows=1_000_000, batch_mib=2))
    assert limits == {ROWS: str((2 << 20) // 32), BYTES: str(2**31 - 1)}


@counts_bytes
def test_rows_that_differ_are_limited_by_number_and_bytes() -> None:
    limits = batch_limits(HISTORY, ScoringSettings(batch_rows=70_000, batch_mib=2))
    assert limits == {ROWS: "70000", BYTES: str(2 << 20)}


def test_batch_rows_is_never_exceeded() -> None:
    assert batch_limits(NUMBERS, ScoringSettings(batch_rows=7))[ROWS] == "7"
