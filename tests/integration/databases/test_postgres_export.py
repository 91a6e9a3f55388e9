"""PostgreSQL shows what the table shows, never half of it, and a task that runs twice doubles nothing."""

import threading
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from pyspark.sql import types as T

from integration.databases.published import Lists, Pipeline, Rows, expected
from integration.databases.published import change as changed
from integration.databases.published import version as numbered
from scoreline.errors import InputError, RunFailed, RunInProgress, Superseded
from scoreline.export.destinations import Change, Sent, Shown, postgres_sql
from scoreline.export.destinations.postgres import PostgresDestination, open_postgres
from scoreline.export.destinations.postgres_copy import Load, copy_partition
from scoreline.export.export import export
from scoreline.pipeline.fence import rollback
from scoreline.tables.schema import Keys

ALL = "SELECT user_id, rank, item_id, score, source FROM recommendations ORDER BY 1, 2"


@pytest.fixture
def database(server: str) -> Any:
    """SQL on an empty database."""

    def asked(statement: str = ALL, *values: Any) -> Rows:
        with psycopg.connect(server, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []

    asked("DROP SCHEMA public CASCADE")
    asked("CREATE SCHEMA public")
    return asked


@pytest.fixture
def destination(server: str, database: Any) -> PostgresDestination:
    return open_postgres(server, "recommendations", Keys("long", "long"))


@pytest.fixture
def change(spark: Any) -> Any:
    """`change({user: [items]}, gone=[...], previous=..., version=...)`; everyone's rows unless `gone` is given."""

    def made(lists: Lists, *, version: int, previous: int | None = None, gone: list[int] | None = None) -> Change:
        before = None if previous is None else numbered(previous)
        return changed(spark, lists, gone=gone, previous=before, wanted=numbered(version))

    return made


@pytest.fixture
def pipeline(spark: Any, tmp_path: Path, server: str, database: Any) -> Pipeline:
    return Pipeline(spark, tmp_path / "tables", server)


def own_tables(database: Any) -> set[str]:
    found = database(r"SELECT relname FROM pg_class WHERE relname LIKE 'recommendations\_\_%%' AND relkind = 'r'")
    return {name for (name,) in found}


def test_the_database_follows_the_table_and_its_rollback(pipeline: Pipeline, database: Any) -> None:
    pipeline.everyone({1: [10, 11], 2: [20], 3: []})
    first = export(pipeline.context)
    assert (first.replaced, first.removed, first.previous) == (3, 0, None)
    before = database()
    assert before == pipeline.shown() != []
    assert export(pipeline.context).replaced == 0

    pipeline.everyone({2: [21, 22], 3: [], 4: [40]}, kept=(3,))
    second = export(pipeline.context)
    assert (second.replaced, second.removed) == (2, 1)
    assert database() == pipeline.shown() != before

    rollback(pipeline.table)
    export(pipeline.context)
    assert database() == pipeline.shown() == before


def test_some_users_are_replaced_and_some_removed(destination: Any, database: Any, change: Any) -> None:
    assert destination.shown() is None
    assert destination.apply(change({1: [10, 11], 2: [20], 3: [30]}, version=1)) == Sent(3, 0, 4)
    assert database() == expected({1: [10, 11], 2: [20], 3: [30]})
    assert destination.shown() == numbered(1)
    some = change({2: [21, 22], 3: [], 4: [40]}, gone=[1], previous=1, version=2)
    assert destination.apply(some) == Sent(3, 1, 5)
    assert database() == expected({2: [21, 22], 4: [40]})
    assert len(own_tables(database)) == 2  # what is shown, and the way back


def test_going_back_sends_nothing(
    destination: Any, database: Any, change: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination.shown()
    destination.apply(change({1: [10, 11], 2: [20]}, version=1))
    first = database()
    destination.apply(change({2: [21], 5: [50]}, gone=[1], previous=1, version=2))
    second = database()
    monkeypatch.setattr("scoreline.export.destinations.postgres.copied", None)
    assert destination.flip_back(previous=numbered(2), wanted=numbered(3, content=7)) is None
    elsewhere = Shown(3, 1, "another table/1")
    assert destination.flip_back(previous=numbered(2), wanted=elsewhere) is None
    assert database() == second
    assert destination.flip_back(previous=numbered(2), wanted=numbered(3, content=1)) == 3
    assert database() == first
    assert destination.flip_back(previous=numbered(3, content=1), wanted=numbered(4, content=2)) == 3  # and forth
    assert database() == second


def test_going_back_turns_the_view_to_the_table_it_showed(destination: Any, database: Any, change: Any) -> None:
    destination.shown()
    destination.apply(change({1: [10], 2: [20]}, version=1))
    destination.apply(change({1: [11]}, previous=1, version=2))
    assert database() == expected({1: [11]})
    assert destination.flip_back(previous=numbered(2), wanted=numbered(3, content=1)) == 2
    assert database() == expected({1: [10], 2: [20]})
    assert destination.shown() == numbered(3, content=1)


def test_a_task_that_runs_twice_at_once_writes_once(server: str, database: Any) -> None:
    destination = open_postgres(server, "recommendations", Keys("long", "long"))
    with psycopg.connect(server, autocommit=True) as connection:
        postgres_sql.create_staging(connection, "recommendations", "stage", destination.types)
    items = pa.list_(pa.struct([("item_id", pa.int64()), ("score", pa.float32())]))
    batch = pa.RecordBatch.from_arrays(
        [
            pa.array([7, 8, 9]),
            pa.array([[{"item_id": 1, "score": 0.5}, {"item_id": 2, "score": 0.25}], [], None], items),
            pa.array(["model", "model", ""]),
        ],
        names=["user_id", "recommendations", "source"],
    )
    load = Load(server, "stage", tombstones=True)
    found: list[Any] = []
    attempts = [threading.Thread(target=lambda: found.append(copy_partition(load, 3, iter([batch])))) for _ in range(4)]
    for attempt in attempts:
        attempt.start()
    for attempt in attempts:
        attempt.join()
    assert found == [Sent(replaced=2, removed=1, lines=4)] * 4
    lines = database("SELECT user_id, rank, item_id, score, source FROM stage ORDER BY 1, 2")
    assert lines == [
        (7, 1, 1, 0.5, "model"),
        (7, 2, 2, 0.25, "model"),
        (8, 0, None, None, "model"),
        (9, 0, None, None, ""),
    ]


def test_a_task_that_fails_half_way_leaves_nothing(server: str, database: Any) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        postgres_sql.create_staging(connection, "recommendations", "stage", postgres_sql.Types("bigint", "bigint"))

    def breaks() -> Any:
        raise OSError("the node is gone")
        yield

    with pytest.raises(OSError, match="the node is gone"):
        copy_partition(Load(server, "stage", tombstones=False), 0, breaks())
    assert database("SELECT number FROM stage_parts") == []


def test_readers_see_the_last_export_when_one_fails(destination: Any, database: Any, change: Any) -> None:
    destination.shown()
    destination.apply(change({1: [10], 2: [20]}, version=1))
    live = database("SELECT relation FROM scoreline_exports")[0][0]
    database(f'ALTER TABLE "{live}" ADD CONSTRAINT small CHECK (item_id < 100)')
    bad = change({1: [11], 2: [777]}, gone=[], previous=1, version=2)
    with pytest.raises(RunFailed, match=r"readers see what they saw before: new row for relation .* violates check"):
        destination.apply(bad)
    assert database() == expected({1: [10], 2: [20]})
    database(f'ALTER TABLE "{live}" DROP CONSTRAINT small')
    assert destination.apply(bad) == Sent(2, 0, 2)
    assert database() == expected({1: [11], 2: [777]})
    assert len(own_tables(database)) == 2


def test_an_export_that_lost_a_race_changes_nothing(destination: Any, database: Any, change: Any) -> None:
    destination.shown()
    destination.apply(change({1: [10]}, version=1))
    with pytest.raises(Superseded, match="brought recommendations to version 1 in the meantime"):
        destination.apply(change({1: [9]}, previous=None, version=1))
    assert database() == expected({1: [10]})


def test_one_export_at_a_time(destination: Any, change: Any, server: str) -> None:
    with psycopg.connect(server, autocommit=True) as other:
        assert postgres_sql.lock(other, "recommendations")
        with pytest.raises(RunInProgress, match="another export to recommendations is at work"):
            destination.apply(change({1: [10]}, version=1))
        postgres_sql.unlock(other)


def test_the_lock_is_given_back_while_the_connection_still_stands(
    destination: Any, database: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server notices late that a connection has ended, and the next export would find the lock taken."""
    ended, held = psycopg.Connection.close, []

    def looked(connection: Any) -> None:
        monkeypatch.undo()  # those who look have connections, too
        held.append(database("SELECT objid FROM pg_locks WHERE locktype = 'advisory'"))
        ended(connection)

    with destination._exclusive():
        assert len(database("SELECT objid FROM pg_locks WHERE locktype = 'advisory'")) == 1
        monkeypatch.setattr(psycopg.Connection, "close", looked)
    assert held == [[]]


def test_grants_outlive_an_export(destination: Any, database: Any, change: Any) -> None:
    destination.shown()
    destination.apply(change({1: [10]}, version=1))
    database("CREATE ROLE reader")
    database("GRANT SELECT ON recommendations TO reader")
    destination.apply(change({1: [11]}, previous=1, version=2))
    assert database("SELECT has_table_privilege('reader', 'recommendations', 'SELECT')") == [(True,)]
    database("DROP OWNED BY reader")
    database("DROP ROLE reader")


def test_a_table_of_somebody_else_is_left_alone(destination: Any, database: Any) -> None:
    database("CREATE TABLE recommendations (customer text)")
    with pytest.raises(InputError, match="no export of scoreline made"):
        destination.shown()
    assert database("SELECT * FROM recommendations") == []


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda url: url.replace("s3cret-Of-The-Test", "wr0ng"), "password authentication failed"),
        (lambda url: url.rsplit(":", 1)[0] + ":1/postgres", "Connection refused|connection failed"),
        (lambda url: url.replace("/postgres", "/nowhere"), 'database "nowhere" does not exist'),
    ],
)
def test_a_database_that_cannot_be_used_is_one_message(server: str, spoil: Any, said: str) -> None:
    with pytest.raises(RunFailed, match=said) as caught:
        open_postgres(spoil(server), "recommendations", Keys("long", "long")).shown()
    assert "s3cret" not in str(caught.value)
    assert "wr0ng" not in str(caught.value)


def test_ids_may_be_text_that_csv_has_to_quote(spark: Any, server: str, database: Any) -> None:
    destination = open_postgres(server, "texts", Keys("string", "string"))
    fields = "user_id string, recommendations array<struct<item_id: string, score: float>>, source string"
    rows = [('0"7,\n', [("ü\\", 0.5), ("", 0.25)], "model"), ("007", [("\\N", 1.0)], "model")]
    lists = spark.createDataFrame(rows, fields).coalesce(1)
    nobody = spark.createDataFrame([], T.StructType([lists.schema["user_id"]]))
    destination.shown()
    destination.apply(Change(lists, nobody, True, None, numbered(1)))
    lines = database("SELECT user_id, rank, item_id FROM texts ORDER BY 1, 2")
    assert sorted(lines) == sorted([('0"7,\n', 1, "ü\\"), ('0"7,\n', 2, ""), ("007", 1, "\\N")])


def test_tables_of_others_are_never_dropped(pipeline: Pipeline, database: Any) -> None:
    """Neither those that are called like ours, nor ours that somebody has kept or built a view on."""
    database("CREATE TABLE recommendations__archive AS SELECT 1 AS precious")
    pipeline.everyone({1: [10], 2: [20]})
    export(pipeline.context)
    (ours,) = own_tables(database) - {"recommendations__archive"}
    database(f'CREATE VIEW report AS SELECT count(*) AS lines FROM "{ours}"')
    for run in (11, 12):  # whole tables, so that the first falls out of use
        database("UPDATE scoreline_exports SET origin = ''")
        pipeline.everyone({1: [run], 2: [20]})
        export(pipeline.context)
        if run == 11:
            (kept,) = database("SELECT relation FROM scoreline_exports")[0]
            database(f'ALTER TABLE "{kept}" RENAME TO recommendations__kept')
            database("UPDATE scoreline_exports SET relation = 'recommendations__kept'")
    pipeline.everyone({1: [13], 2: [20]}, kept=(2,))
    export(pipeline.context)
    assert database() == pipeline.shown()
    assert database("SELECT lines FROM report") == [(2,)]
    assert {"recommendations__archive", "recommendations__kept", ours} <= own_tables(database)
    assert len(own_tables(database)) == 5  # those, what is shown, and the way back


@pytest.mark.parametrize(
    "remedy", ["UPDATE scoreline_exports SET origin = ''", "DELETE FROM scoreline_exports"], ids=["origin", "row"]
)
def test_everything_can_be_asked_for_again(pipeline: Pipeline, database: Any, remedy: str) -> None:
    pipeline.everyone({1: [10], 2: [20]})
    export(pipeline.context)
    live = database("SELECT relation FROM scoreline_exports")[0][0]
    database(f'DELETE FROM "{live}" WHERE user_id = 1')  # somebody's accident
    assert export(pipeline.context).replaced == 0
    database(remedy)
    report = export(pipeline.context)
    assert (report.replaced, report.everyone is not None) == (2, True)
    assert database() == pipeline.shown()
    assert export(pipeline.context).replaced == 0


def test_a_database_of_an_older_scoreline_is_sent_everything(pipeline: Pipeline, database: Any) -> None:
    pipeline.everyone({1: [10], 2: [20]})
    export(pipeline.context)
    database("ALTER TABLE scoreline_exports DROP COLUMN origin, DROP COLUMN before_origin")
    report = export(pipeline.context)
    assert (report.replaced, report.everyone) == (2, "what the database showed is not from this table as it is now")
    assert database() == pipeline.shown()
    assert export(pipeline.context).replaced == 0
