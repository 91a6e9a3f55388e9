"""`ingest --new` of databases and Delta tables: only what is new is read, and the histories are those of all of it."""

import re
import sqlite3
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from pyspark.sql import SparkSession

from builders import ENGINE, NOW, context
from integration.races import just_before
from scoreline.api import Pipeline
from scoreline.errors import ConfigurationError, InputError, RunFailed, RunInProgress
from scoreline.ingest import ingest
from scoreline.ingest.ingest import IngestReport, ingest_events
from scoreline.ingest.new import ingest_new
from scoreline.tables.lock import locked

T0 = 1_700_000_000
COLUMNS = {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}
Made = Callable[..., Any]


@pytest.fixture
def made(spark: SparkSession, tmp_path: Path) -> Made:
    """A pipeline whose clock goes on with each step."""
    steps = iter(range(1000))

    def at_next_hour(**events: Any) -> Any:
        now = NOW + timedelta(hours=next(steps))
        return context(spark, tmp_path / "tables", now=now, events={"columns": COLUMNS, **events})

    return at_next_hour


def histories(made: Any) -> list[Any]:
    rows = made.tables.table("user_history").read().select("user_id", "item_ids", "weights", "event_times")
    return sorted(tuple(row) for row in rows.collect())


def version(made: Any) -> int:
    return int(made.tables.table("user_history").version())


class Shop:
    """A SQLite database with a table of ratings."""

    def __init__(self, folder: Path) -> None:
        self.url = f"sqlite:///{folder / 'shop.db'}"
        self._file = folder / "shop.db"
        self.run('CREATE TABLE "Film ratings" (id INTEGER NOT NULL, user, item, rating REAL, at INTEGER, note BLOB)')

    def run(self, statement: str, *rows: tuple[Any, ...]) -> None:
        with sqlite3.connect(self._file) as connection:
            connection.executemany(statement, rows) if rows else connection.execute(statement)
        connection.close()

    def add(self, *ids: int) -> None:
        """Rows with these ids: of user `id % 10` the item `id`."""
        rows = [(number, number % 10, number, 3.5, T0 + number, b"x") for number in ids]
        self.run('INSERT INTO "Film ratings" VALUES (?, ?, ?, ?, ?, ?)', *rows)

    @property
    def events(self) -> dict[str, Any]:
        return {"table": "Film ratings", "mark": {"column": "id", "overlap": 5}, "source": self.url}


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


@pytest.mark.both
def test_of_a_database_only_what_is_new_is_read(spark: SparkSession, made: Made, shop: Shop, tmp_path: Path) -> None:
    shop.add(*range(100, 200))
    first = ingest_new(made(**shop.events))
    assert isinstance(first, IngestReport)
    assert (first.rows_read, first.users_changed, first.remarks) == (100, 10, ())
    shop.add(190 + 5, 300, 301)  # the first is late, and within the overlap
    second = ingest_new(made(**shop.events))
    assert (second.rows_read, second.users_changed) == (7 + 2, 2)
    third = ingest_new(made(**shop.events))
    assert (third.rows_read, third.users_changed) == (2, 0)  # the overlap, once more
    before = version(made())
    fourth = ingest_new(made(**shop.events))
    assert (fourth.rows_read, fourth.users_changed, version(made())) == (0, 0, before)
    shop.add(299)  # late, and the highest is as it was
    assert ingest_new(made(**shop.events)).users_changed == 1
    whole = context(spark, tmp_path / "whole", events={"columns": COLUMNS, "query": 'SELECT * FROM "Film ratings"'})
    ingest_events(whole, shop.url)
    assert histories(made()) == histories(whole)


def test_a_database_that_is_named_and_one_that_is_configured_have_one_mark(made: Made, shop: Shop) -> None:
    shop.add(1, 10)
    assert ingest_new(made(**shop.events | {"source": None}), shop.url).users_changed == 2
    shop.add(20)
    report = ingest_new(made(**shop.events))
    assert isinstance(report, IngestReport)
    assert report.rows_read == 2  # the second one of before, and the new one
    shop.add(30)
    assert ingest_events(made(**shop.events), shop.url).rows_read == 2


def test_a_pipeline_takes_what_is_configured_and_shows_no_secret(spark: SparkSession, made: Made, shop: Shop) -> None:
    shop.add(1, 2)
    pipeline = Pipeline(made(**shop.events).settings, spark=spark)
    assert shop.url not in repr(pipeline.settings)
    report = pipeline.ingest_new()
    assert str(report).startswith(f"{shop.url}: 2 rows read = 2 good + 0 quarantined")
    assert pipeline.ingest_new(shop.url).users_changed == 0


def test_an_empty_table_has_nothing_new(made: Made, shop: Shop) -> None:
    report = ingest_new(made(**shop.events))
    assert isinstance(report, IngestReport)
    assert (report.rows_read, report.users_changed) == (0, 0)
    shop.add(1)
    assert ingest_new(made(**shop.events)).users_changed == 1


def test_what_a_merge_that_failed_has_read_is_read_again(
    made: Made, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add(1)
    ingest_new(made(**shop.events))
    shop.add(100)
    just_before(monkeypatch, ingest, "merge_histories", fails)
    with pytest.raises(RunFailed):
        ingest_new(made(**shop.events))
    monkeypatch.undo()
    assert ingest_new(made(**shop.events)).users_changed == 1


def test_whoever_is_killed_between_merge_and_mark_changes_nothing_by_the_next_reading(
    made: Made, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.add(1)
    ingest_new(made(**shop.events))
    shop.add(100)
    table = made(**shop.events).tables.table("user_history")
    just_before(monkeypatch, type(table), "set_property", fails)
    with pytest.raises(RunFailed):
        ingest_new(made(**shop.events))
    monkeypatch.undo()
    assert len(histories(made())) == 2
    found = version(made())
    report = ingest_new(made(**shop.events))
    assert isinstance(report, IngestReport)
    assert (report.rows_read, report.users_changed, report.version) == (2, 0, found + 1)


def fails() -> None:
    raise RunFailed("killed")


def test_a_table_made_anew_is_read_whole_and_that_is_said(made: Made, shop: Shop) -> None:
    shop.add(50, 60)
    ingest_new(made(**shop.events))
    shop.run('DELETE FROM "Film ratings"')
    shop.add(1, 2)
    report = ingest_new(made(**shop.events))
    assert report.users_changed == 2
    assert "all of it was read: its highest id is 2, below 60 of the last time: it was made anew" in str(report)
    assert len(histories(made())) == 3


def test_bad_rows_are_quarantined_with_the_mark_by_which_they_are_found(made: Made, shop: Shop) -> None:
    shop.add(1, 2, 3, 4)
    shop.run("INSERT INTO \"Film ratings\" VALUES (5, 'x', 1, 3, 1700000000, NULL)")
    report = ingest_new(made(**shop.events))
    assert isinstance(report, IngestReport)
    assert (report.rows_read, report.rows_bad) == (5, 1)
    [row] = made().tables.table("quarantine").read().collect()
    assert (row["raw_row"], row["source_file"]) == ("x,1,1700000000,3,5", shop.url)


def test_what_is_new_has_to_be_known(made: Made, shop: Shop, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--new needs events\.table"):
        ingest_new(made(query="SELECT 1"), shop.url)
    with pytest.raises(InputError, match=r"others by events\.mark, a column that is higher") as caught:
        ingest_new(made(table="t"), "mysql+pymysql://u:s3cret@h/d")
    assert "s3cret" not in str(caught.value)
    with pytest.raises(InputError, match="there is no Delta table here"):
        ingest_new(made(format="delta"), str(tmp_path))
    with pytest.raises(InputError, match="no such file or folder"):
        ingest_new(made(format="delta"), str(tmp_path / "nowhere"))
    with locked(made().settings, "ingest"), pytest.raises(RunInProgress, match="Another ingest works"):
        ingest_new(made(**shop.events))


@pytest.mark.both
def test_a_topic_is_read_where_spark_has_its_source_of_kafka(made: Made) -> None:
    kafka = {"format": "json", "source": "kafka://127.0.0.1:9/films"}
    package = r"Say spark: \{spark\.jars\.packages: org\.apache\.spark:spark-sql-kafka-0-10_2\.1[23]:[34]\.\d\.\d\}"
    told = (InputError, r"Say engine: spark\.") if ENGINE == "embedded" else (ConfigurationError, package)
    with pytest.raises(told[0], match=rf"^kafka://127\.0\.0\.1:9/films .*{told[1]}"):
        ingest_new(made(**kafka))


@pytest.mark.spark
def test_a_topic_has_an_address_without_a_password_and_messages_of_json(made: Made) -> None:
    with pytest.raises(InputError, match=r"events\.format is csv"):
        ingest_new(made(source="kafka://127.0.0.1:9/films"))
    for wrong in ("kafka://reader:s3cret@h:9092/films", "kafka://h/films", "kafka://h:9092", "kafka://h:9092/a/b"):
        with pytest.raises(InputError, match="Expected a topic as kafka://HOST:PORT,HOST:PORT/TOPIC") as caught:
            ingest_new(made(format="json", source=wrong))
        assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("events", "message"),
    [
        ({"source": "a", "files": "b"}, "give files or source, which ingest --new takes"),
        ({"mark": {"column": "id"}}, "mark does nothing without table"),
        (
            {"mark": {"column": "id"}, "table": "t", "partitions": 4},
            "partitions does nothing without table and with mark",
        ),
    ],
)
def test_settings_that_do_not_go_together(made: Made, events: dict[str, Any], message: str) -> None:
    with pytest.raises((ConfigurationError, ValueError), match=message):
        made(**events)


class Source:
    """A Delta table that somebody else writes, by the session's engine."""

    def __init__(self, made: Any, folder: Path) -> None:
        self.table = Source.at(made, folder)
        self.spark = made.spark

    @staticmethod
    def at(made: Any, folder: Path) -> Any:
        from scoreline.tables.delta import table_at

        return table_at(made.spark, "source", str(folder), in_catalog=False)

    def add(self, *ids: int, mode: str = "append") -> None:
        rows = [(number % 10, number, 3.5, T0 + number) for number in ids]
        self.table.write(self.spark.createDataFrame(rows, "user long, item long, rating double, at long"), mode)


@pytest.fixture
def source(made: Made, tmp_path: Path) -> Source:
    return Source(made(), tmp_path / "events of others")


@pytest.mark.both
def test_of_a_delta_table_only_the_added_files_are_read(
    spark: SparkSession, made: Made, source: Source, tmp_path: Path
) -> None:
    events = {"format": "delta", "source": source.table.location}
    source.add(*range(100, 200))
    first = ingest_new(made(**events))
    assert isinstance(first, IngestReport)
    assert (first.rows_read, first.remarks) == (100, ())
    assert ingest_new(made(**events)).users_changed == 0
    source.add(201, 202)
    source.add(203)
    source.table.optimize()
    before = version(made())
    second = ingest_new(made(**events))
    assert isinstance(second, IngestReport)
    assert (second.rows_read, second.users_changed, second.remarks) == (3, 3, ())
    assert version(made()) == before + 2  # the histories, and the mark
    third = ingest_new(made(**events))
    assert isinstance(third, IngestReport)
    assert (third.rows_read, third.version) == (0, before + 2)
    source.table.delete("item = 100")
    fourth = ingest_new(made(**events))
    assert isinstance(fourth, IngestReport)
    assert (fourth.rows_read, fourth.users_changed) == (102, 0)
    assert fourth.remarks == ("all of it was read: rows were deleted or replaced",)
    source.add(300)
    assert ingest_new(made(**events)).rows_read == 1  # type: ignore[union-attr]
    whole = context(spark, tmp_path / "whole", events={"columns": COLUMNS, "format": "delta"})
    ingest_events(whole, source.table.location)
    mine = {user: set(items) for user, items, *_ in histories(made())}
    assert mine == {user: set(items) | ({100} if user == 0 else set()) for user, items, *_ in histories(whole)}


def test_a_delta_table_that_was_overwritten_or_made_anew_is_read_whole(
    made: Made, source: Source, tmp_path: Path
) -> None:
    events = {"format": "delta", "source": source.table.location}
    source.add(1, 2)
    ingest_new(made(**events))
    source.add(3, 4, mode="overwrite")
    assert "all of it was read: rows were deleted or replaced" in str(ingest_new(made(**events)))
    source.table.drop()
    for number in range(5, 9):
        source.add(number)
    report = ingest_new(made(**events))
    assert "all of it was read: it was made anew" in str(report)
    assert report.users_changed == 4


@pytest.mark.spark  # it has the catalogue
def test_a_table_of_a_catalogue_is_a_source_too(spark: SparkSession, made: Made) -> None:
    name = "default.events_of_others"
    values = "SELECT id % 10 AS user, id AS item, 3.5 AS rating, 1700000000 + id AS at, id % 3 AS part"
    spark.sql(f"CREATE TABLE {name} USING delta PARTITIONED BY (part) AS {values} FROM range(100)")
    try:
        assert ingest_new(made(), name).users_changed == 10
        spark.sql(f"INSERT INTO {name} {values} FROM range(200, 203)")
        report = ingest_new(made(source=name))
        assert isinstance(report, IngestReport)
        assert (report.rows_read, report.users_changed, report.remarks) == (3, 3, ())
        spark.sql(f"ALTER TABLE {name} SET TBLPROPERTIES ('delta.enableDeletionVectors' = 'true')")
        spark.sql(f"DELETE FROM {name} WHERE item < 5")
        report = ingest_new(made(source=name))
        assert isinstance(report, IngestReport)
        assert (report.rows_read, report.users_changed) == (98, 0)
        assert report.remarks == ("all of it was read: its columns or properties were changed",)
        whole = {user: items for user, items, *_ in histories(made())}
        assert (len(whole), sum(map(len, whole.values()))) == (10, 103)
        spark.sql(f"CREATE OR REPLACE VIEW default.a_view AS SELECT * FROM {name}")
        with pytest.raises(InputError, match="could not be read as a Delta table"):
            ingest_new(made(), "default.a_view")
    finally:
        spark.sql("DROP VIEW IF EXISTS default.a_view")
        spark.sql(f"DROP TABLE {name}")


def test_a_log_that_was_cleaned_up_is_no_reason_to_stop(made: Made, source: Source) -> None:
    events = {"format": "delta", "source": source.table.location}
    source.add(1, 2)
    ingest_new(made(**events))
    source.add(3)
    source.add(4)
    DeltaTable(source.table.location).create_checkpoint()
    for commit in sorted(Path(source.table.location, "_delta_log").glob("*.json"))[:-1]:
        commit.unlink()
    report = ingest_new(made(**events))
    assert report.users_changed == 2
    said = r"all of it was read: its log since version \d, or a file that it names, could not be read"
    assert re.search(said, str(report))
    assert ingest_new(made(**events)).users_changed == 0


@pytest.mark.both
def test_partitions_of_a_delta_table_give_their_columns(spark: SparkSession, made: Made, tmp_path: Path) -> None:
    place = str(tmp_path / "by day")
    events = {"columns": {"user_id": "user", "item_id": "item", "time": "day"}, "time": "iso", "format": "delta"}
    for number, days in enumerate((["2026-07-01", "2026-07-02"], ["2026-07-02", None])):
        rows = pa.table({"user": [1, 2], "item": [number, number], "day": pa.array(days), "more": ["a b", "c/d"]})
        write_deltalake(place, rows, mode="append", partition_by=["day", "more"])
        report = ingest_new(made(**events, max_bad_share=0.5), place)
        assert isinstance(report, IngestReport)
        assert (report.rows_read, report.rows_bad, report.remarks) == (2, number, ())
    assert [(user, items) for user, items, *_ in histories(made(**events))] == [(1, [0, 1]), (2, [0])]
    [bad] = made(**events).tables.table("quarantine").read().select("raw_row").collect()
    assert bad["raw_row"] == "2,1,,c/d"


def test_a_bad_delta_table_leaves_its_mark_where_it_was(made: Made, source: Source) -> None:
    events = {"format": "delta", "source": source.table.location}
    source.add(1, 2)
    ingest_new(made(**events))
    rows = source.spark.createDataFrame([(None, 1, 1.0, T0)], "user long, item long, rating double, at long")
    source.table.write(rows, "append")
    for _ in range(2):
        with pytest.raises(InputError, match="1 of 1 rows are bad"):
            ingest_new(made(**events))
    source.add(3, 4, 5, 6)
    assert ingest_new(made(**events)).users_changed == 4
