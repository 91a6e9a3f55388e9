"""Delta tables by name, in a folder or in a catalogue: the one module that reads and writes them.

A table in a folder is `<root>/<name>`; in a catalogue `<catalog.schema>.<name>`. All identifiers reach SQL quoted.
"""

import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from urllib.parse import unquote
from uuid import uuid4

import pyarrow as pa
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.config.settings import TablesSettings
from scoreline.engine import filesystem
from scoreline.engine.engine import engine_of
from scoreline.engine.listing import escaped
from scoreline.engine.session_settings import session_settings
from scoreline.engine.sql import literal, quoted, quoted_name
from scoreline.engine.thrown import engine_errors
from scoreline.errors import InputError, RunFailed
from scoreline.tables.appended import AddedFile
from scoreline.tables.commit_note import Note, read_note
from scoreline.tables.history import Commit
from scoreline.tables.names import PROPERTIES, place

log = logging.getLogger(__name__)

_ATTEMPTS = 4
_CONFLICT = ("DELTA_CONCURRENT", "ConcurrentModification", "DELTA_PROTOCOL_CHANGED", "DELTA_METADATA_CHANGED")
_ABANDONED = timedelta(minutes=10)  # far above what the slowest store takes for a first commit
_RETENTION = "delta.deletedFileRetentionDuration"
_SETTING = {  # a MERGE takes no options; these are the session's words for them
    "userMetadata": "spark.databricks.delta.commitInfo.userMetadata",
    "txnAppId": "spark.databricks.delta.write.txnAppId",
    "txnVersion": "spark.databricks.delta.write.txnVersion",
}


@dataclass(frozen=True)
class Table:
    """One Delta table; the session is an argument of construction, so that methods say only what they do."""

    spark: SparkSession
    name: str
    location: str
    in_catalog: bool

    @property
    def identifier(self) -> str:
        """The table as SQL says it, quoted."""
        parts = self.location.split(".") if self.in_catalog else ["delta", self.location]
        return ".".join(quoted(part) for part in parts)

    def exists(self) -> bool:
        if self.in_catalog:
            return bool(self.spark.catalog.tableExists(self.identifier))
        # Asking Spark would load the table, and print a stack trace where there is none. Without a commit the log is a
        # folder that somebody made who was killed before the first one: there is no table yet.
        return filesystem.has(self.spark, f"{self.location}/_delta_log", "[0-9]*")

    def create(self, schema: T.StructType, properties: Mapping[str, str] | None = None) -> None:
        """Create the table empty unless it exists; raises InputError if it exists with other columns or types."""
        if self.exists():
            self._check_schema(schema)
            return
        columns = ", ".join(_column(field) for field in schema)
        wanted = {**PROPERTIES, **(properties or {})}
        pairs = ", ".join(f"{literal(key)} = {literal(value)}" for key, value in wanted.items())
        statement = f"CREATE TABLE IF NOT EXISTS {self.identifier} ({columns}) USING DELTA TBLPROPERTIES ({pairs})"
        try:
            committed(lambda: self.spark.sql(statement))
        except AnalysisException:
            # of two who make it at once one may find the other's log, and no commit in it yet
            if self.in_catalog or not filesystem.has(self.spark, f"{self.location}/_delta_log", "*"):
                raise
        if not (self.in_catalog or self._appears()):
            # Spark takes a log without a commit for a table; on this machine the lock says that its maker is dead
            if is_shared(self.location):
                self._require_abandoned()
            filesystem.remove(self.spark, f"{self.location}/_delta_log")
            self.spark.sql(statement)

    def add_column(self, field: T.StructField) -> None:
        """Add a column, null in the rows there are, to a table that an earlier version made without it."""
        if field.name in self.read().columns:
            return
        try:
            self.spark.sql(f"ALTER TABLE {self.identifier} ADD COLUMNS ({_column(field)})")
        except AnalysisException:
            if field.name not in self.read().columns:  # else somebody else has just done it
                raise

    def _require_abandoned(self) -> None:
        """Raise RunFailed for a log without a commit that was touched lately: elsewhere somebody may be making it."""
        age = datetime.now(UTC) - self.touched_at().astimezone(UTC)
        if age < _ABANDONED:
            raise RunFailed(
                f"{self.location} has a log without a commit, touched {age.total_seconds():.0f} s ago: another host "
                f"may be making the table just now, or was killed at it. Nothing was done. Run again; after "
                f"{_ABANDONED.total_seconds() / 60:.0f} minutes without a commit it is made anew."
            )

    def _appears(self, *, seconds: float = 2) -> bool:
        """Whether the table is there, or somebody who has just begun makes it."""
        end = time.monotonic() + seconds
        while not (there := self.exists()) and time.monotonic() < end:
            time.sleep(0.1)
        return there

    def _schema(self) -> T.StructType:
        """The columns as the table has them."""
        return self.read().schema

    def _check_schema(self, schema: T.StructType) -> None:
        found = {field.name: field.dataType for field in self._schema()}
        for field in schema:
            if field.name not in found:
                raise InputError(f"Table {self.location} has no column {field.name}; it has {', '.join(found)}.")
            if found[field.name].simpleString() != field.dataType.simpleString():
                raise InputError(
                    f"Table {self.location}: column {field.name} is {found[field.name].simpleString()}, and the "
                    f"configuration makes it {field.dataType.simpleString()}. Change keys in the configuration, or use "
                    "another place for the tables."
                )

    def read(self, version: int | None = None) -> DataFrame:
        reader = self.spark.read.format("delta")
        if version is not None:
            reader = reader.option("versionAsOf", version)
        return reader.table(self.identifier) if self.in_catalog else reader.load(self.location)

    def read_from(self, file: str) -> DataFrame:
        """The newest version, and in the column `file` which file a row is in."""
        return self.read().withColumn(file, F.col("_metadata.file_path"))

    def read_added(self, place: str, files: Sequence[AddedFile], file: str) -> DataFrame:
        """The rows of files that the log has added, as `read_from` has them. `place`: the table's folder as a URI."""
        schema = self.read().schema
        partitions: dict[tuple[tuple[str, str | None], ...], list[str]] = {}
        for added in files:
            partitions.setdefault(tuple(added.partition.items()), []).append(f"{place}/{added.path}")
        given = dict(next(iter(partitions)))
        own = T.StructType([field for field in schema if field.name not in given])

        def rows(values: Mapping[str, str | None], addresses: Sequence[str]) -> DataFrame:
            found = self.spark.read.schema(own).parquet(*escaped(addresses))
            columns = {f.name: F.lit(values[f.name]).cast(f.dataType) for f in schema if f.name in given}
            named = [columns.get(f.name, F.col(quoted(f.name))).alias(f.name) for f in schema]
            return found.select(*named, F.col("_metadata.file_path").alias(file))

        return reduce(DataFrame.unionAll, [rows(dict(values), at) for values, at in partitions.items()])

    def write(
        self, rows: DataFrame | pa.RecordBatchReader, mode: str, options: Mapping[str, str] | None = None
    ) -> None:
        """Append or overwrite in one commit. `options` stamp it (`userMetadata`, and `txnAppId` with `txnVersion`: a
        number that is not above the last of the application is passed over), and are properties of a new table.
        """
        assert isinstance(rows, DataFrame)  # batches come from workers of our own, which Spark has no need of
        writer = rows.write.format("delta").mode(mode).options(**(options or {}))
        if self.in_catalog:
            writer.saveAsTable(self.identifier)
        else:
            writer.save(self.location)

    def merge(self, rows: DataFrame, on: str, *clauses: str) -> None:
        """MERGE `rows` (named new) into the table (named old); SQL, because it is what every kind of session has."""
        view = f"_scoreline_{uuid4().hex}"
        rows.createOrReplaceTempView(view)
        try:
            actions = " ".join(clauses)
            self.spark.sql(f"MERGE INTO {self.identifier} AS old USING {view} AS new ON {on} {actions}")
        finally:
            self.spark.catalog.dropTempView(view)

    def change(self, rows: DataFrame, key: str, options: Mapping[str, str]) -> None:
        """Replace or add rows by `key`, remove those whose `_left` is true: one commit, stamped with `options`."""
        columns = [quoted(c) for c in rows.columns if c != "_left"]
        values = [f"new.{c}" for c in columns]
        assignments = ", ".join(f"{column} = {value}" for column, value in zip(columns, values, strict=True))
        with session_settings(self.spark, {_SETTING[name]: value for name, value in options.items()}):
            self.merge(
                rows,
                f"old.{quoted(key)} = new.{quoted(key)}",
                "WHEN MATCHED AND new._left THEN DELETE",
                f"WHEN MATCHED THEN UPDATE SET {assignments}",
                f"WHEN NOT MATCHED AND NOT new._left THEN INSERT ({', '.join(columns)}) VALUES ({', '.join(values)})",
            )

    def files(self, version: int) -> set[str]:
        """The files that a version is made of, by their paths; of a clone those of its own only."""
        place = self.detail()["location"].rstrip("/")
        parts = [unquote(file).rsplit("/", 2)[-2:] for file in self.read(version).inputFiles()]
        return {f"{place}/{name}" for folder, name in parts if folder == place.rsplit("/", 1)[-1]}

    def upsert(
        self,
        rows: DataFrame | Callable[[DataFrame], DataFrame],
        key: str,
        *,
        update: bool = True,
        note: Note | None = None,
    ) -> None:
        """Insert rows whose `key` is not there and, if `update`, replace those that are: the columns of `rows` only.

        A function makes the rows of the table's own: of the version that the commit is checked against, each time.
        """
        rows = rows(self.read()) if callable(rows) else rows
        columns = [quoted(name) for name in rows.columns]
        assignments = ", ".join(f"{column} = new.{column}" for column in columns)
        values = ", ".join(f"new.{column}" for column in columns)
        clauses = [f"WHEN MATCHED THEN UPDATE SET {assignments}"] if update else []
        clauses += [f"WHEN NOT MATCHED THEN INSERT ({', '.join(columns)}) VALUES ({values})"]
        # rows that are made of this table are made of its newest version each time
        with session_settings(self.spark, {_SETTING["userMetadata"]: note.text()} if note else {}):
            committed(lambda: self.merge(rows, f"old.{quoted(key)} = new.{quoted(key)}", *clauses))

    def delete(self, where: str) -> None:
        self.spark.sql(f"DELETE FROM {self.identifier} WHERE {where}")

    def set_property(self, key: str, value: str) -> None:
        self.spark.sql(f"ALTER TABLE {self.identifier} SET TBLPROPERTIES ({literal(key)} = {literal(value)})")

    def properties(self) -> dict[str, str]:
        return dict(self.spark.sql(f"DESCRIBE DETAIL {self.identifier}").select("properties").first()[0])  # type: ignore[index]

    def version(self) -> int:
        """The newest version."""
        return self.commits(limit=1)[0].version

    def commits(self, limit: int | None = None) -> list[Commit]:
        """The table's history, newest first."""
        newest = "" if limit is None else f" LIMIT {limit:d}"
        history = self.spark.sql(f"DESCRIBE HISTORY {self.identifier}{newest}")
        columns = ("version", "timestamp", "operation", "userMetadata", "operationMetrics", "operationParameters")
        rows = history.select(*columns).collect()
        return [Commit(r[0], r[1], r[2], read_note(r[3]), r[4] or {}, r[5] or {}) for r in rows]

    def touched_at(self) -> datetime:
        """When the newest file of a folder was written that is no table yet; now, for what cannot be looked at."""
        if self.in_catalog:
            return datetime.now(UTC)
        return filesystem.touched_at(self.spark, self.location)

    def detail(self) -> Row:
        """Delta's DESCRIBE DETAIL: numFiles, sizeInBytes and more."""
        return self.spark.sql(f"DESCRIBE DETAIL {self.identifier}").collect()[0]

    def vacuum(self, retain: timedelta) -> None:
        """Delete files that no version of the last `retain` needs, or of as long as the table's own property says."""
        # Delta refuses less than the property
        kept = max(retain, _interval(self.properties().get(_RETENTION, "")))
        self.spark.sql(f"VACUUM {self.identifier} RETAIN {kept.total_seconds() / 3600:g} HOURS")

    def optimize(self) -> None:
        self.spark.sql(f"OPTIMIZE {self.identifier}")

    def drop(self) -> None:
        """Remove the table and its files."""
        if self.in_catalog:
            self.spark.sql(f"DROP TABLE IF EXISTS {self.identifier}")
            return
        filesystem.remove(self.spark, self.location)


def table_at(spark: SparkSession, name: str, location: str, *, in_catalog: bool) -> Table:
    """The table in a place, as the session's engine handles it."""
    if engine_of(spark).name == "embedded":
        from scoreline.tables.embedded import EmbeddedTable

        return EmbeddedTable(spark, name, location, in_catalog)
    return Table(spark, name, location, in_catalog)


@dataclass(frozen=True)
class Tables:
    """The tables of one pipeline."""

    spark: SparkSession
    settings: TablesSettings

    def table(self, name: str) -> Table:
        return table_at(self.spark, name, place(self.settings, name), in_catalog=self.settings.catalog is not None)

    def keeps_writers_apart(self) -> bool:
        """Whether of two commits at once exactly one wins: S3's default log store does not see to that."""
        if not (self.settings.root or "").startswith(("s3:", "s3a:")):
            return True
        keys = ("spark.delta.logStore.s3a.impl", "spark.delta.logStore.s3.impl", "spark.delta.logStore.class")
        return any("DynamoDB" in str(self.spark.conf.get(key, "")) for key in keys)

    def names(self, prefix: str) -> list[str]:
        """Names of the tables, or what is left of them, that begin with `prefix`."""
        if self.settings.catalog:
            schema = quoted_name(self.settings.catalog)
            found = [row["tableName"] for row in self.spark.sql(f"SHOW TABLES IN {schema}").collect()]
        else:
            found = filesystem.folders(self.spark, self.table("x").location.rsplit("/", 1)[0])
        return sorted(name for name in found if name.startswith(prefix))

    def existing(self, name: str, *, made_by: str) -> Table:
        """The table, which has to be there; `made_by` is the command that makes it."""
        table = self.table(name)
        if not table.exists():
            raise InputError(f"There is no table {table.location} yet. Make it with: {made_by}")
        return table


def is_conflict(error: Exception) -> bool:
    """Whether a commit failed since another writer's was faster; a MERGE says it in Java's words."""
    return type(error).__name__ == "CommitFailedError" or any(sign in str(error) for sign in _CONFLICT)


def committed(commit: Callable[[], object]) -> None:
    """Commit, and again where another writer's commit was faster: what is committed must be the same both times."""
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            commit()
            break
        except engine_errors() as error:
            if attempt == _ATTEMPTS or not is_conflict(error):
                raise
            log.warning("another commit was faster, attempt=%d", attempt)
            time.sleep(0.2 * attempt)


def is_shared(location: str) -> bool:
    """Whether other machines may write there, where no lock of this one is seen."""
    return "://" in location and not location.startswith("file:")


def _column(field: T.StructField) -> str:
    required = "" if field.nullable else " NOT NULL"
    comment = field.metadata.get("comment", "")
    return f"{quoted(field.name)} {field.dataType.simpleString()}{required} COMMENT {literal(comment)}"


def _interval(text: str) -> timedelta:
    """The length of an interval as a table's property has it, in units that have one; 0 of nothing.

    >>> _interval("interval 2 weeks 12 hours")
    datetime.timedelta(days=14, seconds=43200)
    """
    parts = re.findall(r"(\d+)\s+(week|day|hour|minute|second)s?", text, re.IGNORECASE)
    return timedelta(**{f"{unit.lower()}s": int(count) for count, unit in parts})
