"""PostgreSQL: loaded by COPY from the workers into a staging table, shown by one transaction.

Readers use the view `<table>`, which has a row per recommended item (`user_id, rank, item_id, score, source`).

- When everyone's rows change, they are loaded into a table of their own, and the view is turned to it.
- When some change, they are loaded into a staging table, where a line of rank 0 is a tombstone: this user's old lines
  go. One transaction puts them in place, and keeps the lines they replace in the same form, so that they can be put
  back the same way.

`scoreline_exports` says what is shown now, and what was before: so a rollback flips back without sending anything.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from scoreline.destinations import postgres_sql as sql
from scoreline.destinations.copying import Load, copied
from scoreline.destinations.seam import Change
from scoreline.errors import ConfigurationError, InputError, RunFailed, RunInProgress, Superseded
from scoreline.schema import RECOMMENDATIONS, Keys

_LONGEST = 40  # a name of PostgreSQL has 63 characters at most, and ours get an ending


@dataclass(frozen=True)
class PostgresDestination:
    """One view of a PostgreSQL database and the tables behind it."""

    url: str
    shown: str
    table: str
    types: sql.Types

    def version(self) -> int | None:
        with self._connected() as connection:
            connection.execute(sql.CREATE_STATE)
            state = sql.state(connection, self.table)
            self._require_ours(connection, state)
            return state.version if state else None

    def apply(self, change: Change) -> tuple[int, int]:
        staging = f"{self.table}__{change.version}_{uuid4().hex[:6]}"
        with self._exclusive() as connection:
            sql.drop_forgotten(connection, self.table)
            sql.create_staging(connection, staging, self.types)
            users, lines = self._load(staging, change)
            sql.require_lines(connection, staging, lines)
            removed = 0 if change.everyone else sql.tombstones(connection, staging)
            with connection.transaction():
                state = sql.state(connection, self.table)
                self._require_unchanged(state, change)
                self._show(connection, staging, state, (change.version, change.content), whole=change.everyone)
            sql.drop_forgotten(connection, self.table)
        return users - removed, removed

    def flip_back(self, *, version: int, content: int) -> int | None:
        with self._exclusive() as connection, connection.transaction():
            state = sql.state(connection, self.table)
            if state is None or state.before_content != content or state.content == content:
                return None
            whole = state.before_kind == "table"
            self._show(connection, state.before, state, (version, content), whole=whole)
            return sql.users(connection, state.before)

    def _show(self, connection: Any, loaded: str, old: sql.State | None, what: tuple[int, int], *, whole: bool) -> None:
        """Show what was loaded; what was shown becomes the way back."""
        if whole or old is None:
            sql.show_table(connection, self.table, loaded, old, what)
        else:
            sql.put_in_place(connection, self.table, loaded, old, what, self.types)

    def _require_unchanged(self, state: sql.State | None, change: Change) -> None:
        found = state.version if state else None
        if found != change.previous:
            raise Superseded(
                f"{self.shown}: another export has brought {self.table} to version {found} in the meantime, and that "
                "is shown. Export again."
            )

    def _load(self, staging: str, change: Change) -> tuple[int, int]:
        """Every list and tombstone into the staging table; returns users and lines."""
        lists = change.lists
        if not change.everyone:
            empty = F.lit(None).cast(lists.schema[RECOMMENDATIONS].dataType)
            gone = change.gone.select("user_id", empty.alias(RECOMMENDATIONS), F.lit("").alias("source"))
            lists = lists.unionByName(gone)
        load = Load(self.url, staging, tombstones=not change.everyone)
        found: Any = _summed(copied(lists, load))
        return int(found["users"] or 0), int(found["lines"] or 0)

    @contextmanager
    def _exclusive(self) -> Iterator[Any]:
        """A connection that holds the lock of this table's exports until it ends, however it ends."""
        with self._connected() as connection:
            if not sql.lock(connection, self.table):
                raise RunInProgress(
                    f"{self.shown}: another export to {self.table} is at work. Try again when it is over."
                )
            yield connection

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        import psycopg

        try:
            with psycopg.connect(self.url, autocommit=True, connect_timeout=15) as connection:
                yield connection
        except psycopg.Error as error:
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise RunFailed(
                f"{self.shown}: the export failed, and readers see what they saw before: {reason}. Check the address, "
                "user and password of export.url, and that the user may create tables."
            ) from None

    def _require_ours(self, connection: Any, state: sql.State | None) -> None:
        if state is None and sql.exists(connection, self.table):
            raise InputError(
                f"{self.shown} has a relation {self.table} that no export of scoreline made, and it is left alone. "
                "Give another name in export.table."
            )


def _summed(parts: DataFrame) -> Any:
    return parts.agg(F.sum("users").alias("users"), F.sum("lines").alias("lines")).first()


def open_postgres(given: str, table: str, keys: Keys) -> PostgresDestination:
    """Raises ConfigurationError for a URL without sense, a name too long, or when psycopg is not installed."""
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise ConfigurationError(
            "export.url is a PostgreSQL database, and its driver is not installed: pip install 'scoreline[postgres]'."
        ) from None
    try:
        url = sa.make_url(given).set(drivername="postgresql")
    except sa.exc.ArgumentError:
        raise ConfigurationError(
            "export.url is no database URL: expected postgresql://user:password@host/database."
        ) from None
    if len(table) > _LONGEST:
        raise ConfigurationError(f"export.table has {len(table)} characters; PostgreSQL leaves room for {_LONGEST}.")
    types = sql.Types(user=sql.TYPES[keys.user], item=sql.TYPES[keys.item])
    return PostgresDestination(url.render_as_string(hide_password=False), url.render_as_string(), table, types)
