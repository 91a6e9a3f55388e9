"""Bad input: a row is good or quarantined with a reason, or the whole is refused before anything changes."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from builders import NOW, context, write_events
from faults.tally import Tally
from scoreline.engine.session import get_session
from scoreline.errors import ConfigurationError, InputError
from scoreline.ingest.ingest import ingest_events

FAULT = "bad input files and tables"
T0 = 1_700_000_000

# what stands in the line after a good user's id, and the reason it has to be quarantined for (None: it is good)
LINES: dict[str, str | None] = {
    "1,10,5,1700000000": None,
    "2, 10 ,5,1700000000": None,
    "3,10,0,1700000000": None,
    "-4,10,5,1700000000": None,
    "5,10,1e0,1.7e9": None,
    '"6","10","5","1700000000"': None,
    "7,10,5,1700000000.25": None,
    "9223372036854775807,10,5,1700000000": None,
    "9223372036854775808,10,5,1700000000": "user_id is not a whole number",
    "abc,10,5,1700000000": "user_id is not a whole number",
    "1.5,10,5,1700000000": "user_id is not a whole number",
    "'; DROP TABLE user_history; --,10,5,1700000000": "user_id is not a whole number",
    "0x1F,10,5,1700000000": "user_id is not a whole number",
    "NaN,10,5,1700000000": "user_id is not a whole number",
    "１,10,5,1700000000": "user_id is not a whole number",
    ",10,5,1700000000": "user_id is missing",
    "   ,10,5,1700000000": "user_id is missing",
    "20,,5,1700000000": "item_id is missing",
    "21,ten,5,1700000000": "item_id is not a whole number",
    "22,10,,1700000000": "weight is not a number",
    "23,10,many,1700000000": "weight is not a number",
    "24,10,NaN,1700000000": "weight is not a number",
    "25,10,Infinity,1700000000": "weight is outside 0 to 10",
    "26,10,-1,1700000000": "weight is outside 0 to 10",
    "27,10,11,1700000000": "weight is outside 0 to 10",
    "28,10,5,": "time is not readable",
    "29,10,5,yesterday": "time is not readable",
    "30,10,5,99999999999999999999": "time is not readable",
    "31,10,5,-1": "time is not readable",
    "32,10,5,4102444800": "time is in the future",
    "33,10,5": "malformed line",
    "34,10,5,1700000000,surplus": "malformed line",
    "35": "malformed line",
}


@pytest.mark.both
def test_each_bad_line_is_quarantined_with_its_reason(spark: SparkSession, tmp_path: Path, tally: Tally) -> None:
    path = tmp_path / "e.csv"
    path.write_text("user,item,rating,at\n" + "\n".join(LINES) + "\n", encoding="utf-8")
    made = _lenient(spark, tmp_path)
    report = ingest_events(made, str(path))
    good = sum(reason is None for reason in LINES.values())
    assert (report.rows_read, report.rows_good, report.rows_bad) == (len(LINES), good, len(LINES) - good)
    kept = {(r["raw_row"], tuple(r["reasons"])) for r in made.tables.table("quarantine").read().collect()}
    expected = {(line, reason) for line, reason in LINES.items() if reason}
    assert {(_as_read(line), reason) for line, reason in expected} == {(raw, why[0]) for raw, why in kept}
    assert _users(made) == sorted([1, 2, 3, -4, 5, 6, 7, 2**63 - 1])
    for line in LINES:
        tally(FAULT, f"line {line}")


def _as_read(line: str) -> str:
    return line


def _lenient(spark: SparkSession, tmp_path: Path, **changes: Any) -> Any:
    events = {
        "columns": {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"},
        "weight_range": [0, 10],
        "max_bad_share": 1,
    }
    return context(spark, tmp_path / "t", events=events | changes.pop("events", {}), **changes)


def _users(made: Any) -> list[Any]:
    return sorted(row[0] for row in made.tables.table("user_history").read().select("user_id").collect())


REFUSED: dict[str, tuple[bytes, str]] = {
    "an empty file": (b"", "the file is empty"),
    "a header only": (b"user,item,rating,at\n", "no event was found"),
    "another separator": (b"user;item;rating;at\n1;2;3;4\n", "Is ',' the right separator"),
    "a column missing": (b"user,item,rating\n1,2,3\n", "expected column at, found user, item, rating"),
    "a column renamed": (b"user,item,rating,when\n1,2,3,4\n", "expected column at, found"),
    "a column twice": (b"user,item,rating,at,at\n1,2,3,4,5\n", "(?i)names a column twice|expected column"),
    "no header": (b"1,2,3,1700000000\n", "expected columns"),
    "binary noise": (bytes(range(256)) * 8, "expected column"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_file_that_is_something_else_changes_nothing(
    what: str, spark: SparkSession, tmp_path: Path, tally: Tally
) -> None:
    content, message = REFUSED[what]
    path = tmp_path / "e.csv"
    path.write_bytes(content)
    made = _lenient(spark, tmp_path)
    with pytest.raises(InputError, match=message):
        ingest_events(made, str(path))
    history = made.tables.table("user_history")
    assert not history.exists() or history.version() == 0
    tally(FAULT, what)


@pytest.mark.both
def test_files_of_a_folder_that_differ_are_refused(spark: SparkSession, tmp_path: Path, tally: Tally) -> None:
    folder = tmp_path / "events"
    folder.mkdir()
    write_events(folder / "1.csv", [(1, 10, 5, T0)])
    (folder / "2.csv").write_text("item,user,rating,at\n10,2,5,1700000000\n")
    made = _lenient(spark, tmp_path)
    with pytest.raises((InputError, Exception), match=r"(?i)header|could not be read"):
        ingest_events(made, str(folder))
    assert not made.tables.table("user_history").exists() or made.tables.table("user_history").version() == 0
    tally(FAULT, "columns swapped in one file of a folder")


WRONG_TYPES = {
    "a list": (T.ArrayType(T.LongType()), [1]),
    "a struct": (T.StructType([T.StructField("x", T.LongType())]), (1,)),
    "a map": (T.MapType(T.StringType(), T.LongType()), {"x": 1}),
    "bytes": (T.BinaryType(), b"1"),
    "a truth value": (T.BooleanType(), True),
}


@pytest.mark.parametrize("what", WRONG_TYPES)
def test_a_column_of_another_kind_is_refused_before_a_row_is_read(
    what: str, spark: SparkSession, tmp_path: Path, tally: Tally
) -> None:
    kind, value = WRONG_TYPES[what]
    schema = T.StructType([T.StructField("user", kind), *_typed("item:long rating:float at:long")])
    spark.createDataFrame([(value, 10, 5.0, T0)], schema).write.parquet(str(tmp_path / "events"))
    made = _lenient(spark, tmp_path, keys={"user_id": "string"}, events={"format": "parquet"})
    with pytest.raises(InputError, match=r"column user is .*; expected text, a number or a time"):
        ingest_events(made, str(tmp_path / "events"))
    tally(FAULT, f"a user id that is {what}")


def _typed(text: str) -> list[T.StructField]:
    kinds = {"long": T.LongType(), "float": T.FloatType(), "string": T.StringType()}
    return [T.StructField(name, kinds[kind]) for name, kind in (part.split(":") for part in text.split())]


@pytest.mark.both
def test_parquet_files_that_do_not_go_together(spark: SparkSession, tmp_path: Path, tally: Tally) -> None:
    """A retyped column is refused, and so is one that is missing from a file, before a row is read."""
    one = spark.createDataFrame([(1, 10, 5.0, T0)], T.StructType(_typed("user:long item:long rating:float at:long")))
    for name, text, row in (
        ("retyped", "user:string item:long rating:float at:long", ("x", 10, 5.0, T0)),
        ("missing", "user:long item:long rating:float", (2, 10, 5.0)),
    ):
        folder = tmp_path / name
        one.write.parquet(str(folder / "1"))
        spark.createDataFrame([row], T.StructType(_typed(text))).write.parquet(str(folder / "2"))
    made = _lenient(spark, tmp_path, events={"format": "parquet"})
    with pytest.raises(InputError, match="could not be read"):
        ingest_events(made, str(tmp_path / "retyped" / "*"))
    with pytest.raises(InputError, match=r"missing/2/.*parquet has no column at, which .*missing/1/.*parquet has"):
        ingest_events(made, str(tmp_path / "missing" / "*"))
    tally(FAULT, "parquet: retyped")
    tally(FAULT, "parquet: missing in one file")


@pytest.mark.both
def test_a_damaged_parquet_file_loses_nothing_silently(spark: SparkSession, tmp_path: Path, tally: Tally) -> None:
    good = T.StructType(_typed("user:long item:long rating:float at:long"))
    spark.createDataFrame([(1, 10, 5.0, T0)], good).coalesce(1).write.parquet(str(tmp_path / "events"))
    [file] = (tmp_path / "events").glob("*.parquet")
    (tmp_path / "events" / ".x.crc").touch()
    for crc in (tmp_path / "events").glob(".*.crc"):
        crc.unlink()
    file.write_bytes(file.read_bytes()[:-20])
    made = _lenient(spark, tmp_path, events={"format": "parquet"})
    with pytest.raises(Exception, match=r"could not be read") as caught:
        ingest_events(made, str(tmp_path / "events"))
    assert "\n" not in str(caught.value)
    tally(FAULT, "a damaged parquet file")


@pytest.mark.spark
@pytest.mark.parametrize("key", ["spark.sql.files.ignoreCorruptFiles", "spark.sql.files.ignoreMissingFiles"])
def test_settings_that_make_rows_vanish_are_refused(key: str, spark: SparkSession, tally: Tally) -> None:
    try:
        with pytest.raises(ConfigurationError, match="would vanish without a word"):
            get_session("x", {key: True})
    finally:
        spark.conf.unset(key)
    tally(FAULT, key)


IDS = [
    "\u00e9", "e\u0301", "007", "7", "O'Brien", '"', "`x`", "a;b--", "%_", "\\", "Robert'); DROP TABLE x;--",
    "名前", "a\tb", "🙂",
]  # fmt: skip


@pytest.mark.both
def test_ids_are_what_they_are_to_the_byte(spark: SparkSession, tmp_path: Path, tally: Tally) -> None:
    """Two normal forms of a letter are two users, nothing is trimmed but blanks, quotes are only characters."""
    path = tmp_path / "it's; DROP `x`.json"
    path.write_text(
        "\n".join(json.dumps({"user": i, "item": i, "rating": 1, "at": T0}, ensure_ascii=False) for i in IDS),
        encoding="utf-8",
    )
    made = _lenient(
        spark,
        tmp_path / "a 'quoted' `root`; --",
        keys={"user_id": "string", "item_id": "string"},
        events={"format": "json"},
    )
    report = ingest_events(made, str(path))
    assert (report.rows_good, report.users_changed) == (len(IDS), len(IDS))
    assert _users(made) == sorted(IDS)
    rows = made.tables.table("user_history").read().select("user_id", "item_ids").collect()
    assert all(row["item_ids"] == [row["user_id"]] for row in rows)
    for one in IDS:
        tally(FAULT, f"id {one!r}")


@pytest.mark.both
def test_times_without_a_zone_are_utc_wherever_the_machine_is(
    spark: SparkSession, tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "America/New_York")
    rows = [(1, 10, 5, "2026-03-29 02:30:00"), (2, 10, 5, "2026-03-29T02:30:00+02:00"), (3, 10, 5, "2026-03-29")]
    made = _lenient(spark, tmp_path, events={"time": "iso"})
    ingest_events(made, write_events(tmp_path / "e.csv", rows))
    found = made.tables.table("user_history").read().selectExpr("user_id", "unix_seconds(last_event_at) as at")
    assert {row["user_id"]: datetime.fromtimestamp(row["at"], UTC) for row in found.collect()} == {
        1: datetime(2026, 3, 29, 2, 30, tzinfo=UTC),
        2: datetime(2026, 3, 29, 0, 30, tzinfo=UTC),
        3: datetime(2026, 3, 29, tzinfo=UTC),
    }
    tally(FAULT, "times without a zone", times=3)


@pytest.mark.slow
def test_a_history_of_300_000_events(spark: SparkSession, tmp_path: Path, tally: Tally) -> None:
    rows = [(1, item, 5, T0 + item) for item in range(300_000)] + [(2, 1, 5, T0)]
    made = _lenient(spark, tmp_path, histories={"buckets": 8, "max_items": 1_000_000})
    report = ingest_events(made, write_events(tmp_path / "e.csv", rows))
    assert (report.rows_good, report.users_changed) == (300_001, 2)
    counts = made.tables.table("user_history").read().select("user_id", "event_count").collect()
    assert {row["user_id"]: row["event_count"] for row in counts} == {1: 300_000, 2: 1}
    assert NOW
    tally(FAULT, "a history of 300,000 events")
