"""Looking at tables with and without Spark: the same rows, types and commits, whatever a table has been through."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from builders import settings
from scoreline.errors import InputError
from scoreline.tables.commit_note import Ingested
from scoreline.tables.delta import Table, table_at
from scoreline.tables.reading import DeltaReader, Readers, TableReader, open_readers, records
from scoreline.tables.session_reading import SessionReader

USERS = 20_000
ODD = "o'd \"d\\"


@pytest.fixture
def table(spark: SparkSession, tmp_path: Path) -> Table:
    """Every kind of column that our tables have, in two files by user; nothing was deleted yet."""
    made = spark.range(USERS).select(
        F.col("id").alias("user_id"),
        F.when(F.col("id") % 7 != 0, F.concat(F.lit(ODD), F.col("id").cast("string"))).alias('a."name"'),
        F.expr("transform(sequence(1, 3), x -> struct(id + x AS item_id, CAST(x AS FLOAT) AS score))").alias("made"),
        F.expr("array(timestamp_micros(id * 1000003), null)").alias("event_times"),
        F.expr("timestamp_micros(1800000000000000 + id)").alias("at"),
        (F.col("id") % 3 == 0).alias("third"),
    )
    table = table_at(spark, "films", str(tmp_path / "tables" / "films"), in_catalog=False)
    table.create(made.schema)
    note = Ingested(columns=["a"], updated_at=None)
    # row groups of a few thousand rows, so that what is skipped is more than files
    options = {"parquet.block.size": "65536", "userMetadata": note.text()}
    table.write(made.repartitionByRange(2, "user_id").sortWithinPartitions("user_id"), "append", options)
    return table


@pytest.fixture
def half_deleted(table: Table) -> Table:
    """The same after two deletes: half of it, and then half of one of its files."""
    table.delete("user_id % 2 = 1")
    table.delete(f"user_id % 4 = 0 AND user_id < {USERS // 2}")
    return table


def both(table: Table) -> tuple[TableReader, TableReader]:
    wanted = settings(Path(table.location).parent)
    return DeltaReader("films", table.location, {}), SessionReader.opened(wanted, "films", table.spark)


def in_order(rows: pa.Table) -> pa.Table:
    return rows.combine_chunks().sort_by("user_id") if "user_id" in rows.column_names else rows


LOOKS: list[tuple[Sequence[str] | None, Any]] = [
    (None, None),
    (["at", "user_id"], None),
    (None, {"user_id": [6]}),
    (['a."name"', "user_id"], {'a."name"': [f"{ODD}6", f"{ODD}9", f"{ODD}19998", "nobody", "'); DROP"]}),
    (["user_id"], {"user_id": range(0, USERS, 6)}),
    (["user_id"], {"user_id": [USERS + 1]}),
    (["user_id"], {"user_id": [], "third": [True]}),
    (["user_id"], {"user_id": range(100), "third": [True]}),
]


@pytest.mark.both
def test_both_ways_count_the_rows_of_each_value(half_deleted: Table) -> None:
    for column, values in (("third", 2), ("at", USERS // 2 - USERS // 8)):
        without, by_session = (reader.counts(column) for reader in both(half_deleted))
        assert without == by_session
        assert (len(without), sum(without.values())) == (values, USERS // 2 - USERS // 8)
    with pytest.raises(InputError, match="has no column nope"):
        both(half_deleted)[0].counts("nope")


@pytest.mark.both
@pytest.mark.parametrize("version", [None, 1, 2])
def test_both_ways_give_the_same_rows_of_each_version(half_deleted: Table, version: int | None) -> None:
    without, by_session = both(half_deleted)
    for columns, where in LOOKS:
        rows, theirs = (in_order(reader.rows(columns, where, version)) for reader in (without, by_session))
        assert rows.schema == theirs.schema
        assert rows.equals(theirs), (columns, where)
    wanted = {
        user
        for user in range(USERS)
        if version == 1 or (user % 2 == 0 and (version == 2 or user % 4 or user >= USERS // 2))
    }
    assert set(without.rows(["user_id"], version=version)["user_id"].to_pylist()) == wanted
    assert without.count(version) == by_session.count(version) == len(wanted)


@pytest.mark.both
def test_both_ways_stream_the_same_rows(half_deleted: Table) -> None:
    for columns, where in LOOKS[:4]:
        ours, theirs = (reader.batches(columns, where) for reader in both(half_deleted))
        rows = in_order(ours.read_all())
        assert rows.schema == theirs.schema
        assert rows.num_rows
        assert rows.equals(in_order(theirs.read_all()))


@pytest.mark.both
def test_both_ways_tell_the_same_history(half_deleted: Table) -> None:
    without, by_session = both(half_deleted)
    ours, theirs = without.commits(), by_session.commits()
    told = [(c.version, c.at.timestamp(), c.operation, c.note) for c in ours]
    assert told == [(c.version, c.at.timestamp(), c.operation, c.note) for c in theirs]
    assert [c.version for c in without.commits(limit=2)] == [c.version for c in by_session.commits(limit=2)] == [3, 2]
    assert without.version() == by_session.version() == 3


@pytest.mark.both
def test_a_column_or_a_version_that_is_not_there_is_named(table: Table) -> None:
    for reader in both(table):
        with pytest.raises(InputError, match=r'films has no column user, b; it has user_id, a."name", made'):
            reader.rows(["user", "user_id"], {"b": [1]})
        with pytest.raises(InputError, match="has no version 7; its newest is 1"):
            reader.rows(version=7)


def test_a_folder_without_a_commit_is_no_table(tmp_path: Path) -> None:
    readers = open_readers(settings(tmp_path))
    assert not readers.table("films").exists()
    (tmp_path / "films" / "_delta_log").mkdir(parents=True)
    assert not readers.table("films").exists()
    with pytest.raises(InputError, match=r"There is no table .*films yet. Make it with: scoreline ingest"):
        readers.existing("films", made_by="scoreline ingest")


def test_a_table_in_a_folder_needs_no_session(table: Table, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Readers, "_by_session", lambda self, name: pytest.fail("asked for a session"))
    readers = open_readers(settings(Path(table.location).parent))
    assert records(readers.table("films").rows(["at"], {"user_id": [3]}))[0]["at"].timestamp() == 1_800_000_000.000003


@pytest.mark.spark
def test_a_table_whose_files_say_something_else_is_read_by_the_session(spark: SparkSession, tmp_path: Path) -> None:
    """Column mapping: in the files the columns have other names."""
    location = tmp_path / "films"
    spark.sql(
        f"CREATE TABLE delta.`{location}` (user_id BIGINT, title STRING) USING DELTA "
        "TBLPROPERTIES ('delta.columnMapping.mode' = 'name')"
    )
    spark.sql(f"INSERT INTO delta.`{location}` VALUES (1, 'a'), (2, 'b')")
    spark.sql(f"ALTER TABLE delta.`{location}` RENAME COLUMN title TO name")
    rows = open_readers(settings(tmp_path), spark).table("films").rows(["name"], {"user_id": [2]})
    assert rows.to_pydict() == {"name": ["b"]}
    with pytest.raises(InputError, match="features that cannot be read without Spark: columnMapping"):
        open_readers(settings(tmp_path, engine="embedded"), spark).table("films")


@pytest.mark.spark
def test_what_only_writers_have_to_mind_is_read_without_a_session(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Readers, "_by_session", lambda self, name: pytest.fail("asked for a session"))
    spark.sql(
        f"CREATE TABLE delta.`{tmp_path / 'films'}` (user_id BIGINT NOT NULL) USING DELTA CLUSTER BY (user_id) "
        "TBLPROPERTIES ('delta.enableRowTracking' = 'true')"
    )
    spark.sql(f"INSERT INTO delta.`{tmp_path / 'films'}` VALUES (1), (2)")
    assert open_readers(settings(tmp_path)).table("films").rows(where={"user_id": [2]}).to_pydict() == {"user_id": [2]}


@pytest.mark.spark
def test_tables_of_a_catalogue_are_read_by_the_session(spark: SparkSession) -> None:
    spark.sql("CREATE SCHEMA IF NOT EXISTS looked_at")
    try:
        spark.sql("CREATE TABLE looked_at.films USING DELTA AS SELECT 7L AS user_id")
        readers = open_readers(settings(tables={"catalog": "looked_at"}), spark)
        assert readers.table("films").rows().to_pydict() == {"user_id": [7]}
        assert not readers.table("items").exists()
    finally:
        spark.sql("DROP SCHEMA looked_at CASCADE")


def test_a_store_that_cannot_be_reached_is_told_with_its_causes_and_by_us_alone(tmp_path: Path) -> None:
    config = tmp_path / "films.yaml"
    config.write_text("{name: films, tables: {root: 's3a://films/tables'}, model: {uri: 'models:/films/1'}}")
    nobody = {"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:1", "AWS_CONFIG_FILE": str(tmp_path / "none")}
    known = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "RUST_"))}
    done = subprocess.run(
        [sys.executable, "-m", "scoreline", "status", "--config", str(config)],
        env={**known, **nobody, "HOME": str(tmp_path)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: No credentials were found for s3a://films/tables/user_history: give ")
    assert "Operation not supported; the credential provider was not enabled" in line
    assert "give spark.hadoop.fs.s3a.access.key and spark.hadoop.fs.s3a.secret.key" in line
    assert "Connection refused" in line
