"""PostgreSQL: loaded by COPY from the workers into a staging table, shown by one transaction.

Readers use the view `<table>`, which has a row per recommended item (`user_id, rank, item_id, score, source`).

- When everyone's rows change, they are loaded into a table of their own, and the view is turned to it.
- When some change, they are loaded into a staging table, where a line of rank 0 is a tombstone: this user's old lines
  go. One transaction puts them in place, and keeps the lines they replace in the same form, so that they can be put
  back the same way.

`scoreline_exports` says what is shown now, and what was before: so a rollback flips back without sending anything.
An export holds an advisory lock, and holds its row there while it shows what it has loaded: should the lock be lost (a
pool of connections between us and the server), the row still says whether what is shown is what the export builds on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import uuid4

import sqlalchemy as sa

from scoreline.engine.frames import collected
from scoreline.errors import ConfigurationError, InputError, RunFailed, RunInProgress, told
from scoreline.export.destinations import postgres_sql as sql
from scoreline.export.destinations.postgres_copy import Load, copied
from scoreline.export.destinations.protocol import Change, Shown, require_unchanged
from scoreline.export.destinations.rows import Sent, summed, with_gone
from scoreline.tables.schema import Keys

if TYPE_CHECKING:
    from psycopg import Connection

_LONGEST = 40  # a name of PostgreSQL has 63 characters at most, and ours get an ending


@dataclass(frozen=True)
class PostgresDestination:
    """One view of a PostgreSQL database and the tables behind it."""

    url: str = field(repr=False)
    address: str
    table: str
    types: sql.Types

    def shown(self) -> Shown | None:
        with self._connected() as connection:
            sql.prepare(connection)
            state = sql.state(connection, self.table)
            self._require_ours(connection, state)
            return state.shown if state else None

    def apply(self, change: Change) -> Sent:
        staging = f"{self.table}__{change.wanted.version}_{uuid4().hex[:6]}"
        with self._exclusive() as connection:
            self._require_unchanged(sql.state(connection, self.table), change)  # before the work, and again at its end
            sql.drop_forgotten(connection, self.table)
            sql.create_staging(connection, self.table, staging, self.types)
            sent = self._load(staging, change)
            sql.require_lines(connection, staging, sent.lines)
            with connection.transaction():
                state = sql.state(connection, self.table, hold=True)
                self._require_unchanged(state, change)
                self._show(connection, staging, state, change.wanted, whole=change.everyone)
                change.require_wanted()
            sql.drop_forgotten(connection, self.table)
        return sent

    def flip_back(self, *, previous: Shown, wanted: Shown) -> int | None:
        with self._exclusive() as connection, connection.transaction():
            state = sql.state(connection, self.table, hold=True)
            if state is None or state.shown != previous or state.shown.content == wanted.content:
                return None
            if (state.before_content, state.before_origin) != (wanted.content, wanted.origin):
                return None
            self._show(connection, state.before, state, wanted, whole=state.before_kind == "table")
            return sql.users(connection, state.before)

    def _show(
        self, connection: "Connection", loaded: str, old: sql.State | None, wanted: Shown, *, whole: bool
    ) -> None:
        """Show what was loaded; what was shown becomes the way back."""
        if whole or old is None:
            sql.show_table(connection, self.table, loaded, old, wanted)
        else:
            sql.put_in_place(connection, self.table, loaded, old, wanted, self.types)

    def _require_unchanged(self, state: sql.State | None, change: Change) -> None:
        require_unchanged(self, self.table, state.shown if state else None, change.previous)

    def _load(self, staging: str, change: Change) -> Sent:
        """Every list and tombstone into the staging table."""
        lists = change.lists if change.everyone else with_gone(change.lists, change.gone)
        return summed(collected(copied(lists, Load(self.url, staging, tombstones=not change.everyone))))

    @contextmanager
    def _exclusive(self) -> Iterator["Connection"]:
        """A connection that holds the lock of this table's exports until it ends, however it ends."""
        with self._connected() as connection:
            if not sql.lock(connection, self.table):
                raise RunInProgress(
                    f"{self.address}: another export to {self.table} is at work. Try again when it is over."
                )
            yield connection
            sql.unlock(connection)  # else it is held until the server has noticed that we are gone

    @contextmanager
    def _connected(self) -> Iterator["Connection"]:
        import psycopg

        try:
            with psycopg.connect(self.url, autocommit=True, connect_timeout=15) as connection:
                yield connection
        except psycopg.Error as error:
            raise RunFailed(
                f"{self.address}: the export failed, and readers see what they saw before: {told(error)}. Check the "
                "address, user and password of export.url, and that the user may create tables."
            ) from None

    def _require_ours(self, connection: "Connection", state: sql.State | None) -> None:
        if state is None and sql.exists(connection, self.table) and not sql.is_ours(connection, self.table):
            raise InputError(
                f"{self.address} has a relation {self.table} that no export of scoreline made, and it is left alone. "
                "Give another name in export.table."
            )


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
            "export.url is no database URL: expected postgresql://user@host/database, a password as ${NAME}."
        ) from None
    if len(table) > _LONGEST:
        raise ConfigurationError(f"export.table has {len(table)} characters; PostgreSQL leaves room for {_LONGEST}.")
    types = sql.Types(user=sql.TYPES[keys.user], item=sql.TYPES[keys.item])
    return PostgresDestination(url.render_as_string(hide_password=False), url.render_as_string(), table, types)
