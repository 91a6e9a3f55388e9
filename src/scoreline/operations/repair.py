"""Mend what others have done to `user_history`: each user has one row again."""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from scoreline.context import Context, logged, step
from scoreline.engine.engine import engine_of
from scoreline.engine.failures import explained
from scoreline.engine.frames import count
from scoreline.ingest.histories import merged
from scoreline.ingest.merge import events_in, history_table
from scoreline.report import Report
from scoreline.tables.commit_note import Repaired
from scoreline.tables.lock import exclusive
from scoreline.tables.names import USER_ID
from scoreline.typed import typed


@dataclass(frozen=True)
class RepairReport(Report):
    """Users who had more than one row in `user_history`, and the table's version afterwards."""

    users: int
    version: int

    def __str__(self) -> str:
        if not self.users:
            return f"Each user has one row; nothing was changed (user_history version {self.version})."
        return f"{self.users:,} users had more rows than one and have one now (user_history version {self.version})."


def doubled(history: DataFrame) -> DataFrame:
    """`user_id` of those who have more than one row."""
    return history.groupBy(USER_ID).agg(F.count(F.lit(1)).alias("rows")).where("rows > 1").select(USER_ID)


@logged("repair")
@step
def repair_histories(context: Context) -> RepairReport:
    """Give each user of `user_history` one row again, with the events of all that there are.

    Doing it twice changes nothing. It is one commit, which makes the next run compare all keys.
    """
    with exclusive(context.settings, context.tables, "ingest"), explained("the histories could not be repaired"):
        context.tables.existing("user_history", made_by=typed("ingest --events FILE"))
        shape = context.settings.histories
        table = history_table(context.tables, context.keys, buckets=shape.buckets)  # with the columns it has today
        version = table.version()
        rows = table.read(version)
        engine = engine_of(context.spark)
        with engine.kept(doubled(rows)) as users:
            if not (found := count(users)):
                return RepairReport(0, version)
            many = rows.join(F.broadcast(users), on=USER_ID, how="left_semi")
            partitions = engine.grouping(lambda: events_in(many), "what these users have")
            mended = merged(
                rows.limit(0),
                many,
                max_items=shape.max_items,
                buckets=shape.buckets,
                now=context.now,
                partitions=partitions,
            )
            whole = rows.join(F.broadcast(users), on=USER_ID, how="left_anti").unionByName(mended)
            table.write(whole, "overwrite", {"userMetadata": Repaired(users=found).text()})
        context.record.users = found
        context.record.wrote(table.name, after := table.version())
        return RepairReport(found, after)
