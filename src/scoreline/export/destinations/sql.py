"""Any database that SQLAlchemy speaks to (SQLite, MySQL, MariaDB, ...), by the driver, in one transaction.

Two tables: `<table>` with a row per recommended item (`user_id, rank, item_id, score, source`), and
`scoreline_exports` with the version that it shows; a transaction begins by changing that row from what the export
builds on to what it is to show, and so is the only one. For millions of users take a destination that loads from the
workers, such as PostgreSQL.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa
from pyspark.sql import DataFrame
from pyspark.sql.pandas.types import to_arrow_schema
from sqlalchemy.dialects import mysql

from scoreline.config.sources import LONGEST_ID, KeyType
from scoreline.errors import ConfigurationError, InputError, RunFailed, told
from scoreline.export.destinations.postgres_copy import lines_of
from scoreline.export.destinations.protocol import Change, Shown, require_unchanged
from scoreline.export.destinations.rows import Limits, Sent, fitted, with_gone
from scoreline.tables.names import RECOMMENDATIONS, USER_ID
from scoreline.tables.schema import Keys

_CHUNK = 5_000
_HELD = re.compile(r"database (table )?is locked|lock wait timeout|deadlock|could not serialize", re.IGNORECASE)


@dataclass(frozen=True)
class SqlDestination:
    """One table of a database, by SQLAlchemy."""

    engine: sa.Engine
    lists: sa.Table
    state: sa.Table

    @property
    def address(self) -> str:
        return self.engine.url.render_as_string(hide_password=True)

    def shown(self) -> Shown | None:
        with self._explained():
            self._prepare()
            with self.engine.begin() as connection:
                return self._shown(connection)

    def apply(self, change: Change) -> Sent:
        with self._explained(), self.engine.begin() as connection:
            self._claim(connection, change)
            if change.everyone:
                connection.execute(sa.delete(self.lists))
            sent = self._put(connection, change)
            change.require_wanted()
            return sent

    def flip_back(self, *, previous: Shown, wanted: Shown) -> int | None:
        return None  # keeps no older rows: they are sent again

    def _shown(self, connection: sa.Connection) -> Shown | None:
        columns = (self.state.c.version, self.state.c.content, self.state.c.origin)
        found = connection.execute(sa.select(*columns).where(self.state.c.name == self.lists.name)).first()
        return Shown(*found) if found else None

    def _claim(self, connection: sa.Connection, change: Change) -> None:
        """Say what will be shown, if what is shown is what the change builds on: comparison and change are one.

        It is the transaction's first statement. A database with transactions lets nobody else change that row before
        ours ends, and compares with what is committed then, at every level of isolation but those that raise instead.
        """
        what = {**asdict(change.wanted), "exported_at": datetime.now(UTC)}
        if (old := change.previous) is None:
            try:
                connection.execute(sa.insert(self.state).values(name=self.lists.name, **what))
            except sa.exc.IntegrityError:
                connection.rollback()
                with self.engine.begin() as another:
                    require_unchanged(self, self.lists.name, self._shown(another), old)
                raise
            return
        mine = (self.state.c.name == self.lists.name) & (self.state.c.version == old.version)
        mine &= (self.state.c.content == old.content) & (self.state.c.origin == old.origin)
        if connection.execute(sa.update(self.state).where(mine).values(what)).rowcount != 1:
            require_unchanged(self, self.lists.name, self._shown(connection), old)
            raise RunFailed(f"{self.address}: the database does not say how many rows a statement has changed.")

    def _put(self, connection: sa.Connection, change: Change) -> Sent:
        sent = Sent()
        leave = sa.delete(self.lists).where(self.lists.c.user_id == sa.bindparam("u"))
        limits = Limits(pads=self.engine.dialect.name in ("mysql", "mariadb"))
        for batch in _batches(change.lists if change.everyone else with_gone(change.lists, change.gone)):
            rows, counted = fitted(batch, limits)
            if not change.everyone and rows.num_rows:
                connection.execute(leave, [{"u": user} for user in rows.column(USER_ID).to_pylist()])
            if lines := lines_of(rows, tombstones=False).to_pylist():
                connection.execute(sa.insert(self.lists), lines)
            sent += replace(counted, lines=len(lines))
        return sent

    def _prepare(self) -> None:
        """Make the two tables, unless they are there; raises InputError for rows that no export has made."""
        with self.engine.begin() as connection:
            _create(connection, self.state)
            found = {column["name"] for column in sa.inspect(connection).get_columns(self.state.name)}
            for column in self.state.columns:
                if column.name not in found:  # an older scoreline made the table
                    add = str(sa.schema.CreateColumn(column).compile(dialect=self.engine.dialect))
                    table = connection.dialect.identifier_preparer.format_table(self.state)
                    connection.execute(sa.text(f"ALTER TABLE {table} ADD {add}"))
            there = sa.inspect(connection).has_table(self.lists.name)
            anything = sa.select(sa.literal(1)).select_from(self.lists).limit(1)
            if there and self._shown(connection) is None and connection.scalar(anything) is not None:
                raise InputError(
                    f"{self.address} has a table {self.lists.name} with rows that no export of scoreline made, and it "
                    "is left alone. Give another name in export.table, or drop the table."
                )
            _create(connection, self.lists)

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            reason = told(error)
            if _HELD.search(reason):
                # no RunInProgress: what an application holds is nobody's run, which would be waited for without an end
                raise RunFailed(
                    f"{self.address}: another export is at work, or somebody holds the table ({reason}). Nothing was "
                    "changed. Try again when it is over."
                ) from None
            raise RunFailed(f"{self.address}: the export failed and was rolled back: {reason}") from None
        finally:
            self.engine.dispose()


def _create(connection: sa.Connection, table: sa.Table) -> None:
    try:
        table.create(connection, checkfirst=True)
    except sa.exc.DBAPIError:
        if not sa.inspect(connection).has_table(table.name):  # else another export has made it in the same moment
            raise


def open_sql(given: str, table: str, keys: Keys) -> SqlDestination:
    """Raises ConfigurationError for a URL without sense or without a driver here, never showing its password."""
    engine = _engine(given)
    metadata = sa.MetaData()
    # MySQL's own comparison takes `a` and `A` for the same id
    exact = mysql.VARCHAR(LONGEST_ID, charset="utf8mb4", collation="utf8mb4_bin")
    kinds: dict[KeyType, Any] = {
        "long": sa.BigInteger(),
        "string": sa.String(LONGEST_ID).with_variant(exact, "mysql", "mariadb"),
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
        sa.Column("content", sa.BigInteger, nullable=False, server_default="0"),
        sa.Column("origin", sa.String(100), nullable=False, server_default=""),
        mysql_engine="InnoDB",
    )
    return SqlDestination(engine, lists, state)


def _engine(given: str) -> sa.Engine:
    try:
        url = sa.make_url(given)
    except sa.exc.ArgumentError:
        raise ConfigurationError(
            "export.url is no database URL: expected dialect://user@host/database, such as postgresql://app@db/app (a "
            "password as ${NAME}, behind a colon after the user) or sqlite:///serving.db."
        ) from None
    file = url.database or ""
    if url.get_backend_name() == "sqlite" and not file.startswith((":", "file:")):
        folder = Path(file).absolute().parent
        if not folder.is_dir():
            raise ConfigurationError(
                f"export.url names the file {file}, and there is no folder {folder}. Correct it, or make the folder."
            )
    try:
        return sa.create_engine(url)
    except (sa.exc.ArgumentError, ImportError) as error:
        raise ConfigurationError(
            f"export.url says {url.drivername}, and there is no driver for it here ({told(error)}). Install "
            "the driver, or correct the URL."
        ) from None


def _batches(rows: DataFrame) -> Iterator[pa.RecordBatch]:
    wanted = rows.select(USER_ID, RECOMMENDATIONS, "source")
    schema = to_arrow_schema(wanted.schema)
    found = wanted.toLocalIterator(prefetchPartitions=True)
    while chunk := list(islice(found, _CHUNK)):
        yield pa.RecordBatch.from_pylist([row.asDict(recursive=True) for row in chunk], schema=schema)
