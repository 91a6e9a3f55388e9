"""`user_history`, and the one commit in which new histories become a part of it."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from scoreline.config.settings import HistoriesSettings
from scoreline.engine.engine import engine_of
from scoreline.engine.thrown import engine_errors
from scoreline.errors import ConfigurationError
from scoreline.ingest.histories import merged
from scoreline.tables import schema
from scoreline.tables.commit_note import Ingested
from scoreline.tables.delta import Table, Tables, is_conflict
from scoreline.tables.history import HISTORY_LIMIT, Commit, find_attempt
from scoreline.tables.names import BUCKET, OLDER, UPDATED_AT, USER_ID

BUCKETS_PROPERTY = "scoreline.buckets"


def history_table(tables: Tables, keys: schema.Keys, *, buckets: int) -> Table:
    """`user_history`, created on first use; raises ConfigurationError if its buckets are not the configured ones."""
    table = tables.table("user_history")
    # files are skipped by these columns: a slice reads its buckets, a run after an ingest only what has changed
    skipping = {"delta.dataSkippingStatsColumns": f"{USER_ID},{BUCKET},{UPDATED_AT}"}
    if table.exists():
        table.add_column(schema.older_items(keys))
        table.add_column(schema.since_first())
    table.create(schema.user_history(keys), {BUCKETS_PROPERTY: str(buckets), **skipping})
    found = table.properties().get(BUCKETS_PROPERTY, str(buckets))
    if found != str(buckets):
        raise ConfigurationError(
            f"histories.buckets is {buckets}, but {table.location} was made with {found}. Buckets are fixed when the "
            f"tables are created: set histories.buckets to {found}."
        )
    return table


def merge_histories(
    history: Table,
    incoming: DataFrame,
    before: Sequence[Commit],
    note: Ingested,
    *,
    shape: HistoriesSettings,
    now: datetime,
    users: int,
    partitions: int,
) -> tuple[int, int]:
    """Merge in one commit, none if nothing changes; returns how many histories did, and the version after it.

    users: so many rows `incoming` has. partitions: so many the news were grouped in.
    """
    if before[0].version == 0 and (version := _first(history, incoming, note, partitions=partitions)) is not None:
        return users, version

    def grouped() -> int:
        touched = history.read().join(incoming.select(USER_ID), on=USER_ID, how="left_semi")
        return events_in(incoming.select("item_ids").unionByName(touched.select("item_ids")))

    all_partitions = engine_of(history.spark).grouping(
        grouped, "with the histories of the users in it the news", at_most=2 * users * shape.max_items
    )

    def changed(known: DataFrame) -> DataFrame:
        return merged(
            known.select(*[name for name in incoming.columns if name in known.columns]),
            incoming,
            max_items=shape.max_items,
            buckets=shape.buckets,
            now=now,
            partitions=all_partitions,
        )

    history.upsert(changed, USER_ID, note=note)
    commits = history.commits(limit=HISTORY_LIMIT)
    ours = find_attempt(commits, note.attempt)
    counted = ours.metrics if ours else {}
    changes = sum(int(counted.get(name, 0)) for name in ("numTargetRowsInserted", "numTargetRowsUpdated"))
    return changes, commits[0].version


def events_in(rows: DataFrame) -> int:
    """How many events the windows of such rows have."""
    return int(rows.agg(F.coalesce(F.sum(F.size("item_ids")), F.lit(0))).first()[0])  # type: ignore[index]


def _first(history: Table, incoming: DataFrame, note: Ingested, *, partitions: int) -> int | None:
    """Append to the empty table; None if another first ingest was faster: then there is something to merge with.

    The transaction's number makes sure of it: Delta takes it once.
    """
    # sorted by bucket, so that a slice reads only the files, and in them the row groups, of its buckets
    files = engine_of(history.spark).ranged(incoming, partitions, BUCKET, USER_ID)
    options = {"txnAppId": "scoreline/first ingest", "txnVersion": "1", "userMetadata": note.text()}
    try:
        history.write(files, "append", options)
    except engine_errors() as error:
        if not is_conflict(error):
            raise
    ours = find_attempt(history.commits(limit=HISTORY_LIMIT), note.attempt)
    return ours.version if ours else None


def beyond_window(history: Table, *, now: datetime) -> tuple[int, int]:
    """How many items of how many users lie beyond the windows of the histories that this ingest has changed."""
    changed = history.read().where((F.col(UPDATED_AT) == F.lit(now)) & F.col(OLDER).isNotNull())
    found: Any = changed.agg(F.coalesce(F.sum(F.size(OLDER)), F.lit(0)), F.count(F.lit(1))).first()
    return int(found[0]), int(found[1])
