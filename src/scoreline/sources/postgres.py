"""Read a PostgreSQL table, by JDBC in parallel or by one COPY, and of it only what no earlier ingest has seen.

The high-water mark is a transaction number, not a time or an id. A row that becomes visible after a read was written
by a transaction that was still running then, or began later; PostgreSQL says which was the oldest (`pg_snapshot_xmin`),
and each row remembers the transaction that wrote it (`xmin`). So nothing that commits late is lost, however long it
took and whatever its timestamp says; what was committed beside it may be read twice, which a history does not mind.
https://www.postgresql.org/docs/current/functions-info.html#FUNCTIONS-PG-SNAPSHOT
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import sqlalchemy as sa
from pyspark.sql import DataFrame, SparkSession

from scoreline.engine.engine import engine_of
from scoreline.engine.thrown import engine_errors
from scoreline.errors import InputError, told
from scoreline.hashing import fingerprint

DRIVER = "org.postgresql:postgresql:42.7.7"
_PAGES = 1_000  # of 8 KiB: fewer are not worth a connection of their own
# A row keeps the low 32 bits of its transaction; the order of two is known while they are less than 2^31 apart
_WRAPS = 2**31 - 1_000_000


@dataclass(frozen=True)
class Position:
    """A table as it was just before it is read: `mark` is where the next read begins."""

    relation: int
    mark: int
    following: int
    pages: int

    def __str__(self) -> str:
        return f"{self.relation}:{self.mark}"


@dataclass(frozen=True)
class PostgresTable:
    """A table of a PostgreSQL database, by its URL as SQLAlchemy writes it."""

    url: sa.URL
    name: str

    @classmethod
    def at(cls, url: str, name: str) -> "PostgresTable":
        return cls(sa.make_url(url), name)

    @property
    def shown(self) -> str:
        return f"{self.url.set(query={}).render_as_string()} table {self.name}"

    @property
    def key(self) -> str:
        """The property that keeps this table's mark; the password is no part of what it names."""
        place = [self.url.host, self.url.port, self.url.database, self.name]
        return f"scoreline.mark.{fingerprint(place)}"

    @property
    def quoted(self) -> str:
        return ".".join('"' + part.replace('"', '""') + '"' for part in self.name.split("."))

    @property
    def looking(self) -> str:
        """The query for a Position, its columns in the order of the fields."""
        literal = "'" + self.quoted.replace("'", "''") + "'::regclass"
        return (
            f"SELECT {literal}::oid::bigint AS relation, "
            "pg_snapshot_xmin(pg_current_snapshot())::text::bigint AS mark, "
            "pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS following, "
            f"pg_relation_size({literal}) / current_setting('block_size')::bigint AS pages"
        )

    @property
    def _jdbc(self) -> str:
        # without user and password: those go as properties, which Spark does not show
        url = self.url
        address = sa.URL.create("postgresql", host=url.host, port=url.port, database=url.database, query=url.query)
        return f"jdbc:{address.render_as_string(hide_password=False)}"

    @property
    def _properties(self) -> Mapping[str, str]:
        given = {"user": self.url.username, "password": self.url.password}
        return {
            **{key: str(value) for key, value in given.items() if value is not None},
            "driver": "org.postgresql.Driver",
            "fetchsize": "10000",
            "preferTimestampNTZ": "true",
        }

    def look(self, spark: SparkSession) -> Position:
        """Where a read that begins now stands; raises InputError if the table cannot be read."""
        if engine_of(spark).name == "embedded":
            return Position(*_copied().first_row(self, self.looking))
        reader = spark.read.format("jdbc").options(url=self._jdbc, query=self.looking, **self._properties)
        try:
            found: Any = reader.load().first()
        except engine_errors() as error:  # PySpark does not translate what a driver throws
            raise InputError(f"{self.shown} could not be read: {reason(error)}") from None
        return Position(found["relation"], found["mark"], found["following"], found["pages"])

    def read(self, spark: SparkSession, position: Position, *, since: str | None, partitions: int) -> DataFrame:
        """The rows that were written since the mark `since` (None: all), in as many parts as are worth it."""
        if engine_of(spark).name == "embedded":
            copied: DataFrame = _copied().rows(spark, self, _news(position, since))
            return copied
        predicates = conditions(position, since=since, partitions=partitions)
        return spark.read.jdbc(self._jdbc, self.quoted, predicates=predicates, properties=dict(self._properties))


def _copied() -> Any:
    """The reader without JDBC, whose package is not everywhere."""
    try:
        from scoreline.sources import copied_postgres
    except ImportError:
        raise InputError(
            "events.table needs the package psycopg where there is no Spark: pip install 'scoreline[postgres]'."
        ) from None
    return copied_postgres


def conditions(position: Position, *, since: str | None, partitions: int) -> list[str]:
    """A WHERE for each part of a read; together they take every row that is news exactly once."""
    parts, news = _parts(position.pages, partitions), _news(position, since)
    return parts if news is None else [f"{part} AND {news}" for part in parts]


def continues(position: Position, since: str) -> bool:
    """Whether what is new since that mark can be told."""
    relation, _, mark = since.partition(":")
    # another table of this name, or a restored database that counts its transactions anew
    if relation != str(position.relation) or int(mark) > position.following:
        return False
    return position.following - int(mark) <= _WRAPS


def _news(position: Position, since: str | None) -> str | None:
    """The condition for rows that an earlier read may not have seen; None if all have to be read."""
    if since is None or not continues(position, since):
        return None
    mark = since.partition(":")[2]
    # both ages count from the same transaction, so this is `xmin >= mark` in PostgreSQL's circular order
    return f"age(xmin) <= age('{int(mark) % 2**32}'::xid)"


def _parts(pages: int, partitions: int) -> list[str]:
    """Conditions that cut the table by its physical pages: any table has them, evenly, and no key is needed.

    >>> _parts(2_500, 8)
    ["ctid < '(1250,0)'::tid", "ctid >= '(1250,0)'::tid"]
    """
    count = max(1, min(partitions, pages // _PAGES))
    bounds = [pages * number // count for number in range(1, count)]
    if not bounds:
        return ["ctid >= '(0,0)'::tid"]
    first, last = f"ctid < '({bounds[0]},0)'::tid", f"ctid >= '({bounds[-1]},0)'::tid"
    between = [f"ctid >= '({low},0)'::tid AND ctid < '({high},0)'::tid" for low, high in pairwise(bounds)]
    return [first, *between, last]


def reason(error: Exception) -> str:
    """What a server, or a driver, says of an error, in a line."""
    if re.search(r"ClassNotFound\w+: org\.postgresql\.Driver", str(error)):
        return (
            "Spark has no JDBC driver for PostgreSQL here. Add it to the configuration, "
            f"spark: {{spark.jars.packages: '{DRIVER}'}}, or to the command, --packages {DRIVER}."
        )
    # the server's own word; Spark puts the whole query before it
    if server := re.search(r"(?:FATAL|ERROR): [^\n]+", str(error)):
        return server[0].strip()[:300]
    return told(error)[:300]
