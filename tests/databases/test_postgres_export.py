"""PostgreSQL shows what the table shows, never half of it, and a task that runs twice doubles nothing."""

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

import psycopg
import pyarrow as pa
import pytest
from pyspark.sql import types as T

from builders import NOW, context
from databases.server import postgres
from scoreline.destinations.copying import Load, copy_partition
from scoreline.destinations.postgres import open_postgres
from scoreline.errors import InputError, RunFailed, RunInProgress
from scoreline.export import export
from scoreline.publish import replace_all, replace_some, rollback
from scoreline.schema import Keys, recommendations

ALL = "SELECT user_id, rank, item_id, score, source FROM recommendations ORDER BY 1, 2"
Rows = list[tuple[Any, ...]]


@pytest.fixture(scope="module")
def server() -> Any:
    with postgres() as url:
        yield url


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


class Pipeline:
    """A published table whose runs are written down: `run({user: [items]})`."""

    def __init__(self, spark: Any, root: Path, url: str) -> None:
        self.context = context(spark, root, export={"url": url})
        self.table = self.context.tables.table("recommendations")
        self.table.create(recommendations(Keys("long", "long"), None))
        self.hours = 0

    def rows(self, lists: dict[int, list[int]], run: str) -> Any:
        fields = self.table.read().schema
        known = {"bucket": 0, "source": "model", "model_name": "m", "model_version": "1", "history_hash": 1}
        known |= {"rules_hash": "r", "run_id": run, "scored_at": NOW}
        rows = [
            {**known, "user_id": user, "recommendations": [(item, 1 / (i + 1)) for i, item in enumerate(items)]}
            for user, items in lists.items()
        ]
        values = [tuple(row[field.name] for field in fields) for row in rows]
        return self.context.spark.createDataFrame(values, fields)

    def everyone(self, lists: dict[int, list[int]]) -> None:
        self.hours += 1
        note = {"kind": "publish", "run_id": f"run-{self.hours}"}
        replace_all(self.table, self.rows(lists, f"run-{self.hours}"), sequence=self.hours, note=note)

    def some(self, lists: dict[int, list[int]], left: tuple[int, ...] = ()) -> None:
        from pyspark.sql import functions as F

        self.hours += 1
        run = f"run-{self.hours}"
        rows = self.rows(lists | {user: [0] for user in left}, run).withColumn(
            "_left", F.col("user_id").isin(list(left))
        )
        replace_some(self.table, rows, sequence=self.hours, note={"kind": "publish", "run_id": run})

    def back(self) -> None:
        rollback(self.table, now=NOW + timedelta(hours=self.hours))

    def shown(self) -> Rows:
        rows = self.table.read().collect()
        return sorted(
            (row["user_id"], rank, item["item_id"], item["score"], row["source"])
            for row in rows
            for rank, item in enumerate(row["recommendations"], start=1)
        )


@pytest.fixture
def pipeline(spark: Any, tmp_path: Path, server: str, database: Any) -> Pipeline:
    return Pipeline(spark, tmp_path / "tables", server)


def test_the_database_follows_each_publication(pipeline: Pipeline, database: Any) -> None:
    pipeline.everyone({1: [10, 11], 2: [20], 3: []})
    first = export(pipeline.context)
    assert (first.replaced, first.removed, first.previous) == (3, 0, None)
    assert database() == pipeline.shown() != []
    assert export(pipeline.context).replaced == 0

    pipeline.some({2: [21, 22], 4: [40]}, left=(1,))
    second = export(pipeline.context)
    assert (second.replaced, second.removed) == (2, 1)
    assert database() == pipeline.shown()
    assert database("SELECT DISTINCT user_id FROM recommendations ORDER BY 1") == [(2,), (4,)]


def test_a_rollback_flips_back_without_sending_anything(pipeline: Pipeline, database: Any) -> None:
    pipeline.everyone({1: [10, 11], 2: [20]})
    export(pipeline.context)
    first = database()
    pipeline.some({2: [21], 5: [50]}, left=(1,))
    export(pipeline.context)
    second = database()
    assert first != second
    before = database("SELECT relname FROM pg_class WHERE relname LIKE 'recommendations\\_\\_%' AND relkind = 'r'")
    pipeline.back()
    export(pipeline.context)
    assert database() == pipeline.shown() == first
    loaded = database("SELECT relname FROM pg_class WHERE relname LIKE 'recommendations\\_\\_%' AND relkind = 'r'")
    assert {name for (name,) in loaded} - {name for (name,) in before} == {
        f"recommendations__before_{pipeline.table.version()}"
    }


def test_a_view_flips_back_to_the_table_it_showed(pipeline: Pipeline, database: Any, monkeypatch: Any) -> None:
    pipeline.everyone({1: [10], 2: [20]})
    export(pipeline.context)
    first = database()
    database("UPDATE scoreline_exports SET version = 99999")  # as if the table had been made anew
    pipeline.everyone({1: [11], 2: [21]})
    export(pipeline.context)
    assert database() == pipeline.shown() != first
    pipeline.back()
    monkeypatch.setattr("scoreline.destinations.postgres.copied", None)  # nothing may be sent
    assert export(pipeline.context).replaced == 2
    assert database() == first


def test_a_task_that_runs_twice_at_once_writes_once(server: str, database: Any) -> None:
    destination = open_postgres(server, "recommendations", Keys("long", "long"))
    from scoreline.destinations import postgres_sql

    with psycopg.connect(server, autocommit=True) as connection:
        postgres_sql.create_staging(connection, "stage", destination.types)
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
    attempts = [
        threading.Thread(target=lambda: found.append(copy_partition(load, 3, iter([batch])).to_pylist()))
        for _ in range(4)
    ]
    for attempt in attempts:
        attempt.start()
    for attempt in attempts:
        attempt.join()
    assert found == [[{"users": 3, "lines": 4}]] * 4
    lines = database("SELECT user_id, rank, item_id, score, source FROM stage ORDER BY 1, 2")
    assert lines == [
        (7, 1, 1, 0.5, "model"),
        (7, 2, 2, 0.25, "model"),
        (8, 0, None, None, "model"),
        (9, 0, None, None, ""),
    ]


def test_a_task_that_fails_half_way_leaves_nothing(server: str, database: Any) -> None:
    from scoreline.destinations import postgres_sql

    with psycopg.connect(server, autocommit=True) as connection:
        postgres_sql.create_staging(connection, "stage", postgres_sql.Types("bigint", "bigint"))

    def breaks() -> Any:
        raise OSError("the node is gone")
        yield

    with pytest.raises(OSError, match="the node is gone"):
        copy_partition(Load(server, "stage", tombstones=False), 0, breaks())
    assert database("SELECT number FROM stage_parts") == []


def test_readers_see_the_last_export_when_one_fails(pipeline: Pipeline, database: Any) -> None:
    pipeline.everyone({1: [10], 2: [20]})
    export(pipeline.context)
    first = database()
    live = database("SELECT relation FROM scoreline_exports")[0][0]
    database(f'ALTER TABLE "{live}" ADD CONSTRAINT small CHECK (item_id < 100)')
    pipeline.some({1: [11], 2: [777]})
    with pytest.raises(RunFailed, match=r"readers see what they saw before: new row for relation .* violates check"):
        export(pipeline.context)
    assert database() == first
    database(f'ALTER TABLE "{live}" DROP CONSTRAINT small')
    assert export(pipeline.context).replaced == 2
    assert database() == pipeline.shown()
    left = database("SELECT count(*) FROM pg_class WHERE relname LIKE 'recommendations\\_\\_%' AND relkind = 'r'")
    assert left == [(2,)]  # what is shown, and the way back


def test_one_export_at_a_time(pipeline: Pipeline, server: str) -> None:
    from scoreline.destinations import postgres_sql

    pipeline.everyone({1: [10]})
    with psycopg.connect(server, autocommit=True) as other:
        assert postgres_sql.lock(other, "recommendations")
        with pytest.raises(RunInProgress, match="another export to recommendations is at work"):
            export(pipeline.context)


def test_grants_outlive_an_export(pipeline: Pipeline, database: Any) -> None:
    pipeline.everyone({1: [10]})
    export(pipeline.context)
    database("DROP ROLE IF EXISTS reader")
    database("CREATE ROLE reader")
    database("GRANT SELECT ON recommendations TO reader")
    database("UPDATE scoreline_exports SET version = 99999")
    pipeline.everyone({1: [11]})
    export(pipeline.context)
    assert database("SELECT has_table_privilege('reader', 'recommendations', 'SELECT')") == [(True,)]
    database("DROP OWNED BY reader")
    database("DROP ROLE reader")


def test_a_table_of_somebody_else_is_left_alone(pipeline: Pipeline, database: Any) -> None:
    database("CREATE TABLE recommendations (customer text)")
    pipeline.everyone({1: [10]})
    with pytest.raises(InputError, match="no export of scoreline made"):
        export(pipeline.context)
    assert database("SELECT * FROM recommendations") == []


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda url: url.replace("s3cret-Of-The-Test", "wr0ng"), "password authentication failed"),
        (lambda url: url.rsplit(":", 1)[0] + ":1/postgres", "Connection refused|connection failed"),
        (lambda url: url.replace("/postgres", "/nowhere"), 'database "nowhere" does not exist'),
    ],
)
def test_a_database_that_cannot_be_used_is_one_message(
    spark: Any, tmp_path: Path, server: str, change: Any, said: str
) -> None:
    made = Pipeline(spark, tmp_path / "tables", change(server))
    made.everyone({1: [10]})
    with pytest.raises(RunFailed, match=said) as caught:
        export(made.context)
    assert "s3cret" not in str(caught.value)
    assert "wr0ng" not in str(caught.value)


def test_ids_may_be_text_that_csv_has_to_quote(spark: Any, tmp_path: Path, server: str, database: Any) -> None:
    destination = open_postgres(server, "texts", Keys("string", "string"))
    fields = "user_id string, recommendations array<struct<item_id: string, score: float>>, source string"
    rows = [('0"7,\n', [("ü\\", 0.5), ("", 0.25)], "model"), ("007", [("\\N", 1.0)], "model")]
    lists = spark.createDataFrame(rows, fields)
    from scoreline.destinations import Change

    nobody = spark.createDataFrame([], T.StructType([lists.schema["user_id"]]))
    destination.version()
    destination.apply(Change(lists, nobody, True, None, 1, 1))
    lines = database("SELECT user_id, rank, item_id FROM texts ORDER BY 1, 2")
    assert sorted(lines) == sorted([('0"7,\n', 1, "ü\\"), ('0"7,\n', 2, ""), ("007", 1, "\\N")])
