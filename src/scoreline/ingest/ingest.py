"""Events in, `user_history` up to date, bad rows in `quarantine`. Doing it twice changes nothing."""

from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from scoreline.config.settings import EventsSettings
from scoreline.context import Context, logged, step
from scoreline.engine.engine import engine_of
from scoreline.engine.failures import explained
from scoreline.engine.frames import count
from scoreline.engine.listing import Files, Place
from scoreline.errors import ConfigurationError, InputError
from scoreline.ingest.events import checked_events, good
from scoreline.ingest.histories import histories
from scoreline.ingest.items import ItemsReport
from scoreline.ingest.merge import beyond_window, history_table, merge_histories
from scoreline.redaction import without_credentials
from scoreline.report import Report
from scoreline.sources.database import Database
from scoreline.sources.news import News, news_of
from scoreline.sources.reader import as_read, is_file, read_source
from scoreline.sources.values import require_kinds
from scoreline.tables import schema
from scoreline.tables.commit_note import Ingested
from scoreline.tables.delta import Table
from scoreline.tables.history import HISTORY_LIMIT, Commit
from scoreline.tables.lock import exclusive
from scoreline.tables.names import MALFORMED, RAW, SOURCE
from scoreline.tables.quarantine import quarantine_bad, quarantine_table
from scoreline.typed import typed

_REASONS = 3  # in a message


@dataclass(frozen=True)
class IngestReport(Report):
    """What an ingest did; `rows_read = rows_good + rows_bad`, always.

    `drift` says which columns the source has, or has no longer, compared with the last ingest from this place.
    `items_beyond`: so many items of `users_beyond` of the changed users lie beyond `histories.max_items`, and stay
    excluded. `items`: of the catalogue, if that was ingested with it. `remarks`: how it was told what is new, where
    that has a catch.
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
    items: ItemsReport | None = None
    remarks: tuple[str, ...] = ()

    def __str__(self) -> str:
        lines = [
            f"{self.source}: {self.rows_read:,} rows read = {self.rows_good:,} good + {self.rows_bad:,} quarantined",
            *[f"  {count:,} rows: {reason}" for reason, count in self.reasons.items()],
            *([f"  to see them: {typed('quarantine')}"] if self.reasons else []),
            f"{self.users_in_source:,} users in it, {self.users_changed:,} histories changed "
            f"(user_history version {self.version})",
            *self._beyond(),
            *self.drift,
            *self.remarks,
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


@logged("ingest")
@step
def ingest_events(context: Context, source: str) -> IngestReport:
    """Read one source, quarantine what is bad, merge the rest into `user_history` in one commit.

    Raises InputError when nothing usable is there or more than `events.max_bad_share` of the rows are bad; the tables
    then stay as they were, but for the quarantine.
    """
    settings = events_settings(context)
    with exclusive(context.settings, context.tables, "ingest"):
        return merge_source(context, source, settings)


def events_settings(context: Context) -> EventsSettings:
    """How events look; raises ConfigurationError for a pipeline that does not say so."""
    if context.settings.events is None:
        raise ConfigurationError("The configuration has no events section, which says how the source of events looks.")
    return context.settings.events


def merge_source(context: Context, source: Place, settings: EventsSettings, *, only_new: bool = False) -> IngestReport:
    """Merge one source, or some files of one, for a caller who holds the lock; `ingest_events` says the rest.

    `only_new`: raise InputError for a source of which it is not known what is new.
    """
    scratch = context.tables.table(f"_scratch_{uuid4().hex[:12]}")
    try:
        with explained(f"{without_credentials(str(source))} could not be ingested"):
            return _ingested(context, source, settings, scratch, only_new=only_new)
    finally:
        if settings.query or settings.mark:
            scratch.drop()


def _ingested(
    context: Context, source: Place, settings: EventsSettings, scratch: Table, *, only_new: bool
) -> IngestReport:
    name, shape, now = without_credentials(str(source)), context.settings.histories, context.now
    context.record.say(source=name)
    history = history_table(context.tables, context.keys, buckets=shape.buckets)
    quarantine = quarantine_table(context.tables)
    news = news_of(context.spark, source, settings, history.properties, scratch, only_new=only_new)
    if news and news.rows is None:
        context.record.users = 0
        return IngestReport(name, 0, 0, 0, 0, 0, history.version(), {}, remarks=news.remarks)
    rows = _read(context, source, settings, news, scratch)
    require_kinds(rows.schema, settings.columns.model_dump(exclude_none=True), name, time=settings.time)
    before = history.commits(limit=HISTORY_LIMIT)
    columns = [name for name in rows.columns if name not in (SOURCE, RAW, MALFORMED)]
    place = "files" if is_file(source) else name
    drift = _drift(columns, place, before)
    counts = [F.count(F.lit(1)).alias("read"), F.count(F.when(F.size("reasons") == 0, 1)).alias("good")]
    engine = engine_of(context.spark)
    with ExitStack() as stack:
        with explained(f"{name} could not be read"):
            judged = checked_events(rows, settings, context.keys, now=now)
            counted = stack.enter_context(engine.counted(judged, *counts))
        partitions = engine.grouping(lambda: int((counted.figures() or {})["read"]), name)
        grouped = histories(
            good(counted.first), max_items=shape.max_items, buckets=shape.buckets, now=now, partitions=partitions
        )
        with engine.kept(grouped.select(*schema.user_history(context.keys).names)) as incoming:
            with explained(f"{name} could not be read"):
                users = count(incoming)
                # where nothing comes through, Spark optimises the observation away
                told = counted.figures() if users else None
                found: Any = told or counted.rows.agg(*counts).first().asDict()  # type: ignore[union-attr]
            rows_read, rows_good = int(found["read"]), int(found["good"])
            context.record.say(rows_read=rows_read, rows_good=rows_good, users_in_source=users)
            reasons, example = quarantine_bad(quarantine, counted.rows, now=now) if rows_good < rows_read else ({}, "")
            context.record.say(bad_rows=reasons)
            context.record.lap("read")
            if rows_read or not (news or isinstance(source, Files)):  # a new file may have a header only
                _require_usable(name, rows_read, rows_good, reasons, settings, example=example)
            changed, version = 0, before[0].version
            if users:
                # the clock that the rows are stamped with, so that a run can read in the log which rows have changed
                note = Ingested(columns=columns, updated_at=now, place=place)
                changed, version = merge_histories(
                    history, incoming, before, note, shape=shape, now=now, users=users, partitions=partitions
                )
            context.record.lap("merge")
            beyond = beyond_window(history, now=now) if changed else (0, 0)
            if news and rows_read and news.mark not in (None, news.since):
                # after the merge: a crash between the two reads these rows again, and loses none
                history.set_property(news.key, news.mark)
                version = history.version()
    read = (name, rows_read, rows_good, rows_read - rows_good)
    context.record.users = changed
    context.record.wrote(history.name, version)
    remarks = news.remarks if news else ()
    return IngestReport(*read, users, changed, version, reasons, drift, *beyond, remarks=remarks)


def _read(context: Context, source: Place, settings: EventsSettings, news: News | None, scratch: Table) -> DataFrame:
    wanted = settings.source_columns()
    if news and news.rows is not None:
        return as_read(news.rows, without_credentials(str(source)), settings, wanted)
    database = Database(settings.query, scratch) if settings.query else None
    return read_source(context.spark, source, settings, wanted, database=database)


def _drift(columns: list[str], place: str, commits: Sequence[Commit]) -> tuple[str, ...]:
    """What the last ingest from this place did not have, or had and this one has not; nothing of it is mapped."""
    notes = [note for commit in commits if isinstance(note := commit.note, Ingested) and note.place == place]
    last = next((note.columns for note in notes if note.columns), columns)
    said = {"new": [c for c in columns if c not in last], "gone": [c for c in last if c not in columns]}
    return tuple(f"column {name} is {what} since the last ingest" for what, names in said.items() for name in names)


def _require_usable(
    source: str, read: int, usable: int, reasons: dict[str, int], settings: EventsSettings, *, example: str
) -> None:
    if read == 0:
        raise InputError(f"{source}: no event was found in it (a header at most); nothing was changed.")
    share = (read - usable) / read
    if usable and share <= settings.max_bad_share:
        return
    worst = "; ".join(f"{reason}: {rows}" for reason, rows in list(reasons.items())[:_REASONS])
    more = f"; and {len(reasons) - _REASONS} more" if len(reasons) > _REASONS else ""
    raise InputError(
        f"{source}: {read - usable} of {read} rows are bad ({worst}{more}), more than events.max_bad_share = "
        f"{settings.max_bad_share:g}. For example: '{example}'. They are in the quarantine table (equal rows once): "
        f"{typed('quarantine')}; no history was changed. {_remedy(next(iter(reasons), ''), settings)}, or raise "
        "events.max_bad_share."
    )


def _remedy(reason: str, settings: EventsSettings) -> str:
    if "encoding" in reason:
        return f"Say which encoding the file has (events.encoding is {settings.encoding})"
    if reason == "time is not readable":
        return f"Say how times are written (events.time is {settings.time})"
    if reason == "weight is not a number":
        return "Numbers have a decimal point, 4.5 and not 4,5. Convert the file, check the column mapping"
    return "Check the column mapping"
