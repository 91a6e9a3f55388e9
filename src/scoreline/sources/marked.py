"""The new rows of a database's table by a column that is higher in later rows: any database that SQLAlchemy speaks to.

A number or a time is no proof, as PostgreSQL's transactions are (`postgres`): one that began earlier and commits later
makes rows visible below the highest value read. So each reading begins by the overlap below it; what is read twice
changes nothing. A row without a value cannot be told new, and is read each time.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from hashlib import blake2b
from typing import Any

import sqlalchemy as sa

from scoreline.config.sources import MarkSettings
from scoreline.errors import InputError, told
from scoreline.hashing import fingerprint
from scoreline.redaction import without_credentials

_NUMBER = 1000
_TIME = timedelta(minutes=10)


@dataclass(frozen=True)
class Marked:
    """What is to be read, None for nothing. `mark`: from where the next reading goes on; `remarks`: for people."""

    mark: str | None
    query: sa.Executable | None = None
    remarks: tuple[str, ...] = ()


def mark_key(url: str, table: str, column: str) -> str:
    """The property that keeps a table's mark; user and password are no part of what it names."""
    at = sa.make_url(url)
    return f"scoreline.mark.{fingerprint([at.host, at.port, at.database, table, column])}"


def rows_digest(rows: Iterable[Sequence[object]]) -> int:
    """A number by which a set of rows is known, in whatever order; those of parts add up.

    >>> rows_digest([(1, "a"), (2, None)]) == rows_digest([(2, None)]) + rows_digest([(1, "a")])
    True
    """
    return sum(int.from_bytes(blake2b(repr(tuple(row)).encode(), digest_size=16).digest()) for row in rows)


def marked(url: str, name: str, settings: MarkSettings, columns: Sequence[str], *, since: str | None) -> Marked:
    """Look at a table, by one short query, and say how its new rows are read.

    `columns`: what is wanted of it besides the mark's; `since`: the mark of the reading before. Raises InputError for a
    database that cannot be read, and a column that is missing or by whose type no row is later than another.
    """
    place = f"{without_credentials(url)} table {name}"
    try:
        engine = sa.create_engine(url)
        try:
            with engine.connect() as connection:
                table = _table(connection, place, name)
                column = _column(table, place, settings.column)
                highest, without = _looked_at(connection, table, column)
        finally:
            engine.dispose()
    except (sa.exc.SQLAlchemyError, ImportError) as error:
        raise InputError(f"{place} could not be read: {told(error)}") from None
    if highest is None and not without:
        return Marked(None)
    low, remarks = None, []
    if without:
        remarks.append(
            f"{without:,} rows have no {settings.column}, by which new ones are told: they are read each time"
        )
    if highest is not None:
        _require_order(highest, place, settings)
        low, again = _begin(highest, since, settings)
        remarks += [f"all of it was read: {again}"] if again else []
    wanted: list[sa.ColumnClause[Any]] = [sa.column(one) for one in dict.fromkeys([*columns, settings.column])]
    query: Any = sa.select(*wanted).select_from(table)
    if low is not None:
        query = query.where(sa.or_(column >= low, column.is_(None)) if without else column >= low)
    return Marked(None if highest is None else str(highest), query, tuple(remarks))


def _table(connection: sa.Connection, place: str, name: str) -> sa.Table:
    schema, _, own = name.rpartition(".")
    try:
        return sa.Table(own, sa.MetaData(), schema=schema or None, autoload_with=connection, resolve_fks=False)
    except sa.exc.NoSuchTableError:
        there = sorted(sa.inspect(connection).get_table_names(schema or None))[:8]
        hint = f" There are: {', '.join(there)}." if there else ""
        raise InputError(f"{place}: there is no such table.{hint}") from None


def _column(table: sa.Table, place: str, name: str) -> sa.ColumnElement[Any]:
    """The column; of a number without its type, as drivers give and take numbers as they are."""
    if name not in table.c:
        raise InputError(f"{place}: expected column {name} (events.mark), found {', '.join(table.c.keys())}.")
    found = table.c[name]
    if isinstance(found.type, sa.DateTime | sa.Date):
        return found
    if isinstance(found.type, sa.Integer | sa.Numeric | sa.Float):
        return sa.column(name)
    raise InputError(
        f"{place}: column {name} (events.mark) is {found.type}; expected a number or a time, higher in later rows."
    )


def _looked_at(connection: sa.Connection, table: sa.Table, column: sa.ColumnElement[Any]) -> tuple[Any, int]:
    """The highest value, None if there is none; and how many rows have none."""
    highest = connection.execute(sa.select(sa.func.max(column)).select_from(table)).scalar()
    if not table.c[str(column.key)].nullable:
        return highest, 0
    missing = sa.select(sa.func.count()).select_from(table).where(column.is_(None))
    return highest, int(connection.execute(missing).scalar() or 0)


def _require_order(highest: Any, place: str, settings: MarkSettings) -> None:
    """Raise InputError for what the overlap does not fit; SQLite lets a column hold anything."""
    is_number = isinstance(highest, int | float | Decimal) and math.isfinite(highest)
    if not is_number and not isinstance(highest, date):
        raise InputError(
            f"{place}: the highest {settings.column} (events.mark) is no number and no time, but "
            f"{type(highest).__name__} {str(highest)[:40]!r}. Name another column, or mend the rows."
        )
    if not isinstance(settings.overlap, (int if is_number else timedelta) | None):
        expected = "a whole number, such as 1000" if is_number else "a duration, such as 10m"
        raise InputError(
            f"{place}: column {settings.column} is {type(highest).__name__}: events.mark.overlap has to be {expected}."
        )


def _begin(highest: Any, since: str | None, settings: MarkSettings) -> tuple[Any, str | None]:
    """Where reading begins, None for the beginning; and why it does, if some of it was read before."""
    if since is None:
        return None, None
    try:
        before = _parsed(since, highest)
        is_ahead = before > highest
    except (ValueError, TypeError, ArithmeticError):
        return None, f"its {settings.column} is of another type than before"
    if is_ahead:
        return None, f"its highest {settings.column} is {highest}, below {before} of the last time: it was made anew"
    return _below(before, settings.overlap), None


def _parsed(text: str, like: Any) -> Any:
    """A mark as it was kept, as a value of the type that the column has now; ValueError if it is none."""
    if isinstance(like, date):
        return type(like).fromisoformat(text)
    number = Decimal(text)
    return math.floor(number) if isinstance(like, int) else type(like)(number)


def _below(value: Any, overlap: int | timedelta | None) -> Any:
    """
    >>> _below(date(2026, 3, 2), timedelta(hours=36)), _below(1500, None)
    (datetime.date(2026, 2, 28), 500)
    """
    if not isinstance(value, date):
        return value - (_NUMBER if overlap is None else overlap)
    longest: Any = _TIME if overlap is None else overlap
    return value - longest if isinstance(value, datetime) else (datetime.combine(value, time()) - longest).date()
