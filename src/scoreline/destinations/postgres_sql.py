"""The statements of the PostgreSQL destination. Every identifier is quoted by psycopg; values are parameters."""

from dataclasses import dataclass
from typing import Any

from scoreline.errors import RunFailed
from scoreline.settings import KeyType

TYPES: dict[KeyType, str] = {"long": "bigint", "string": "text"}
_COLUMNS = "user_id, rank, item_id, score, source"

CREATE_STATE = """
CREATE TABLE IF NOT EXISTS scoreline_exports (
    name text PRIMARY KEY,
    version bigint NOT NULL,
    exported_at timestamptz NOT NULL DEFAULT now(),
    content bigint NOT NULL,
    relation text NOT NULL,
    before text,
    before_kind text,
    before_content bigint
)"""


@dataclass(frozen=True)
class Types:
    """The database's types of the ids."""

    user: str
    item: str


@dataclass(frozen=True)
class State:
    """What the view shows: `relation` holds it; `before`, a table or lines to put back, held `before_content`."""

    version: int
    content: int
    relation: str
    before: str
    before_kind: str
    before_content: int | None


def _run(connection: Any, statement: str, names: dict[str, str], values: tuple[Any, ...] = ()) -> Any:
    from psycopg import sql

    identifiers = {key: sql.Identifier(name) for key, name in names.items()}
    return connection.execute(sql.SQL(statement).format(**identifiers), values)


def exists(connection: Any, table: str) -> bool:
    return connection.execute("SELECT to_regclass(quote_ident(%s))", (table,)).fetchone()[0] is not None


def state(connection: Any, table: str) -> State | None:
    columns = "version, content, relation, coalesce(before, ''), coalesce(before_kind, ''), before_content"
    query = f"SELECT {columns} FROM scoreline_exports WHERE name = %s"
    found = connection.execute(query, (table,)).fetchone()
    return State(*found) if found else None


def lock(connection: Any, table: str) -> bool:
    """Take the lock of the exports to this table, for as long as the connection lives; False if another has it."""
    # readers wait behind us while we wait for the view: rather fail
    connection.execute("SET lock_timeout = '60s'")
    query = "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))"
    return bool(connection.execute(query, (f"scoreline/{table}",)).fetchone()[0])


def create_staging(connection: Any, staging: str, types: Types) -> None:
    columns = f"user_id {types.user} NOT NULL, rank integer NOT NULL, item_id {types.item}, score real, source text"
    _run(connection, f"CREATE TABLE {{staging}} ({columns})", {"staging": staging})
    numbers = "number integer PRIMARY KEY, users bigint, lines bigint"
    _run(connection, f"CREATE TABLE {{parts}} ({numbers})", {"parts": f"{staging}_parts"})


def require_lines(connection: Any, staging: str, lines: int) -> None:
    found = _run(connection, "SELECT count(*) FROM {staging}", {"staging": staging}).fetchone()[0]
    if found != lines:
        raise RunFailed(f"The staging table {staging} has {found} lines, and the workers wrote {lines}.")


def tombstones(connection: Any, staging: str) -> int:
    """Users of the staging table that go and do not come back."""
    where = "rank = 0 AND source = ''"
    return int(_run(connection, f"SELECT count(*) FROM {{s}} WHERE {where}", {"s": staging}).fetchone()[0])


def has_key(connection: Any, relation: str) -> bool:
    query = "SELECT EXISTS (SELECT FROM pg_index WHERE indrelid = to_regclass(quote_ident(%s)) AND indisprimary)"
    return bool(connection.execute(query, (relation,)).fetchone()[0])


def add_key(connection: Any, staging: str) -> None:
    _run(connection, "ALTER TABLE {staging} ADD PRIMARY KEY (user_id, rank)", {"staging": staging})
    _run(connection, "ANALYZE {staging}", {"staging": staging})


def users(connection: Any, relation: str) -> int:
    return int(_run(connection, "SELECT count(DISTINCT user_id) FROM {r}", {"r": relation}).fetchone()[0])


def show_table(connection: Any, table: str, relation: str, old: State | None, what: tuple[int, int]) -> None:
    """Turn the view to `relation`; what it showed stays to be flipped back to."""
    if not has_key(connection, relation):
        add_key(connection, relation)
    names = {"view": table, "relation": relation}
    _run(connection, f"CREATE OR REPLACE VIEW {{view}} AS SELECT {_COLUMNS} FROM {{relation}}", names)
    before = (old.relation, "table", old.content) if old else (None, None, None)
    _remember(connection, table, relation, what, before)


def put_in_place(connection: Any, table: str, staging: str, old: State, what: tuple[int, int], types: Types) -> None:
    """Replace the lines of the users in `staging`; the lines that were there become the way back."""
    kept = f"{table}__before_{what[0]}"
    names = {"kept": kept, "live": old.relation, "staging": staging}
    create_kept = "CREATE TABLE {kept} AS SELECT l.* FROM {live} l WHERE EXISTS (SELECT FROM {staging} s "
    create_kept += "WHERE s.user_id = l.user_id)"
    _run(connection, create_kept, names)
    new_users = "SELECT DISTINCT s.user_id, 0, NULL::" + types.item + ", NULL::real, '' FROM {staging} s "
    new_users += "WHERE NOT EXISTS (SELECT FROM {live} l WHERE l.user_id = s.user_id)"
    _run(connection, f"INSERT INTO {{kept}} ({_COLUMNS}) {new_users}", names)
    leaving = "(SELECT DISTINCT user_id FROM {staging})"
    _run(connection, f"DELETE FROM {{live}} l USING {leaving} s WHERE l.user_id = s.user_id", names)
    lines = f"SELECT {_COLUMNS} FROM {{staging}} WHERE rank > 0"
    _run(connection, f"INSERT INTO {{live}} ({_COLUMNS}) {lines}", names)
    _remember(connection, table, old.relation, what, (kept, "lines", old.content))


def _remember(
    connection: Any, table: str, relation: str, what: tuple[int, int], before: tuple[str | None, str | None, int | None]
) -> None:
    columns = ("version", "content", "relation", "before", "before_kind", "before_content")
    updates = ", ".join(f"{column} = excluded.{column}" for column in (*columns, "exported_at"))
    statement = f"INSERT INTO scoreline_exports (name, {', '.join(columns)}) VALUES (%s, %s, %s, %s, %s, %s, %s) "
    connection.execute(f"{statement} ON CONFLICT (name) DO UPDATE SET {updates}", (table, *what, relation, *before))


def drop_forgotten(connection: Any, table: str) -> None:
    """Drop our tables that are neither shown nor the way back: what a killed export left, and what is too old."""
    with connection.transaction():
        now = state(connection, table)
        kept = {now.relation, now.before} if now else set()
        pattern = table.replace("\\", "\\\\").replace("_", "\\_").replace("%", "\\%")
        query = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relname LIKE %s AND relnamespace = "
        query += "current_schema()::regnamespace"
        for (name,) in connection.execute(query, (f"{pattern}\\_\\_%",)).fetchall():
            if name not in kept:
                _run(connection, "DROP TABLE {name}", {"name": name})
