"""What every step is given: the settings, the session, the tables, the clock. Made at the entry points only."""

from dataclasses import dataclass
from datetime import UTC, datetime

import pyspark
from pyspark.sql import SparkSession

from scoreline.schema import Keys
from scoreline.session import get_session
from scoreline.settings import Settings
from scoreline.tables import Tables

_ROWS = "spark.sql.execution.arrow.maxRecordsPerBatch"
_BYTES = "spark.sql.execution.arrow.maxBytesPerBatch"
_ROWS_WITHOUT_BYTES = 4_096  # of long histories, where Spark counts rows only


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


def open_context(settings: Settings, *, now: datetime | None = None) -> Context:
    """Start or take the session and look at the clock."""
    spark = get_session(f"scoreline {settings.name}", {**_batches(settings), **settings.spark})
    return Context(settings, spark, Tables(spark, settings.tables), now or datetime.now(UTC))


def _batches(settings: Settings) -> dict[str, int]:
    """How much a worker gets at once: a batch of features is many rows, one of histories few."""
    scoring = settings.scoring
    if tuple(int(part) for part in pyspark.__version__.split(".")[:2]) < (4, 1):
        return {_ROWS: min(scoring.batch_rows, _ROWS_WITHOUT_BYTES)}
    return {_ROWS: scoring.batch_rows, _BYTES: scoring.batch_mib << 20}
