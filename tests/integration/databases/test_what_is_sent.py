"""An export sends what the table says now, whatever the database showed and whatever happens meanwhile."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from integration.databases.published import Lists, Pipeline, asked
from scoreline.errors import InputError
from scoreline.export.destinations.sql import SqlDestination
from scoreline.export.export import export
from scoreline.pipeline.fence import rollback
from scoreline.tables.schema import Keys

ALL = "SELECT user_id, rank, item_id, score, source FROM recommendations ORDER BY 1, 2"
ANOTHER = "what the database showed is not from this table as it is now"


@pytest.fixture
def database(tmp_path: Path) -> Any:
    return lambda statement=ALL: asked(tmp_path / "serving.db", statement)


@pytest.fixture
def pipeline(spark: SparkSession, tmp_path: Path) -> Any:
    """`pipeline("name")`: tables in a folder of that name, with one database for all."""

    def made(name: str, keys: Keys = Keys("long", "long")) -> Pipeline:  # noqa: B008
        return Pipeline(spark, tmp_path / name, f"sqlite:///{tmp_path / 'serving.db'}", keys)

    return made


@pytest.mark.parametrize("when", ["meanwhile", "at the last moment"])
def test_a_rollback_during_an_export_is_what_the_database_ends_with(
    pipeline: Any, database: Any, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    made = pipeline("tables")
    made.everyone({1: [10], 2: [20]})
    export(made.context)
    good = database()
    made.everyone({1: [666], 2: [667]})
    real, rolled = SqlDestination.apply, []

    def interrupted(self: SqlDestination, change: Any) -> Any:
        """The export of the bad run, beside which somebody rolls back."""
        if rolled:
            return real(self, change)
        if when == "meanwhile":
            rolled.append(rollback(made.table))
            return real(self, change)
        sent = real(self, change)
        rolled.append(rollback(made.table))
        return sent

    monkeypatch.setattr(SqlDestination, "apply", interrupted)
    report = export(made.context)
    assert database() == made.shown() == good
    assert report.version == made.table.version()


def test_rows_of_another_table_are_replaced_though_the_version_is_the_same(pipeline: Any, database: Any) -> None:
    one, other = pipeline("one"), pipeline("other")
    one.everyone({1: [10], 2: [20]})
    export(one.context)
    other.everyone({2: [21], 3: [31]})
    report = export(other.context)
    assert (report.previous, report.version, report.replaced, report.everyone) == (1, 1, 2, ANOTHER)
    assert database() == other.shown()
    assert str(report).endswith(
        f"2 users replaced, 0 removed; it shows version 1\n  everyone's lists were sent: {ANOTHER}"
    )
    assert export(other.context).everyone is None


def test_a_copy_that_went_its_own_way_is_another_table(pipeline: Any, database: Any, tmp_path: Path) -> None:
    """As after a table was put back from a backup: the same id, and other rows at the same versions."""
    original = pipeline("original")
    original.everyone({1: [10], 2: [20]})
    shutil.copytree(tmp_path / "original", tmp_path / "copy")
    copy = pipeline("copy")
    original.everyone({1: [11], 2: [20]}, kept=(2,))
    export(original.context)
    copy.runs = 1
    copy.everyone({1: [10], 2: [22]}, kept=(1,))
    copy.everyone({1: [10], 2: [22], 3: [30]}, kept=(1, 2))
    assert export(copy.context).everyone == ANOTHER
    assert database() == copy.shown()


def test_what_a_stranger_does_to_the_rows_is_sent_too(pipeline: Any, database: Any) -> None:
    made = pipeline("tables")
    made.everyone({1: [10], 2: [20], 3: [30]})
    export(made.context)
    made.everyone({1: [11], 2: [21], 3: [30]}, kept=(3,))
    export(made.context)
    rollback(made.table)
    spark = made.context.spark
    spark.sql(f"UPDATE {made.table.identifier} SET source = 'hand' WHERE user_id = 3")
    made.table.delete("user_id = 2")
    report = export(made.context)
    assert (report.replaced, report.removed, report.everyone) == (2, 1, None)
    assert database() == made.shown() == [(1, 1, 10, 1.0, "model"), (3, 1, 30, 1.0, "hand")]


def test_where_the_old_version_cannot_be_read_everything_is_sent(pipeline: Any, database: Any, tmp_path: Path) -> None:
    made = pipeline("tables")
    made.everyone({1: [10], 2: [20]})
    export(made.context)
    old = set((tmp_path / "tables" / "recommendations").glob("*.parquet"))
    made.everyone({1: [11], 2: [20]}, kept=(2,))
    for file in old:  # as VACUUM would
        file.unlink()
    report = export(made.context)
    assert (report.replaced, report.everyone) == (2, "version 1, which the database showed, can't be read any more")
    assert database() == made.shown()


def test_everything_can_be_asked_for_again(pipeline: Any, database: Any) -> None:
    made = pipeline("tables")
    made.everyone({1: [10], 2: [20]})
    export(made.context)
    database("DELETE FROM recommendations WHERE user_id = 1")  # somebody's accident
    assert export(made.context).replaced == 0
    database("UPDATE scoreline_exports SET origin = ''")
    assert export(made.context).replaced == 2
    assert database() == made.shown()


def test_a_database_of_an_older_scoreline_is_sent_everything(pipeline: Any, database: Any) -> None:
    database("CREATE TABLE scoreline_exports (name VARCHAR(63) PRIMARY KEY, version BIGINT, exported_at DATETIME)")
    database("INSERT INTO scoreline_exports VALUES ('recommendations', 1, '2026-01-01')")
    made = pipeline("tables")
    made.everyone({1: [10], 2: [20]})
    assert export(made.context).everyone == ANOTHER
    assert database() == made.shown()


def test_rows_that_no_export_has_made_are_left_alone(pipeline: Any, database: Any) -> None:
    made = pipeline("tables")
    made.everyone({1: [10]})
    columns = "user_id BIGINT, rank INTEGER, item_id BIGINT, score FLOAT, source VARCHAR(16)"
    database(f"CREATE TABLE recommendations ({columns})")
    database("INSERT INTO recommendations VALUES (7, 1, 70, 0.5, 'hand')")
    with pytest.raises(InputError, match="a table recommendations with rows that no export of scoreline made"):
        export(made.context)
    assert database() == [(7, 1, 70, 0.5, "hand")]


def test_users_left_out_are_in_the_report(pipeline: Any, database: Any) -> None:
    made = pipeline("tables", Keys("string", "string"))
    lists: Lists = {"anna": ["x"], "a\0b": ["x"], "c" * 6_000: ["x"]}
    made.everyone(lists)
    said = str(export(made.context)).splitlines()
    assert said[0].endswith("1 users replaced, 0 removed; it shows version 1")
    assert sorted(said[1:]) == [
        "  1 users left out: user id has a NUL character",
        "  1 users left out: user id is longer than 255 characters",
    ]
    assert database() == [("anna", 1, "x", 1.0, "model")]
    assert export(made.context).left_out == {}
