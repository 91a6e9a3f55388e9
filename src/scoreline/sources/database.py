"""Rows of a database by its URL: SQLAlchemy's in chunks as text, `jdbc:` by Spark."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from decimal import Decimal
from typing import TYPE_CHECKING
from uuid import UUID

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.engine.failures import explained
from scoreline.errors import InputError, told
from scoreline.redaction import without_credentials
from scoreline.sources.values import instant
from scoreline.tables.delta import Table
from scoreline.tables.names import SOURCE

if TYPE_CHECKING:
    import sqlalchemy

_CHUNK_ROWS = 200_000
_PLAIN = (str, int, float, Decimal, date, time, timedelta, UUID)


@dataclass(frozen=True)
class Database:
    """What a database source needs besides its URL: a query, and a table to put its rows into."""

    query: str
    scratch: Table


def read_database(spark: SparkSession, url: str, database: Database | None, wanted: Sequence[str]) -> DataFrame:
    if database is None:
        raise InputError(
            "A database source needs events.query in the configuration, the SELECT that gives the events, or "
            "events.table, a table of which only what is new is read."
        )
    name = without_credentials(url)
    if url.startswith("jdbc:"):
        with explained(f"{name} could not be read"):
            # a time without a zone is in UTC, not in the zone of this machine
            given = {"url": url, "query": database.query, "preferTimestampNTZ": "true"}
            return spark.read.format("jdbc").options(**given).load().withColumn(SOURCE, F.lit(name))
    import sqlalchemy

    rows = fetched(spark, url, sqlalchemy.text(database.query), database.scratch, wanted)
    if rows is None:
        raise InputError(f"{name}: the query gave no rows.")
    return rows


def fetched(
    spark: SparkSession,
    url: str,
    query: "sqlalchemy.Executable",
    scratch: Table,
    wanted: Sequence[str],
    *,
    each: Callable[[Sequence[Sequence[object]]], None] | None = None,
) -> DataFrame | None:
    """Bring a query's rows over in chunks, so that the driver never holds more than one; None if it gave no value.

    `each` is shown every chunk.
    """
    import sqlalchemy

    source = without_credentials(url)
    kinds: dict[str, set[type]] = {}
    try:
        engine = sqlalchemy.create_engine(url)
        streamed = {"stream_results": True, "yield_per": _CHUNK_ROWS}
        with engine.connect().execution_options(**streamed) as connection:
            result = connection.execute(query)
            names = [str(name) for name in result.keys()]  # noqa: SIM118
            if len({name.lower() for name in names}) < len(names):
                raise InputError(f"{source}: the query names a column twice: {', '.join(names)}. Use AS.")
            for part in result.partitions():
                for name, values in zip(names, zip(*part, strict=True), strict=True):
                    kinds.setdefault(name, set()).update(type(value) for value in values if value is not None)
                if each:
                    each(part)
                scratch.write(_as_text(spark, names, part), "append")
    except (sqlalchemy.exc.SQLAlchemyError, ImportError) as error:
        # SQLAlchemy's text may hold the URL with its password; its first line without parameters does not
        raise InputError(f"{source} could not be read: {told(error)}") from None
    if not kinds:
        return None
    for name in wanted:
        if wrong := [kind.__name__ for kind in kinds.get(name, ()) if not issubclass(kind, _PLAIN)]:
            raise InputError(
                f"{source}: column {name} has values of type {wrong[0]}; expected text, a number or a time. Map "
                "another column."
            )
    rows = scratch.read().toDF(*names).withColumn(SOURCE, F.lit(source))
    times = [name for name, found in kinds.items() if found and all(issubclass(kind, date) for kind in found)]
    # the client of Spark Connect takes no empty set of columns
    return rows.withColumns({name: instant(name, T.StringType(), "iso") for name in times}) if times else rows


def _as_text(spark: SparkSession, names: list[str], rows: Sequence[Sequence[object]]) -> DataFrame:
    """Everything as text: the types are the business of the parser, and chunks must agree.

    By other names than the query's, since Delta keeps no max(at).
    """
    import pandas as pd

    columns = [pd.Series([_written(row[at]) for row in rows], dtype=object) for at in range(len(names))]
    schema = T.StructType([T.StructField(f"c{at}", T.StringType()) for at in range(len(names))])
    return spark.createDataFrame(pd.concat(columns, axis=1, keys=range(len(names))), schema)


def _written(value: object) -> str | None:
    """A value of a database as a file would have it: whole numbers without a fraction, times in ISO 8601.

    >>> [_written(value) for value in (7.0, Decimal("5.00"), 0.1, True, date(2026, 1, 5), None)]
    ['7', '5', '0.1', 'true', '2026-01-05', None]
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Decimal) and value.is_finite():
        return format(value.to_integral_value() if value == value.to_integral_value() else value, "f")
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    return value.isoformat() if isinstance(value, date | time) else str(value)
