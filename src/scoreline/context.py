"""What every step is given: the settings, the session, the tables, the clock. Made at the entry points only."""

from dataclasses import dataclass
from datetime import UTC, datetime

from pyspark.sql import SparkSession

from scoreline.schema import Keys
from scoreline.session import get_session
from scoreline.settings import Settings
from scoreline.tables import Tables


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
    batches = {"spark.sql.execution.arrow.maxRecordsPerBatch": settings.scoring.batch_rows}
    spark = get_session(f"scoreline {settings.name}", {**batches, **settings.spark})
    return Context(settings, spark, Tables(spark, settings.tables), now or datetime.now(UTC))
