"""Push what was published since the last export to the application's database, in one transaction.

The database has two tables: `<table>` with a row per recommended item (`user_id, rank, item_id, score, source`), and
`scoreline_exports` with the version of `recommendations` that it shows. The next export compares that version with the
newest; a run's id in each row tells what is the same.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from scoreline.context import Context
from scoreline.errors import ConfigurationError, InputError, RunFailed
from scoreline.schema import RECOMMENDATIONS, USER_ID
from scoreline.settings import KeyType
from scoreline.tables import Table

_CHUNK = 5_000


@dataclass(frozen=True)
class ExportReport:
    """What was sent: users whose rows were replaced or removed, and the version now shown."""

    replaced: int
    removed: int
    version: int
    previous: int | None
    target: str


def export(context: Context) -> ExportReport:
    """Bring the database to the newest version of `recommendations`; doing it twice sends nothing the second time."""
    settings = context.settings.export
    if context.settings.input is not None:
        raise ConfigurationError(
            "Only lists of recommendations are exported; this pipeline has an input section and publishes predictions. "
            "Read them from the table."
        )
    if settings is None:
        raise ConfigurationError(
            "The configuration has no export section: give export.url, such as sqlite:///serving.db."
        )
    engine = _engine(settings.url.get_secret_value())
    shown = engine.url.render_as_string(hide_password=True)
    source = context.tables.existing("recommendations", made_by="scoreline run")
    version = source.version()
    metadata = sa.MetaData()
    lists, state = _database_tables(
        metadata, settings.table, context.settings.keys.user_id, context.settings.keys.item_id
    )
    try:
        with engine.begin() as connection:
            metadata.create_all(connection)
            previous = connection.scalar(sa.select(state.c.version).where(state.c.name == settings.table))
            replaced, removed = 0, 0
            if previous != version:
                replaced, removed = _send(connection, lists, source, previous, version)
                connection.execute(sa.delete(state).where(state.c.name == settings.table))
                connection.execute(
                    sa.insert(state).values(name=settings.table, version=version, exported_at=context.now)
                )
    except sa.exc.SQLAlchemyError as error:
        reason = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise RunFailed(f"{shown}: the export failed and was rolled back: {reason}") from None
    finally:
        engine.dispose()
    return ExportReport(replaced, removed, version, previous, shown)


def _engine(given: str) -> sa.Engine:
    """The database of `export.url`; nothing is connected yet. Raises ConfigurationError, without the password."""
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


def _database_tables(metadata: sa.MetaData, name: str, user: KeyType, item: KeyType) -> tuple[sa.Table, sa.Table]:
    kinds: dict[KeyType, Any] = {"long": sa.BigInteger(), "string": sa.String(255)}
    lists = sa.Table(
        name,
        metadata,
        sa.Column("user_id", kinds[user], primary_key=True, autoincrement=False),
        sa.Column("rank", sa.Integer, primary_key=True, autoincrement=False),
        sa.Column("item_id", kinds[item], nullable=False),
        sa.Column("score", sa.Float, nullable=False),
        sa.Column("source", sa.String(16), nullable=False),
    )
    state = sa.Table(
        "scoreline_exports",
        metadata,
        sa.Column("name", sa.String(63), primary_key=True),
        sa.Column("version", sa.BigInteger, nullable=False),
        sa.Column("exported_at", sa.DateTime, nullable=False),
    )
    return lists, state


def _send(
    connection: sa.Connection, lists: sa.Table, source: Table, previous: int | None, version: int
) -> tuple[int, int]:
    new = source.read(version)
    if previous is None or previous > version:
        connection.execute(sa.delete(lists))
        return _insert(connection, lists, new), 0
    old = source.read(previous).select(USER_ID, F.col("run_id").alias("_old_run"))
    changed = new.join(old, on=USER_ID, how="left").where(~F.col("_old_run").eqNullSafe(F.col("run_id")))
    gone = old.join(new.select(USER_ID), on=USER_ID, how="left_anti").select(USER_ID)
    try:
        replaced = _insert(connection, lists, changed, replace=True)
        removed = _delete(connection, lists, (row[0] for row in gone.toLocalIterator()))
    except Exception as error:
        if "DELTA" not in str(error) and "FileNotFound" not in str(error):
            raise
        raise InputError(
            f"Version {previous} of {source.location}, which the database shows, can't be read any more (vacuumed?). "
            "Drop the row of scoreline_exports to export everything anew."
        ) from None
    return replaced, removed


def _insert(connection: sa.Connection, lists: sa.Table, rows: DataFrame, *, replace: bool = False) -> int:
    users = 0
    narrow = rows.select(USER_ID, RECOMMENDATIONS, "source")
    for chunk in _chunks(narrow.toLocalIterator(prefetchPartitions=True)):
        if replace:
            _delete(connection, lists, (row[USER_ID] for row in chunk))
        values = [
            {
                "user_id": row[USER_ID],
                "rank": rank,
                "item_id": item["item_id"],
                "score": item["score"],
                "source": row["source"],
            }
            for row in chunk
            for rank, item in enumerate(row[RECOMMENDATIONS], start=1)
        ]
        if values:
            connection.execute(sa.insert(lists), values)
        users += len(chunk)
    return users


def _delete(connection: sa.Connection, lists: sa.Table, users: Iterator[Any]) -> int:
    removed = 0
    statement = sa.delete(lists).where(lists.c.user_id == sa.bindparam("u"))
    for chunk in _chunks(users):
        connection.execute(statement, [{"u": user} for user in chunk])
        removed += len(chunk)
    return removed


def _chunks(rows: Iterator[Any]) -> Iterator[list[Any]]:
    while chunk := list(islice(rows, _CHUNK)):
        yield chunk
