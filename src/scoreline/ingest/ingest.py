"""Events in, `user_history` up to date, bad rows in `quarantine`. Doing it twice changes nothing."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from py4j.protocol import Py4JJavaError
from pyspark import StorageLevel
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Observation
from pyspark.sql import functions as F

from scoreline.config.settings import EventsSettings
from scoreline.context import Context, step
from scoreline.engine.failures import explained
from scoreline.engine.filesystem import is_remote
from scoreline.engine.frames import count
from scoreline.engine.sql import quoted
from scoreline.errors import ConfigurationError, InputError, plain
from scoreline.ingest.events import bad, checked_events, good
from scoreline.ingest.histories import histories, merged
from scoreline.redaction import without_credentials
from scoreline.report import Report
from scoreline.sources.database import Database
from scoreline.sources.postgres import PostgresTable
from scoreline.sources.reader import read_source
from scoreline.sources.values import key, require_kinds
from scoreline.tables import schema
from scoreline.tables.delta import Table, commit_settings, is_conflict
from scoreline.tables.history import HISTORY_LIMIT, Commit, find_attempt
from scoreline.tables.lock import exclusive
from scoreline.tables.schema import BUCKET, MALFORMED, OLDER, RAW, SOURCE, UPDATED_AT, USER_ID

BUCKETS_PROPERTY = "scoreline.buckets"


@dataclass(frozen=True)
class ItemsReport(Report):
    """A catalogue that was ingested, and how many items it has now."""

    source: str
    items: int

    def __str__(self) -> str:
        return f"{self.source}: {self.items:,} items"


@dataclass(frozen=True)
class IngestReport(Report):
    """What an ingest did; `rows_read = rows_good + rows_bad`, always.

    `drift` says which columns the source has, or has no longer, compared with the last ingest. `items_beyond`: so many
    items of `users_beyond` of the changed users lie beyond `histories.max_items`, and stay excluded. `items`: of the
    catalogue, if that was ingested with it.
    """

    source: str
    rows_read: int
    rows_good: int
    rows_bad: int
    users_in_source: int
    users_changed: int
    version: int
    reasons: dict[str, int]
    drift: tuple[str, ...] = ()
    items_beyond: int = 0
    users_beyond: int = 0
    items: "ItemsReport | None" = None

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {self.rows_read:,} rows read = {self.rows_good:,} good + {self.rows_bad:,} quarantined",
            *[f"  {count:,} rows: {reason}" for reason, count in self.reasons.items()],
            f"{self.users_in_source:,} users in it, {self.users_changed:,} histories changed "
            f"(user_history version {self.version})",
            *self._beyond(),
            *self.drift,
            *([str(self.items)] if self.items else []),
        ]
        return "\n".join(lines)

    def _beyond(self) -> list[str]:
        if not self.items_beyond:
            return []
        return [
            f"{self.items_beyond:,} items of {self.users_beyond:,} of these users lie beyond histories.max_items: "
            "models are not shown them, and they stay excluded"
        ]


@step
def ingest_events(context: Context, source: str) -> IngestReport:
    """Read one source, quarantine what is bad, merge the rest into `user_history` in one commit.

    Raises InputError when nothing usable is there or more than `events.max_bad_share` of the rows are bad; the tables
    then stay as they were, but for the quarantine.
    """
    settings = _events_settings(context)
    scratch = context.tables.table(f"_scratch_{uuid4().hex[:12]}")
    try:
        with (
            exclusive(context.settings, context.tables, "ingest"),
            explained(f"{without_credentials(source)} could not be ingested"),
        ):
            return _ingested(context, source, settings, scratch)
    finally:
        if settings.query:
            scratch.drop()


def _ingested(context: Context, source: str, settings: EventsSettings, scratch: Table) -> IngestReport:
    name = without_credentials(source)
    history = history_table(context)
    quarantine = context.tables.table("quarantine")
    quarantine.create(schema.quarantine())
    news = _news(context, source, settings, history)
    database = news.database if news else Database(settings.query, scratch) if settings.query else None
    rows = read_source(context.spark, source, settings, settings.source_columns(), database=database)
    require_kinds(rows.schema, settings.columns.model_dump(exclude_none=True), name, time=settings.time)
    before = history.commits(limit=HISTORY_LIMIT)
    columns = [name for name in rows.columns if name not in (SOURCE, RAW, MALFORMED)]
    drift = _drift(columns, before)
    checked = checked_events(rows, settings, context.keys, now=context.now)
    seen = Observation(f"ingest {uuid4().hex[:8]}")
    counts = [F.count(F.lit(1)).alias("read"), F.count(F.when(F.size("reasons") == 0, 1)).alias("good")]
    # the client of Spark Connect cannot have an observed frame on both sides of a union: there a pass of its own counts
    observed = checked if is_remote(context.spark) else checked.observe(seen, *counts)
    incoming = _incoming(context, good(observed)).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        with explained(f"{name} could not be read"):
            users = count(incoming)
            # where nothing comes through, Spark optimises the observation away
            told = users and observed is not checked
            found: Any = seen.get if told else checked.agg(*counts).first().asDict()  # type: ignore[union-attr]
        rows_read, rows_good = int(found["read"]), int(found["good"])
        reasons, example = quarantine_bad(context, quarantine, checked) if rows_good < rows_read else ({}, "")
        if rows_read or not news:
            _require_usable(name, rows_read, rows_good, reasons, settings, example=example)
        note = {"kind": "ingest", "columns": columns, "attempt": uuid4().hex}
        changed, version = _merge(context, history, incoming, before, note) if users else (0, before[0].version)
        beyond = _beyond(context, history) if changed else (0, 0)
        if news and rows_read:
            # after the merge: a crash between the two reads these rows again, and loses none
            history.set_property(news.key, news.mark)
            version = history.version()
    finally:
        incoming.unpersist()
    read = (name, rows_read, rows_good, rows_read - rows_good)
    return IngestReport(*read, users, changed, version, reasons, drift, *beyond)


def _beyond(context: Context, history: Table) -> tuple[int, int]:
    """How many items of how many users lie beyond the windows of the histories that this ingest has changed."""
    changed = history.read().where((F.col(UPDATED_AT) == F.lit(context.now)) & F.col(OLDER).isNotNull())
    found: Any = changed.agg(F.coalesce(F.sum(F.size(OLDER)), F.lit(0)), F.count(F.lit(1))).first()
    return int(found[0]), int(found[1])


def _drift(columns: list[str], commits: Sequence[Commit]) -> tuple[str, ...]:
    """What the last ingest's source did not have, or had and this one has not; nothing of it is mapped."""
    last = next((commit.note["columns"] for commit in commits if "columns" in commit.note), columns)
    said = {"new": [c for c in columns if c not in last], "gone": [c for c in last if c not in columns]}
    return tuple(f"column {name} is {what} since the last ingest" for what, names in said.items() for name in names)


@step
def ingest_items(context: Context, source: str) -> ItemsReport:
    """Replace the catalogue `items` from a file; a bad or repeated id is left out."""
    named = context.settings.items
    if named is None:
        raise ConfigurationError("The configuration has no items section, which says how the catalogue file looks.")
    wanted = [c for c in (named.item_id, named.title, named.genres) if c]
    rows = read_source(context.spark, source, named, wanted)
    roles = {"item_id": named.item_id, "title": named.title, **({"genres": named.genres} if named.genres else {})}
    require_kinds(rows.schema, roles, source)
    genres = F.col(quoted(named.genres)) if named.genres else F.lit(None)
    found = rows.select(
        key(named.item_id, rows.schema[named.item_id].dataType, context.keys.item).alias("item_id"),
        F.col(quoted(named.title)).cast("string").alias("title"),
        genres.cast("string").alias("genres"),
    )
    table = context.tables.table("items")
    table.create(schema.items(context.keys))
    unique = (
        found.where(F.col("item_id").isNotNull())
        .groupBy("item_id")
        .agg(F.min("title").alias("title"), F.min("genres").alias("genres"))
    )
    with explained(f"{source} could not be read"):
        table.write(unique.coalesce(1), "overwrite")
    return ItemsReport(source, count(table.read()))


def history_table(context: Context) -> Table:
    """`user_history`, created on first use; raises ConfigurationError if its buckets are not the configured ones."""
    table = context.tables.table("user_history")
    buckets = str(context.settings.histories.buckets)
    # files are skipped by these columns: a slice reads its buckets, a run after an ingest only what has changed
    skipping = {"delta.dataSkippingStatsColumns": f"{USER_ID},{BUCKET},{UPDATED_AT}"}
    if table.exists():
        table.add_column(schema.older_items(context.keys))
        table.add_column(schema.since_first())
    table.create(schema.user_history(context.keys), {BUCKETS_PROPERTY: buckets, **skipping})
    found = table.properties().get(BUCKETS_PROPERTY, buckets)
    if found != buckets:
        raise ConfigurationError(
            f"histories.buckets is {buckets}, but {table.location} was made with {found}. Buckets are fixed when the "
            f"tables are created: set histories.buckets to {found}."
        )
    return table


def _events_settings(context: Context) -> EventsSettings:
    if context.settings.events is None:
        raise ConfigurationError("The configuration has no events section, which says how the source of events looks.")
    return context.settings.events


@dataclass(frozen=True)
class _News:
    """What a table has got since the last ingest, and the mark from which the next one goes on."""

    database: Database
    key: str
    mark: str


def _news(context: Context, source: str, settings: EventsSettings, history: Table) -> _News | None:
    if settings.table is None or not source.startswith(("postgres://", "postgresql://", "postgresql+")):
        return None
    table = PostgresTable.at(source, settings.table)
    position = table.look(context.spark)
    since = history.properties().get(table.key)
    with explained(f"{table.shown} could not be read"):
        rows = table.read(context.spark, position, since=since, partitions=settings.partitions)
    return _News(Database(rows=rows), table.key, str(position))


def _incoming(context: Context, events: DataFrame) -> DataFrame:
    shape = context.settings.histories
    rows = histories(
        events,
        max_items=shape.max_items,
        buckets=shape.buckets,
        now=context.now,
        partitions=context.partitions,
    )
    return rows.select(*[field.name for field in schema.user_history(context.keys)])


def _merge(
    context: Context, history: Table, incoming: DataFrame, before: Sequence[Commit], about: Mapping[str, Any]
) -> tuple[int, int]:
    """Merge in one commit, none if nothing changes; returns how many histories did, and the version after it."""
    # the clock that the rows are stamped with, so that a run can read in the log which rows have changed
    note = {**about, UPDATED_AT: context.now.isoformat()}
    if before[0].version == 0 and (version := _first(context, history, incoming, note)) is not None:
        return count(incoming), version
    shape = context.settings.histories
    known = history.read()
    changed = merged(
        known.select(*[name for name in incoming.columns if name in known.columns]),
        incoming,
        max_items=shape.max_items,
        buckets=shape.buckets,
        now=context.now,
        partitions=context.partitions,
    )
    with commit_settings(context.spark, note=note):
        history.upsert(changed, USER_ID)
    commits = history.commits(limit=HISTORY_LIMIT)
    ours = find_attempt(commits, note["attempt"])
    counted = ours.metrics if ours else {}
    changes = sum(int(counted.get(name, 0)) for name in ("numTargetRowsInserted", "numTargetRowsUpdated"))
    return changes, commits[0].version


def _first(context: Context, history: Table, incoming: DataFrame, note: Mapping[str, Any]) -> int | None:
    """Append to the empty table; None if another first ingest was faster: then there is something to merge with.

    The transaction's number makes sure of it: Delta takes it once.
    """
    # sorted by bucket, so that a slice reads only the files, and in them the row groups, of its buckets
    files = incoming.repartitionByRange(context.partitions, BUCKET).sortWithinPartitions(BUCKET, USER_ID)
    options = {"txnAppId": "scoreline/first ingest", "txnVersion": "1", "userMetadata": json.dumps(note)}
    try:
        history.write(files, "append", options)
    except (PySparkException, Py4JJavaError) as error:
        if not is_conflict(error):
            raise
    ours = find_attempt(history.commits(limit=HISTORY_LIMIT), note["attempt"])
    return ours.version if ours else None


def quarantine_bad(context: Context, table: Table, checked: DataFrame) -> tuple[dict[str, int], str]:
    """Keep the rows that have `reasons`, each once; returns how many rows broke each rule, and one of the most."""
    rows = bad(checked, now=context.now).persist(StorageLevel.MEMORY_AND_DISK)
    try:
        table.upsert(rows, "row_hash", update=False)
        reasons = rows.select(F.explode("reasons").alias("reason"), "row_count", "raw_row").groupBy("reason")
        one = F.substring(F.min(F.coalesce("raw_row", F.lit(""))), 1, 200).alias("one")
        found: list[Any] = reasons.agg(F.sum("row_count").alias("rows"), one).collect()
    finally:
        rows.unpersist()
    found.sort(key=lambda row: (-row["rows"], row["reason"]))
    return {row["reason"]: int(row["rows"]) for row in found}, plain(found[0]["one"]) if found else ""


def _require_usable(
    source: str, read: int, usable: int, reasons: dict[str, int], settings: EventsSettings, *, example: str
) -> None:
    if read == 0:
        raise InputError(f"{source}: no event was found in it (a header at most); nothing was changed.")
    share = (read - usable) / read
    if usable and share <= settings.max_bad_share:
        return
    worst = "; ".join(f"{reason}: {rows}" for reason, rows in list(reasons.items())[:3])
    raise InputError(
        f"{source}: {read - usable} of {read} rows are bad ({worst}), more than events.max_bad_share = "
        f"{settings.max_bad_share:g}. For example: {example} They are in the quarantine table; no history was changed. "
        f"{_remedy(next(iter(reasons), ''), settings)}, or raise events.max_bad_share."
    )


def _remedy(reason: str, settings: EventsSettings) -> str:
    if "encoding" in reason:
        return f"Say which encoding the file has (events.encoding is {settings.encoding})"
    if reason == "time is not readable":
        return f"Say how times are written (events.time is {settings.time})"
    if reason == "weight is not a number":
        return "Numbers have a decimal point, 4.5 and not 4,5. Convert the file, check the column mapping"
    return "Check the column mapping"
