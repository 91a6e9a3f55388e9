"""The databases of the protocol's test: each can be opened, read as an application does, and died on.

A process dies by a fuse: the statement that blows it is not sent, nor is any after it, whatever the process tries.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pytest
import sqlalchemy as sa

from scoreline.config.sources import KeyType
from scoreline.export.destinations import Destination
from scoreline.export.destinations.dynamodb import DynamoDestination, open_dynamodb, read_user
from scoreline.export.destinations.postgres import open_postgres
from scoreline.export.destinations.sql import open_sql
from scoreline.tables.schema import Keys

LINES = "SELECT user_id, item_id FROM recommendations ORDER BY user_id, {rank}"


class Killed(BaseException):
    """The process is dead."""


@dataclass
class Fuse:
    """Lets `left` statements through."""

    left: int
    blown: bool = False

    def burn(self, *_: Any) -> None:
        self.blown = self.blown or self.left == 0
        if self.blown:
            raise Killed
        self.left -= 1


class Store(Protocol):
    """A database, empty at first."""

    def open(self, kind: KeyType = "long") -> Destination: ...

    def read(self, users: list[Any]) -> dict[Any, list[Any]]:
        """Lists as the application finds them; no key for a user without."""
        ...

    def fuse(self, left: int) -> Any:
        """For a `with`: gives the Fuse."""
        ...


def by_user(lines: Any) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = {}
    for user, item in lines:
        found.setdefault(user, []).append(item)
    return found


@dataclass
class SqlStore:
    """SQLite or MariaDB."""

    url: str

    def open(self, kind: KeyType = "long") -> Destination:
        return open_sql(self.url, "recommendations", Keys(kind, kind))

    def read(self, users: list[Any]) -> dict[Any, list[Any]]:
        engine = sa.create_engine(self.url)
        with engine.connect() as connection:
            rank = engine.dialect.identifier_preparer.quote("rank")
            there = sa.inspect(connection).has_table("recommendations")
            lines = connection.execute(sa.text(LINES.format(rank=rank))).fetchall() if there else []
        engine.dispose()
        return by_user(lines)

    @contextmanager
    def fuse(self, left: int) -> Iterator[Fuse]:
        fuse = Fuse(left)
        for event in ("before_cursor_execute", "commit"):
            sa.event.listen(sa.Engine, event, fuse.burn)
        try:
            yield fuse
        finally:
            for event in ("before_cursor_execute", "commit"):
                sa.event.remove(sa.Engine, event, fuse.burn)


@dataclass
class PostgresStore:
    url: str

    def open(self, kind: KeyType = "long") -> Destination:
        return open_postgres(self.url, "recommendations", Keys(kind, kind))

    def read(self, users: list[Any]) -> dict[Any, list[Any]]:
        import psycopg

        with psycopg.connect(self.url) as connection:
            if connection.execute("SELECT to_regclass('recommendations')").fetchone() == (None,):
                return {}
            return by_user(connection.execute(LINES.format(rank="rank")).fetchall())

    @contextmanager
    def fuse(self, left: int) -> Iterator[Fuse]:
        import psycopg

        fuse, execute, transaction = Fuse(left), psycopg.Connection.execute, psycopg.Connection.transaction

        def executed(connection: Any, *arguments: Any) -> Any:
            fuse.burn()
            return execute(connection, *arguments)

        @contextmanager
        def committed(connection: Any) -> Iterator[Any]:
            with transaction(connection) as inner:
                yield inner
                fuse.burn()

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(psycopg.Connection, "execute", executed)
            patch.setattr(psycopg.Connection, "transaction", committed)
            yield fuse


@dataclass
class DynamoStore:
    endpoint: str

    def open(self, kind: KeyType = "long") -> DynamoDestination:
        return open_dynamodb(f"dynamodb://eu-central-1?endpoint={self.endpoint}", "recommendations", Keys(kind, kind))

    def read(self, users: list[Any]) -> dict[Any, list[Any]]:
        table = self.open().client()
        found = {user: read_user(table, str(user)) for user in users}
        made = int if all(isinstance(user, int) for user in users) else str
        return {user: [made(item) for item in item["items"]] for user, item in found.items() if item}

    @contextmanager
    def fuse(self, left: int) -> Iterator[Fuse]:
        import botocore.client

        fuse, call, tidy = Fuse(left), botocore.client.BaseClient._make_api_call, DynamoDestination._tidy

        def called(*arguments: Any) -> Any:
            fuse.burn()
            return call(*arguments)

        def tidied(*arguments: Any) -> None:
            fuse.burn()
            tidy(*arguments)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(botocore.client.BaseClient, "_make_api_call", called)
            patch.setattr(DynamoDestination, "_tidy", tidied)
            yield fuse


def sqlite(folder: Path) -> SqlStore:
    sqlite3.connect(folder / "serving.db").close()
    return SqlStore(f"sqlite:///{folder / 'serving.db'}?timeout=0.2")


def emptied_mariadb(url: str) -> SqlStore:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for table in ("recommendations", "scoreline_exports"):
            connection.execute(sa.text(f"DROP TABLE IF EXISTS {table}"))
    engine.dispose()
    return SqlStore(url)


def emptied_postgres(url: str) -> PostgresStore:
    import psycopg

    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE")
        connection.execute("CREATE SCHEMA public")
    return PostgresStore(url)


def emptied_dynamodb(endpoint: str) -> DynamoStore:
    import boto3

    client = boto3.client("dynamodb", region_name="eu-central-1", endpoint_url=endpoint)
    for name in client.list_tables()["TableNames"]:
        client.delete_table(TableName=name)
    client.create_table(
        TableName="recommendations",
        KeySchema=[{"AttributeName": "user_id", "KeyType": "HASH"}, {"AttributeName": "export_id", "KeyType": "RANGE"}],
        AttributeDefinitions=[
            {"AttributeName": "user_id", "AttributeType": "S"},
            {"AttributeName": "export_id", "AttributeType": "N"},
        ],
        BillingMode="PAY_PER_REQUEST",
    )
    return DynamoStore(endpoint)
