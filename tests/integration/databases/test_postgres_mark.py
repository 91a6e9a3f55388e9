"""The high-water mark against a real server: what commits late is read, and nothing else is read again."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from integration.databases.server import postgres
from scoreline.sources.postgres import Position, PostgresTable, conditions

INSERT = 'INSERT INTO "Film ratings" VALUES (%s, %s)'


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgres() as url:
        yield url


class Reader:
    """What an ingest asks for, by psycopg: no Spark."""

    def __init__(self, url: str) -> None:
        self.table = PostgresTable.at(url, "public.Film ratings")
        self.run = psycopg.connect(url, autocommit=True).execute
        self.mark: str | None = None

    def news(self, partitions: int = 4) -> list[tuple[Any, ...]]:
        """The rows that are new since the last call, sorted."""
        position = Position(*self.run(self.table.looking).fetchone() or ())
        wheres = conditions(position, since=self.mark, partitions=partitions)
        select = f'SELECT "user", item FROM {self.table.quoted} WHERE '
        self.mark = str(position)
        return sorted(row for where in wheres for row in self.run(select + where).fetchall())


@pytest.fixture
def reader(server: str) -> Reader:
    made = Reader(server)
    made.run('DROP TABLE IF EXISTS "Film ratings"')
    made.run('CREATE TABLE "Film ratings" ("user" bigint, item bigint, note text)')
    return made


def test_a_row_that_commits_late_is_read_then(reader: Reader, server: str) -> None:
    reader.run(INSERT, (1, 10))
    with psycopg.connect(server) as slow:
        slow.execute(INSERT, (1, 11))
        reader.run(INSERT, (2, 20))  # a later transaction that commits earlier
        assert reader.news() == [(1, 10), (2, 20)]
        slow.commit()
    reader.run(INSERT, (3, 30))
    assert reader.news() == [(1, 11), (2, 20), (3, 30)]
    assert reader.news() == []


def test_a_transaction_with_many_parts_is_read_whole(reader: Reader, server: str) -> None:
    with psycopg.connect(server) as big:
        for item in range(300):
            big.execute("SAVEPOINT part")
            big.execute(INSERT, (4, item))
            big.execute("RELEASE part")
        assert reader.news() == []
        big.commit()
    assert len(reader.news()) == 300
    assert reader.news() == []


def test_a_row_that_is_changed_is_read_again_and_vacuum_is_no_change(reader: Reader) -> None:
    reader.run(INSERT, (1, 10))
    reader.news()
    reader.run('UPDATE "Film ratings" SET item = 99')
    assert reader.news() == [(1, 99)]
    reader.run('VACUUM FREEZE "Film ratings"')
    assert reader.news() == []


def test_a_table_made_anew_is_read_from_its_beginning(reader: Reader) -> None:
    reader.run(INSERT, (1, 10))
    reader.news()
    reader.run('ALTER TABLE "Film ratings" RENAME TO old')
    reader.run('CREATE TABLE "Film ratings" (LIKE old)')
    reader.run('INSERT INTO "Film ratings" SELECT * FROM old')
    reader.run("DROP TABLE old")
    reader.mark = (reader.mark or "").split(":")[0] + ":999999999"  # and of another server
    assert reader.news() == [(1, 10)]


def test_parts_take_each_row_once_by_ranges_of_pages(reader: Reader) -> None:
    rows = "SELECT n, n, repeat('x', 500) FROM generate_series(1, 40000) n"
    reader.run(f'INSERT INTO "Film ratings" {rows}')
    found = reader.news(partitions=8)
    assert (len(found), len(set(found))) == (40_000, 40_000)
    position = Position(*reader.run(reader.table.looking).fetchone() or ())
    first = conditions(position, since=None, partitions=2)[0]
    [plan, *_] = reader.run(f"EXPLAIN SELECT * FROM {reader.table.quoted} WHERE {first}").fetchall()
    assert "Tid Range Scan" in plan[0]
