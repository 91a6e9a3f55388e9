"""A PostgreSQL table without JDBC: one COPY of its rows, read by Arrow as it comes, in the types Spark gives them."""

import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import psycopg
import pyarrow as pa
import pyarrow.csv as pc
from pyspark.sql import DataFrame, SparkSession

from scoreline.engine.embedded.spool import spooled
from scoreline.errors import InputError, told

if TYPE_CHECKING:
    from scoreline.sources.postgres import PostgresTable

__all__ = ["first_row", "rows"]

_MICROS = "(extract(epoch FROM {}) * 1000000)::bigint"
_SIMPLE = {  # by PostgreSQL's number of a type; what is not here is text, as the server writes it
    16: pa.bool_(), 20: pa.int64(), 21: pa.int16(), 23: pa.int32(), 26: pa.int64(), 700: pa.float32(),
    701: pa.float64(),
}  # fmt: skip
_ENDS = {  # of what is infinite, as Spark has it
    1082: ("DATE '9999-12-31'", "DATE '0001-01-01'"),
    1114: ("TIMESTAMP '9999-12-31 23:59:59.999999'", "TIMESTAMP '0001-01-01'"),
    1184: ("TIMESTAMPTZ '9999-12-31 23:59:59.999999Z'", "TIMESTAMPTZ '0001-01-01 00:00:00Z'"),
}
_TIMES = {
    1082: ("{} - DATE '1970-01-01'", pa.int32(), pa.date32()),
    1114: (_MICROS, pa.int64(), pa.timestamp("us")),
    1184: (_MICROS, pa.int64(), pa.timestamp("us", "UTC")),
}
_BYTES, _NUMERIC = 17, 1700


@dataclass(frozen=True)
class _Column:
    """How a column is asked for, what Arrow reads, and what that becomes."""

    name: str
    asked: str
    read: pa.DataType
    kind: pa.DataType


def first_row(table: "PostgresTable", query: str) -> tuple[Any, ...]:
    """The only row of a query; raises InputError if the database does not answer it."""
    with _connected(table) as connection:
        return connection.execute(query.encode()).fetchone() or ()


def rows(spark: SparkSession, table: "PostgresTable", condition: str | None) -> DataFrame:
    """The rows for which the condition holds, None: all of them."""
    where = f" WHERE {condition}" if condition else ""
    with _connected(table) as connection, connection.cursor() as cursor:
        columns = _columns(cursor, table)
        asked = f"SELECT {', '.join(column.asked for column in columns)} FROM {table.quoted}{where}"

        def batches() -> Iterator[pa.RecordBatch]:
            with cursor.copy(f"COPY ({asked}) TO STDOUT WITH (FORMAT csv)".encode()) as copy:
                yield from _read(copy, columns)

        return spooled(spark, batches(), pa.schema([(column.name, column.kind) for column in columns]))


@contextmanager
def _connected(table: "PostgresTable") -> Iterator[psycopg.Connection[Any]]:
    from scoreline.sources.postgres import reason

    url = table.url
    given: dict[str, Any] = {"host": url.host, "port": url.port, "dbname": url.database}
    given |= {"user": url.username, "password": url.password}
    try:
        # by words: what is wrong with a URL is said with the URL, and its password
        with psycopg.connect(**dict(url.query) | given, client_encoding="UTF8", connect_timeout=15) as connection:
            yield connection
    except (psycopg.Error, pa.ArrowInvalid) as error:
        raise InputError(f"{table.shown} could not be read: {reason(error)}") from None


def _columns(cursor: psycopg.Cursor[Any], table: "PostgresTable") -> list[_Column]:
    cursor.execute(f"SELECT * FROM {table.quoted} LIMIT 0".encode())
    described = cursor.description or []
    kinds = [column.type_code for column in described]
    cursor.execute("SELECT oid, typcategory, format_type(oid, NULL) FROM pg_type WHERE oid = ANY(%s)", (kinds,))
    about = {oid: (category, name) for oid, category, name in cursor}
    for column in described:
        category, name = about[column.type_code]
        if category in "AC" or name.startswith(("time without", "time with time", "bit")):
            raise InputError(
                f"{table.shown}: column {column.name} is {name}, which the embedded engine does not read as Spark "
                "does. Say engine: spark, or read the database by events.query."
            )
    return [_column(column) for column in described]


def _column(column: psycopg.Column) -> _Column:
    name, oid = column.name, column.type_code
    quoted = '"' + name.replace('"', '""') + '"'
    if oid in _TIMES:
        asked, read, kind = _TIMES[oid]
        last, first = _ENDS[oid]
        finite = f"CASE {quoted} WHEN 'infinity' THEN {last} WHEN '-infinity' THEN {first} ELSE {quoted} END"
        return _Column(name, asked.format(f"({finite})"), read, kind)
    if oid == _NUMERIC:
        precision, scale = (column.precision, column.scale or 0) if column.precision else (38, 18)
        kind = pa.decimal128(min(precision, 38), min(scale, 38))
        return _Column(name, f"round({quoted}, {kind.scale})", kind, kind)
    if oid == _BYTES:
        return _Column(name, f"encode({quoted}, 'hex')", pa.string(), pa.binary())
    kind = _SIMPLE.get(oid, pa.string())
    return _Column(name, quoted, kind, kind)


def _read(copy: psycopg.Copy, columns: list[_Column]) -> Iterator[pa.RecordBatch]:
    numbered = {f"c{place}": column.read for place, column in enumerate(columns)}
    options = {
        "read_options": pc.ReadOptions(column_names=list(numbered), block_size=8 << 20),
        "parse_options": pc.ParseOptions(newlines_in_values=True, ignore_empty_lines=False),
        "convert_options": pc.ConvertOptions(
            column_types=numbered, null_values=[""], strings_can_be_null=True, quoted_strings_can_be_null=False,
            true_values=["t"], false_values=["f"],
        ),
    }  # fmt: skip
    try:
        opened = pc.open_csv(pa.PythonFile(io.BufferedReader(_Copied(copy), 1 << 20), "r"), **options)
    except pa.ArrowInvalid as error:
        if "Empty CSV file" in told(error):
            return
        raise
    for batch in opened:
        made = [_cast(batch.column(place), column.kind) for place, column in enumerate(columns)]
        yield pa.RecordBatch.from_arrays(made, names=[column.name for column in columns])


def _cast(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_binary(kind):
        return pa.array([None if one is None else bytes.fromhex(one) for one in values.to_pylist()], kind)
    return values if values.type.equals(kind) else values.cast(kind)


class _Copied(io.RawIOBase):
    """What a COPY sends, as a file."""

    def __init__(self, copy: psycopg.Copy) -> None:
        self._copy, self._left = copy, b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            self._left = bytes(self._copy.read())
        size = min(len(buffer), len(self._left))
        buffer[:size], self._left = self._left[:size], self._left[size:]
        return size
