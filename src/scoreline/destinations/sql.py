"""Any database that SQLAlchemy speaks to (SQLite, MySQL, MariaDB, ...), by the driver, in one transaction.

Two tables: `<table>` with a row per recommended item (`user_id, rank, item_id, score, source`), and
`scoreline_exports` with the version that it shows. For millions of users take a destination that loads from the
workers, such as PostgreSQL.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pyspark.sql import DataFrame
from sqlalchemy.dialects import mysql

from scoreline.destinations.seam import Change
from scoreline.errors import ConfigurationError, RunFailed
from scoreline.schema import RECOMMENDATIONS, USER_ID, Keys
from scoreline.settings import KeyType

_CHUNK = 5_000


@dataclass(frozen=True)
class SqlDestination:
    """One table of a database, by SQLAlchemy."""

    engine: sa.Engine
    metadata: sa.MetaData
    lists: sa.Table
    state: sa.Table

    @property
    def shown(self) -> str:
        return self.engine.url.render_as_string(hide_password=True)

    def version(self) -> int | None:
        try:
            with self.engine.begin() as connection:
                self.metadata.create_all(connection)
                return self._version(connection)
        except sa.exc.SQLAlchemyError as error:
            raise self._failed(error) from None

    def _version(self, connection: sa.Connection) -> int | None:
        found: int | None = connection.scalar(
            sa.select(self.state.c.version).where(self.state.c.name == self.lists.name)
        )
        return found

    def apply(self, change: Change) -> tuple[int, int]:
        try:
            with self.engine.begin() as connection:
                if change.everyone:
                    connection.execute(sa.delete(self.lists))
                replaced = self._insert(connection, change.lists, replace=not change.everyone)
                removed = 0 if change.everyone else self._delete(connection, _ids(change.gone))
                connection.execute(sa.delete(self.state).where(self.state.c.name == self.lists.name))
                row = {"name": self.lists.name, "version": change.version, "exported_at": datetime.now(UTC)}
                connection.execute(sa.insert(self.state).values(row))
                return replaced, removed
        except sa.exc.SQLAlchemyError as error:
            raise self._failed(error) from None
        finally:
            self.engine.dispose()

    def flip_back(self, *, version: int, content: int) -> int | None:
        return None  # keeps no older rows: they are sent again

    def _failed(self, error: sa.exc.SQLAlchemyError) -> RunFailed:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        return RunFailed(f"{self.shown}: the export failed and was rolled back: {reason}")

    def _insert(self, connection: sa.Connection, rows: DataFrame, *, replace: bool) -> int:
        users = 0
        for chunk in _chunks(rows.select(USER_ID, RECOMMENDATIONS, "source").toLocalIterator(prefetchPartitions=True)):
            if replace:
                self._delete(connection, (row[USER_ID] for row in chunk))
            if values := [line for row in chunk for line in _lines(row)]:
                connection.execute(sa.insert(self.lists), values)
            users += len(chunk)
        return users

    def _delete(self, connection: sa.Connection, users: Iterator[Any]) -> int:
        removed = 0
        statement = sa.delete(self.lists).where(self.lists.c.user_id == sa.bindparam("u"))
        for chunk in _chunks(users):
            connection.execute(statement, [{"u": user} for user in chunk])
            removed += len(chunk)
        return removed


def open_sql(given: str, table: str, keys: Keys) -> SqlDestination:
    """Raises ConfigurationError for a URL without sense or without a driver here, never showing its password."""
    engine = _engine(given)
    metadata = sa.MetaData()
    # MySQL's own comparison takes `a` and `A` for the same id
    exact = mysql.VARCHAR(255, charset="utf8mb4", collation="utf8mb4_bin")
    kinds: dict[KeyType, Any] = {
        "long": sa.BigInteger(),
        "string": sa.String(255).with_variant(exact, "mysql", "mariadb"),
    }
    lists = sa.Table(
        table,
        metadata,
        sa.Column("user_id", kinds[keys.user], primary_key=True, autoincrement=False),
        sa.Column("rank", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("item_id", kinds[keys.item], nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
        mysql_engine="InnoDB",  # the one with transactions
    )
    state = sa.Table(
        "scoreline_exports",
        metadata,
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("exported_at", sa.DateTime, nullable=False),
        mysql_engine="InnoDB",
    )
    return SqlDestination(engine, metadata, lists, state)


def _engine(given: str) -> sa.Engine:
    try:
        url = sa.make_url(given)
    except sa.exc.ArgumentError:
        raise ConfigurationError(
            "export.url is no database URL: expected dialect://user:password@host/database, such as "
            "postgresql://app:${PASSWORD}@db/app or sqlite:///serving.db."
        ) from None
    file = url.database or ""
    if url.get_backend_name() == "sqlite" and not file.startswith((":", "file:")):
        Path(file).expanduser().absolute().parent.mkdir(parents=True, exist_ok=True)
    try:
        return sa.create_engine(url)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise ConfigurationError(
            f"export.url says {url.drivername}, and there is no driver for it here ({error}). Install the driver, or "
            "correct the URL."
        ) from None


def _lines(row: Any) -> Iterator[dict[str, Any]]:
    for rank, item in enumerate(row[RECOMMENDATIONS], start=1):
        yield {
            "user_id": row[USER_ID],
            "rank": rank,
            "item_id": item["item_id"],
            "score": item["score"],
            "source": row["source"],
        }


def _ids(rows: DataFrame) -> Iterator[Any]:
    return (row[0] for row in rows.toLocalIterator())


def _chunks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while chunk := list(islice(rows, _CHUNK)):
        yield chunk
