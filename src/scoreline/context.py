"""What every step is given: the settings, the session, the tables, the clock. Made at the entry points only."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pyspark
from pyspark.sql import SparkSession
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_type

from scoreline.schema import Keys
from scoreline.session import get_session
from scoreline.settings import ScoringSettings, Settings
from scoreline.tables import Tables

_ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch"
_BYTES = "spark.sql.execution.arrow.maxBytesPerBatch"
_ROWS_WITHOUT_BYTES = 4_096  # of long histories, where Spark counts rows only
_ANY_BYTES = 2**31 - 1


@dataclass(frozen=True)
class Context:
    """One pipeline at one moment; `now` is the start of the step, in UTC."""

    settings: Settings
    spark: SparkSession
    tables: Tables
    now: datetime

    @property
    def keys(self) -> Keys:
        return Keys(user=self.settings.keys.user_id, item=self.settings.keys.item_id)

    @property
    def partitions(self) -> int:
        """How many partitions a shuffle by user gets."""
        return int(self.spark.conf.get("spark.sql.shuffle.partitions") or 8)

    def size_batches(self, rows: T.StructType) -> None:
        """Say how much of such rows a worker gets at once, where a session lets us.

        What the pipeline's `spark` settings say of it stands.
        """
        for key, value in batch_limits(rows, self.settings.scoring).items():
            if key not in self.settings.spark and self.spark.conf.isModifiable(key):
                self.spark.conf.set(key, value)


def open_context(settings: Settings, *, now: datetime | None = None) -> Context:
    """Start or take the session and look at the clock."""
    spark = get_session(f"scoreline {settings.name}", settings.spark)
    return Context(settings, spark, Tables(spark, settings.tables), now or datetime.now(UTC))


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
