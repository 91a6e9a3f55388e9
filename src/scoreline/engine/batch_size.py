"""How many rows a Python worker gets at once."""

import pyspark
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_type

from scoreline.config.settings import ScoringSettings

__all__ = ["batch_limits"]

_ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch"
_BYTES = "spark.sql.execution.arrow.maxBytesPerBatch"
_ROWS_WITHOUT_BYTES = 4_096  # of long histories, where Spark counts rows only
_ANY_BYTES = 2**31 - 1


def batch_limits(rows: T.StructType, scoring: ScoringSettings) -> dict[str, str]:
    """Spark's settings for `batch_rows` and `batch_mib`: a batch of features is many rows, one of histories few.

    Spark adds up the bytes of a batch anew for each row, which takes longer than to write a row of numbers. Where all
    rows are as wide, the number of rows says the same.
    """
    width = _row_bytes(rows)
    if width is not None:
        most = max(1, min(scoring.batch_rows, (scoring.batch_mib << 20) // max(width, 1)))
        return {_ROWS: str(most), **({_BYTES: str(_ANY_BYTES)} if _counts_bytes() else {})}
    if _counts_bytes():
        return {_ROWS: str(scoring.batch_rows), _BYTES: str(scoring.batch_mib << 20)}
    return {_ROWS: str(min(scoring.batch_rows, _ROWS_WITHOUT_BYTES))}


def _counts_bytes() -> bool:
    return tuple(int(part) for part in pyspark.__version__.split(".")[:2]) >= (4, 1)


def _row_bytes(rows: T.StructType) -> int | None:
    """What a row takes in Arrow, None if one may take more than another."""
    try:
        return int(sum(to_arrow_type(field.dataType).bit_width for field in rows)) // 8
    except ValueError:  # a type without a width: text, lists
        return None
