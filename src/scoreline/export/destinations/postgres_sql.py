"""The statements of the PostgreSQL destination. Every identifier is quoted by psycopg; values are parameters."""

from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from scoreline.config.sources import KeyType
from scoreline.errors import RunFailed
from scoreline.export.destinations.protocol import Shown

if TYPE_CHECKING:
    from psycopg import Connection, Cursor

TYPES: dict[KeyType, str] = {"long": "bigint", "string": "text"}
_COLUMNS = "user_id, rank, item_id, score, source"
_MARK = "{relation}, made by scoreline for the exports to {table}"
_VIEW_MARK = "{table}, shown by the exports of scoreline"

_CREATE_STATE = """
CREATE TABLE IF NOT EXISTS scoreline_exports (
    name text PRIMARY KEY,
    version bigint NOT NULL,
    exported_at timestamptz NOT NULL DEFAULT now(),
    content bigint NOT NULL,
    origin text NOT NULL DEFAULT '',
    relation text NOT NULL,
    before text,
    before_kind text,
    before_content bigint,
    before_origin text
)"""
_ADD_ORIGIN = """
ALTER TABLE scoreline_exports ADD COLUMN IF NOT EXISTS origin text NOT NULL DEFAULT '',
    ADD COLUMN IF NOT EXISTS before_origin text"""
_HAS_ORIGIN = """
SELECT EXISTS (SELECT FROM pg_attribute
    WHERE attrelid = to_regclass('scoreline_exports') AND attname = 'before_origin' AND NOT attisdropped)"""


@dataclass(frozen=True)
class Types:
    """The database's types of the ids."""

    user: str
    item: str


@dataclass(frozen=True)
class State:
    """What the view shows: `relation` holds it; `before`, a table or lines to put back, held `before_content`."""

    shown: Shown
    relation: str
    before: str
    before_kind: str
    before_content: int | None
    before_origin: str


def _run(
    connection: "Connection", statement: str, names: dict[str, str], values: tuple[object, ...] = ()
) -> "Cursor[tuple[Any, ...]]":
    from psycopg import sql

    identifiers = {key: sql.Identifier(name) for key, name in names.items()}
    return connection.execute(sql.SQL(statement).format(**identifiers), values)


def _value(cursor: "Cursor[tuple[Any, ...]]") -> Any:
    """The one value of a query that always gives a row."""
    row = cursor.fetchone()
    assert row is not None
    return row[0]


def exists(connection: "Connection", table: str) -> bool:
    return _value(connection.execute("SELECT to_regclass(quote_ident(%s))", (table,))) is not None


def prepare(connection: "Connection") -> None:
    """The table that says what is shown; one that an older scoreline made gets the columns that it lacks."""
    import psycopg

    if not _value(connection.execute(_HAS_ORIGIN)):
        with suppress(psycopg.errors.UniqueViolation):  # another export makes it in the same moment
            connection.execute(_CREATE_STATE)
        connection.execute(_ADD_ORIGIN)


def is_ours(connection: "Connection", table: str) -> bool:
    """Whether an export has made this view, though the row that says what it shows is gone."""
    query = "SELECT obj_description(to_regclass(quote_ident(%s)), 'pg_class')"
    return bool(_value(connection.execute(query, (table,))) == _VIEW_MARK.format(table=table))


def state(connection: "Connection", table: str, *, hold: bool = False) -> State | None:
    """What is shown; with `hold`, nobody else changes it before the transaction ends."""
    columns = "version, content, origin, relation, coalesce(before, ''), coalesce(before_kind, ''), before_content"
    query = f"SELECT {columns}, coalesce(before_origin, '') FROM scoreline_exports WHERE name = %s"
    found = connection.execute(query + (" FOR UPDATE" if hold else ""), (table,)).fetchone()
    return State(Shown(*found[:3]), *found[3:]) if found else None


def lock(connection: "Connection", table: str) -> bool:
    """Take the lock of the exports to this table, for as long as the connection lives; False if another has it."""
    # readers wait behind us while we wait for the view: rather fail
    connection.execute("SET lock_timeout = '60s'")
    query = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
    return bool(_value(connection.execute(query, (f"scoreline/{table}",))))


def unlock(connection: "Connection") -> None:
    connection.execute("SELECT pg_advisory_unlock_all()")


def _create(connection: "Connection", table: str, relation: str, how: str, names: dict[str, str]) -> None:
    """Make a table and write on it whose it is: one without that word is never dropped."""
    with connection.transaction():
        _run(connection, f"CREATE TABLE {{relation}} {how}", {**names, "relation": relation})
        _mark(connection, "TABLE", relation, _MARK.format(relation=relation, table=table))


def _mark(connection: "Connection", kind: str, relation: str, said: str) -> None:
    from psycopg import sql

    statement = sql.SQL(f"COMMENT ON {kind} {{}} IS {{}}").format(sql.Identifier(relation), sql.Literal(said))
    connection.execute(statement)


def create_staging(connection: "Connection", table: str, staging: str, types: Types) -> None:
    columns = f"user_id {types.user} NOT NULL, rank integer NOT NULL, item_id {types.item}, score real, source text"
    _create(connection, table, staging, f"({columns})", {})
    numbers = "number integer PRIMARY KEY, replaced bigint, removed bigint, lines bigint, left_out text"
    _create(connection, table, f"{staging}_parts", f"({numbers})", {})


def require_lines(connection: "Connection", staging: str, lines: int) -> None:
    found = _value(_run(connection, "SELECT count(*) FROM {staging}", {"staging": staging}))
    if found != lines:
        raise RunFailed(f"The staging table {staging} has {found} lines, and the workers wrote {lines}.")


def has_key(connection: "Connection", relation: str) -> bool:
    query = "SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = to_regclass(quote_ident(%s)) AND indisprimary)"
    return bool(_value(connection.execute(query, (relation,))))


def add_key(connection: "Connection", staging: str) -> None:
    _run(connection, "ALTER TABLE {staging} ADD PRIMARY KEY (user_id, rank)", {"staging": staging})
    _run(connection, "ANALYZE {staging}", {"staging": staging})


def users(connection: "Connection", relation: str) -> int:
    return int(_value(_run(connection, "SELECT count(DISTINCT user_id) FROM {r}", {"r": relation})))


def show_table(connection: "Connection", table: str, relation: str, old: State | None, wanted: Shown) -> None:
    """Turn the view to `relation`; what it showed stays to be flipped back to."""
    if not has_key(connection, relation):
        add_key(connection, relation)
    names = {"view": table, "relation": relation}
    _run(connection, f"CREATE OR REPLACE VIEW {{view}} AS SELECT {_COLUMNS} FROM {{relation}}", names)
    _mark(connection, "VIEW", table, _VIEW_MARK.format(table=table))
    before = (old.relation, "table", old.shown.content, old.shown.origin) if old else (None, None, None, None)
    _remember(connection, table, relation, wanted, before, first=old is None)


def put_in_place(connection: "Connection", table: str, staging: str, old: State, wanted: Shown, types: Types) -> None:
    """Replace the lines of the users in `staging`; the lines that were there become the way back."""
    kept = f"{table}__{wanted.version}_{uuid4().hex[:6]}_before"
    names = {"kept": kept, "live": old.relation, "staging": staging}
    lines_before = "AS SELECT l.* FROM {live} l WHERE EXISTS (SELECT FROM {staging} s WHERE s.user_id = l.user_id)"
    _create(connection, table, kept, lines_before, names)
    new_users = "SELECT DISTINCT s.user_id, 0, NULL::" + types.item + ", NULL::real, '' FROM {staging} s "
    new_users += "WHERE NOT EXISTS (SELECT FROM {live} l WHERE l.user_id = s.user_id)"
    _run(connection, f"INSERT INTO {{kept}} ({_COLUMNS}) {new_users}", names)
    leaving = "(SELECT DISTINCT user_id FROM {staging})"
    _run(connection, f"DELETE FROM {{live}} l USING {leaving} s WHERE l.user_id = s.user_id", names)
    lines = f"SELECT {_COLUMNS} FROM {{staging}} WHERE rank > 0"
    _run(connection, f"INSERT INTO {{live}} ({_COLUMNS}) {lines}", names)
    before = (kept, "lines", old.shown.content, old.shown.origin)
    _remember(connection, table, old.relation, wanted, before, first=False)


def _remember(
    connection: "Connection", table: str, relation: str, wanted: Shown, before: tuple[object, ...], *, first: bool
) -> None:
    columns = "version, content, origin, relation, before, before_kind, before_content, before_origin"
    values = (wanted.version, wanted.content, wanted.origin, relation, *before, table)
    marks = ", ".join(["%s"] * 8)
    if first:  # plainly: of two that are the first at once, one fails
        connection.execute(f"INSERT INTO scoreline_exports ({columns}, name) VALUES ({marks}, %s)", values)
        return
    connection.execute(
        f"UPDATE scoreline_exports SET ({columns}, exported_at) = ({marks}, now()) WHERE name = %s", values
    )


def drop_forgotten(connection: "Connection", table: str) -> None:
    """Drop our tables that are neither shown nor the way back: what a killed export left, and what is too old.

    Ours is what says so with its own name: not what somebody has called alike, and not ours that somebody has renamed.
    One on which somebody has built a view stays.
    """
    import psycopg

    now = state(connection, table)
    kept = {now.relation, now.before} if now else set()
    query = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = current_schema()::regnamespace "
    query += "AND obj_description(oid, 'pg_class') = replace(replace(%s, '{relation}', relname), '{table}', %s)"
    for (name,) in connection.execute(query, (_MARK, table)).fetchall():
        if name not in kept:
            with suppress(psycopg.errors.DependentObjectsStillExist), connection.transaction():
                _run(connection, "DROP TABLE {name}", {"name": name})
