"""Tables to look at: folders and object stores by delta-rs, without Spark; what it does not read by a session.

Both ways give the same rows, types and commits. Nothing here writes.
"""

import logging
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError, TableNotFoundError

from scoreline.config.settings import Settings
from scoreline.engine.installed import is_on_platform, require_pyspark
from scoreline.errors import InputError, RunFailed, told
from scoreline.redaction import redacted
from scoreline.tables.delta_log import log_commits, open_log, unheeded_by_readers, unknown_feature
from scoreline.tables.history import Commit
from scoreline.tables.names import place
from scoreline.tables.storage_options import storage_options

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["Readers", "TableReader", "Where", "counted", "is_elsewhere", "open_readers", "records"]

log = logging.getLogger(__name__)

Value = str | int | float | bool
Where = Mapping[str, Collection[Value]]


class TableReader(Protocol):
    """One table to look at. `columns`: which, in this order (default: all); `where`: the rows whose column is one of
    these values, none of which is null; `version`: of the table (default: the newest).
    """

    @property
    def name(self) -> str: ...

    @property
    def location(self) -> str: ...

    def exists(self) -> bool: ...

    def version(self) -> int:
        """The newest version."""
        ...

    def rows(
        self, columns: Sequence[str] | None = None, where: Where | None = None, version: int | None = None
    ) -> pa.Table:
        """The rows, in no order. Raises InputError for a column or a version that the table lacks."""
        ...

    def batches(
        self, columns: Sequence[str] | None = None, where: Where | None = None, version: int | None = None
    ) -> pa.RecordBatchReader:
        """The same as a stream, never all in memory."""
        ...

    def count(self, version: int | None = None) -> int: ...

    def counts(self, column: str) -> dict[Any, int]:
        """How many rows have each value of a column, counted where they are; moments in UTC."""
        ...

    def commits(self, limit: int | None = None) -> list[Commit]:
        """The table's history, newest first."""
        ...


@dataclass(frozen=True)
class Readers:
    """The tables of one pipeline, to look at.

    spark: the session to ask where one is needed. None: that of this process, else one of our own.
    """

    settings: Settings
    spark: "SparkSession | None" = None

    def table(self, name: str) -> TableReader:
        """The table of this name, which need not exist."""
        location = place(self.settings.tables, name)
        options = self._options(location)
        if options is None:
            return self._by_session(name)
        reader = DeltaReader(name, location, options)
        try:
            unheeded = unheeded_by_readers(reader.log()) if reader.exists() else []
        except _Unread as error:
            unheeded = [error.feature]
        if not unheeded:
            return reader
        if self.settings.engine == "embedded":
            raise InputError(
                f"{location} has features that cannot be read without Spark: {', '.join(unheeded)}. Say engine: spark."
            )
        log.info("table=%s is read by Spark: %s", location, ", ".join(unheeded))
        return self._by_session(name)

    def existing(self, name: str, *, made_by: str) -> TableReader:
        """The table, which has to be there; `made_by` is the command that makes it."""
        table = self.table(name)
        if not table.exists():
            raise InputError(f"There is no table {table.location} yet. Make it with: {made_by}")
        return table

    def _options(self, location: str) -> Mapping[str, str] | None:
        """How delta-rs reaches a place; None where only a session can."""
        if self.settings.tables.catalog or is_elsewhere(self.settings, self.spark):
            return None
        local = location.removeprefix("file://").removeprefix("file:")
        if "://" not in local:
            return {}
        return storage_options(location, self.settings.spark)

    def _by_session(self, name: str) -> TableReader:
        require_pyspark()
        from scoreline.tables.session_reading import SessionReader

        return SessionReader.opened(self.settings, name, self.spark)


def open_readers(settings: Settings, spark: "SparkSession | None" = None) -> Readers:
    """The tables of a pipeline to look at; no session is started unless a table needs one."""
    return Readers(settings, spark)


def is_elsewhere(settings: Settings, spark: "SparkSession | None" = None) -> bool:
    """Whether a path or a store means what a platform, a cluster or another machine says it does."""
    if is_on_platform():
        return True
    if any(key in settings.spark for key in ("spark.remote", "spark.hadoop.fs.defaultFS")):
        return True
    if spark is None:
        return False
    from scoreline.engine.choice import is_embedded
    from scoreline.engine.filesystem import is_remote

    return is_remote(spark) and not is_embedded(settings, spark)


# wide columns of rows that `where` leaves out are not decoded: one user of 1 M, who may be in any file, takes a tenth
_FILTERED_FIRST = "SET datafusion.execution.parquet.pushdown_filters = true"
_NO_CREDENTIALS = re.compile(r"\bIMDS\b|169\.254\.169\.254|instance metadata", re.IGNORECASE)  # asked last, in vain
_LOST = re.compile(r"Object at location (\S+) not found")


class _Unread(Exception):
    """delta-rs does not open this table, for a feature."""

    def __init__(self, feature: str) -> None:
        super().__init__(feature)
        self.feature = feature


@dataclass(frozen=True)
class DeltaReader:
    """A table in a folder or an object store, by delta-rs; `options` are of the store."""

    name: str
    location: str
    options: Mapping[str, str]

    def exists(self) -> bool:
        try:
            self.log()
        except TableNotFoundError:
            return False
        return True

    def version(self) -> int:
        return int(self._opened().version())

    def rows(
        self, columns: Sequence[str] | None = None, where: Where | None = None, version: int | None = None
    ) -> pa.Table:
        stream = self.batches(columns, where, version)
        with _told(self.location):
            return stream.read_all()

    def batches(
        self, columns: Sequence[str] | None = None, where: Where | None = None, version: int | None = None
    ) -> pa.RecordBatchReader:
        opened = self._opened(version)
        schema = rows_schema(self.location, pa.schema(opened.schema().to_arrow()), columns, where)
        selected = ", ".join(_quoted(name) for name in schema.names)
        with _told(self.location):
            found = _query(opened, f"SELECT {selected} FROM t{_condition(where)}")
        return pa.RecordBatchReader.from_batches(schema, self._cast(found, schema))

    def count(self, version: int | None = None) -> int:
        with _told(self.location):
            return int(_query(self._opened(version), "SELECT count(*) FROM t").read_all()[0][0].as_py())

    def counts(self, column: str) -> dict[Any, int]:
        opened, name = self._opened(), _quoted(column)
        rows_schema(self.location, pa.schema(opened.schema().to_arrow()), [column])
        with _told(self.location):
            return counted(_query(opened, f"SELECT {name}, count(*) FROM t GROUP BY {name}").read_all())

    def commits(self, limit: int | None = None) -> list[Commit]:
        opened = self._opened()
        with _told(self.location):
            return log_commits(opened, self.location, limit, self.options)

    def log(self, version: int | None = None) -> DeltaTable:
        """The log of a version; raises TableNotFoundError, `_Unread` or RunFailed."""
        with _told(self.location):
            return open_log(self.location, version, self.options)

    def _opened(self, version: int | None = None) -> DeltaTable:
        try:
            return self.log(version)
        except TableNotFoundError:
            raise InputError(f"There is no table {self.location} yet.") from None
        except RunFailed:
            if version is not None and version > (newest := int(self.log().version())):
                raise InputError(f"{self.location} has no version {version}; its newest is {newest}.") from None
            raise

    def _cast(self, found: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        with _told(self.location):
            for batch in found:
                columns = [column.cast(field.type) for column, field in zip(batch.columns, schema, strict=True)]
                yield pa.RecordBatch.from_arrays(columns, schema=schema)


@contextmanager
def _told(location: str) -> Iterator[None]:
    """What delta-rs says as an error of ours."""
    try:
        yield
    except TableNotFoundError:
        raise
    except DeltaError as error:
        if (feature := unknown_feature(error)) is not None:
            raise _Unread(feature) from None
        raise _failed(location, error) from None
    except (OSError, pa.ArrowException) as error:
        raise _failed(location, error) from None
    except Exception as error:
        if type(error) is not Exception:  # delta-rs throws these of its queries
            raise
        raise _failed(location, error) from None


def _failed(location: str, error: Exception) -> RunFailed:
    log.debug("reading failed", exc_info=error)
    if (lost := _LOST.search(str(error))) is not None:
        return RunFailed(f"{location} could not be read: {lost[1]} does not exist, and the table's log names it.")
    if location.startswith(("s3://", "s3a://")) and _NO_CREDENTIALS.search(str(error)):
        return RunFailed(
            f"No credentials were found for {location}: give spark.hadoop.fs.s3a.access.key and "
            "spark.hadoop.fs.s3a.secret.key below spark:, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY in the "
            f"environment (docs/deploy/storage.md). The store's client says: {redacted(told(error)).rstrip('.')}."
        )
    where = (
        " Look at the store's address, its settings below spark: and the credentials in the environment "
        "(docs/deploy/storage.md)."
    )
    advice = where if "://" in location else ""
    return RunFailed(f"{location} could not be read: {redacted(told(error)).rstrip('.')}.{advice}")


def _query(opened: DeltaTable, sql: str) -> pa.RecordBatchReader:
    builder = QueryBuilder().register("t", opened)
    builder.execute(_FILTERED_FIRST)
    return pa.RecordBatchReader.from_stream(builder.execute(sql))


def _condition(where: Where | None) -> str:
    parts = []
    for name, values in (where or {}).items():
        if not values:
            return " WHERE false"
        column, listed = _quoted(name), sorted(values, key=str)
        low, high = _literal(min(listed)), _literal(max(listed))
        # bounds of files are compared with the two ends; a long list by itself skips none
        parts.append(f"{column} BETWEEN {low} AND {high} AND {column} IN ({', '.join(map(_literal, listed))})")
    return f" WHERE {' AND '.join(parts)}" if parts else ""


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(value: Value) -> str:
    """A value as DataFusion's SQL has it.

    >>> _literal("it's"), _literal(3), _literal(True)
    ("'it''s'", '3', 'true')
    """
    if isinstance(value, str):
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    raise TypeError(f"where: expected texts, numbers or booleans, found {type(value).__name__}")


def rows_schema(
    location: str, schema: pa.Schema, columns: Sequence[str] | None, where: Where | None = None
) -> pa.Schema:
    """What rows are given as, whoever reads them: Arrow's plain types, as Spark has them, everything nullable.

    Raises InputError for a column that is not there.
    """
    wanted = schema.names if columns is None else list(columns)
    if missing := [name for name in [*wanted, *(where or {})] if name not in schema.names]:
        raise InputError(f"{location} has no column {', '.join(missing)}; it has {', '.join(schema.names)}.")
    return pa.schema([pa.field(name, _plain(schema.field(name).type)) for name in wanted])


def records(rows: pa.Table) -> list[dict[str, Any]]:
    """The rows as dicts, moments in UTC; Arrow's own `to_pylist` imports pandas for these, which takes a second."""
    schema = pa.schema([field.with_type(_naive(field.type)) for field in rows.schema])
    moments = [field.name for field in rows.schema if not schema.field(field.name).type.equals(field.type)]
    return [{**row, **{name: _in_utc(row[name]) for name in moments}} for row in rows.cast(schema).to_pylist()]


def counted(groups: pa.Table) -> dict[Any, int]:
    """A table of a value and a number as a dict."""
    value, number = groups.column_names
    return {row[value]: row[number] for row in records(groups)}


def _naive(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return pa.timestamp(kind.unit)
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_naive(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_naive(field.type)) for field in kind])
    return kind


def _in_utc(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=UTC)
    if isinstance(value, list):
        return [_in_utc(one) for one in value]
    return {name: _in_utc(one) for name, one in value.items()} if isinstance(value, dict) else value


def _plain(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_large_binary(kind) or pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_list_view(kind):
        return pa.list_(pa.field("element", _plain(kind.value_type)))
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, _plain(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.map_(_plain(kind.key_type), _plain(kind.item_type))
    return kind
