"""What a database's or a Delta table, or a topic, has got since the last ingest, and the mark where the next goes on.

The mark is a property of `user_history` and moves after the merge: whoever is killed in between reads rows again, and
changes nothing by it.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from scoreline.config.settings import EventsSettings
from scoreline.engine.failures import explained
from scoreline.engine.filesystem import first_bytes
from scoreline.engine.listing import Files, Place, address
from scoreline.engine.thrown import engine_errors
from scoreline.errors import InputError
from scoreline.hashing import fingerprint
from scoreline.redaction import without_credentials
from scoreline.sources.database import fetched
from scoreline.sources.kafka import KafkaTopic
from scoreline.sources.reader import is_database, is_kafka, is_table, require_database, require_file, require_reader
from scoreline.tables.appended import NotOnlyAppended, appended
from scoreline.tables.delta import Table, table_at
from scoreline.tables.names import SOURCE

_AT_ONCE = 16  # commits of a log that are read at once
_LARGEST = 1 << 26  # bytes of a commit that is looked at


@dataclass(frozen=True)
class News:
    """`rows` are None where there is nothing new. `mark`: from where the next ingest goes on; `remarks`: for people."""

    key: str
    since: str | None
    mark: str | None
    rows: DataFrame | None
    remarks: tuple[str, ...] = ()


def news_of(
    spark: SparkSession,
    source: Place,
    settings: EventsSettings,
    marks: Callable[[], Mapping[str, str]],
    scratch: Table,
    *,
    only_new: bool,
) -> News | None:
    """The news of `events.table`, of a topic, or if `only_new` of a Delta table; None for a source that is read whole.

    `marks`: the properties that marks are among; `scratch`: a table to put rows into. Raises InputError for a source
    that has no way to tell what is new, and one that cannot be read.
    """
    if isinstance(source, Files):
        return None
    if is_kafka(source):
        return _of_kafka(spark, source, settings, marks())
    if is_database(source):
        require_database(source)
        if settings.table is not None:
            return _of_database(spark, source, settings.table, settings, marks(), scratch)
        if only_new:
            raise InputError(
                f"{without_credentials(source)}: --new needs events.table, and unless it is PostgreSQL's events.mark; "
                "what is new in the result of a query nobody knows. By --events all of it is read."
            )
        return None
    return _of_delta(spark, source, marks()) if only_new else None


def _of_database(
    spark: SparkSession, url: str, name: str, settings: EventsSettings, marks: Mapping[str, str], scratch: Table
) -> News:
    if settings.mark is None and url.startswith(("postgres://", "postgresql://", "postgresql+")):
        return _of_postgres(spark, url, name, settings.partitions, marks)
    if settings.mark is None or url.startswith("jdbc:"):
        raise InputError(
            f"{without_credentials(url)}: in events.table PostgreSQL knows what is new, others by events.mark, a "
            "column that is higher in later rows; of both by SQLAlchemy's URL (postgresql://, sqlite:///)."
        )
    from scoreline.sources.marked import mark_key, marked, rows_digest

    wanted, key = settings.source_columns(), mark_key(url, name, settings.mark.column)
    before, _, _ = ((since := marks.get(key)) or "").rpartition(" ")
    found = marked(url, name, settings.mark, wanted, since=before or None)
    digests: list[int] = []
    each = (lambda part: digests.append(rows_digest(part))) if before else None
    rows = None if found.query is None else fetched(spark, url, found.query, scratch, wanted, each=each)
    mark = f"{found.mark} {sum(digests) % 2**128:x}" if found.mark else None
    # the very rows that were read the last time, as of a table to which nothing was added
    return News(key, since, mark, None if mark and mark == since else rows, found.remarks)


def _of_postgres(spark: SparkSession, url: str, name: str, partitions: int, marks: Mapping[str, str]) -> News:
    from scoreline.sources.postgres import PostgresTable, continues

    table = PostgresTable.at(url, name)
    position, since = table.look(spark), marks.get(table.key)
    with explained(f"{table.shown} could not be read"):
        rows = table.read(spark, position, since=since, partitions=partitions)
    again = since is not None and not continues(position, since)
    remarks = ("all of it was read: it was made anew, or its database was",) if again else ()
    return News(table.key, since, str(position), rows.withColumn(SOURCE, F.lit(without_credentials(url))), remarks)


def _of_kafka(spark: SparkSession, address: str, settings: EventsSettings, marks: Mapping[str, str]) -> News:
    require_reader(spark, address)
    if settings.format != "json":
        raise InputError(
            f"A message of Kafka is read as JSON, and events.format is {settings.format}. Say format: json."
        )
    topic = KafkaTopic.at(address, {key: value.get_secret_value() for key, value in settings.kafka.items()})
    offsets = topic.look(spark)
    since = marks.get(offsets.key)
    begin, remarks = offsets.begin(since)
    rows = topic.read(spark, begin, offsets.end, settings.source_columns())
    return News(offsets.key, since, offsets.mark, rows, remarks)


def _of_delta(spark: SparkSession, source: str, marks: Mapping[str, str]) -> News:
    require_reader(spark, source)
    if not (in_catalog := is_table(source)):
        require_file(source)
    with explained(f"{source} could not be read as a Delta table", otherwise=InputError):
        table = table_at(spark, source, source, in_catalog=in_catalog)
        if not table.exists():
            raise InputError(f"{source}: there is no Delta table here.")
        about, version = table.detail(), table.version()
        place = address(str(about["location"])).rstrip("/")
        key, mark = f"scoreline.mark.{fingerprint(['delta', place])}", f"{about['id']}:{version}"
        if (since := marks.get(key)) == mark:
            return News(key, since, mark, None)
        if since is None:
            return News(key, since, mark, table.read_from(SOURCE))
        try:
            return News(key, since, mark, _added(table, place, since, mark))
        except NotOnlyAppended as error:
            return News(key, since, mark, table.read_from(SOURCE), (f"all of it was read: {error.why}",))


def _added(table: Table, place: str, since: str, mark: str) -> DataFrame | None:
    """The rows that were appended between two marks, None if there are none; raises NotOnlyAppended."""
    (before, read), (own, version) = (one.rsplit(":", 1) for one in (since, mark))
    if before != own or int(read) > int(version):
        raise NotOnlyAppended("it was made anew")
    if table.properties().get("delta.columnMapping.mode", "none") != "none":
        raise NotOnlyAppended("in its files columns have names of their own")
    commits = [f"{place}/_delta_log/{number:020d}.json" for number in range(int(read) + 1, int(version) + 1)]
    try:
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            files = appended(pool.map(lambda file: first_bytes(table.spark, file, _LARGEST), commits))
            for file in files:
                if file.is_compacted:  # a VACUUM may have removed it
                    first_bytes(table.spark, f"{place}/{file.path}", 1)
    except (OSError, ValueError, pa.ArrowException, *engine_errors()):
        raise NotOnlyAppended(f"its log since version {read}, or a file that it names, could not be read") from None
    return table.read_added(place, files, SOURCE) if files else None
