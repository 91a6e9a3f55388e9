"""Files as other tools write them: read as they are meant, or refused by what they are before a row is read."""

import bz2
import gzip
import io
import json
import re
import sqlite3
import zipfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from builders import context, settings
from scoreline.errors import InputError
from scoreline.ingest.ingest import ingest_events
from scoreline.pipeline.inputs import open_inputs, quarantine_unkeyed
from scoreline.sources.reader import read_source

pytestmark = pytest.mark.both  # each engine reads in its own way

T0 = 1_700_000_000
COLUMNS = {"user_id": "user", "item_id": "item", "time": "at"}
WANTED = ["user", "item", "at"]
SHOPS = ("007", "0815", "42", "0042", "1e3", "true", "2020-01-01", "a b%c", "__HIVE_DEFAULT_PARTITION__")


def _layout(kind: str = "csv", **changes: Any) -> Any:
    return settings(events={"format": kind, "columns": COLUMNS, **changes}).events


def _read(spark: SparkSession, path: Path, kind: str = "csv", wanted: list[str] = WANTED, **changes: Any) -> Any:
    rows = read_source(spark, str(path), _layout(kind, **changes), wanted)
    return sorted(tuple(row) for row in rows.select(*wanted).collect())


def _refused(spark: SparkSession, path: Path, kind: str = "csv", **changes: Any) -> str:
    """What is said of a file; it has to be said in our words, without a character that a terminal obeys."""
    with pytest.raises(InputError) as caught:
        read_source(spark, str(path), _layout(kind, **changes), WANTED).collect()
    said = str(caught.value)
    assert not re.search(r"^\[[A-Z_]{3}|Exception|[\x00-\x1f\x7f-\x9f]", said), said
    return said


@pytest.mark.spark  # a setting of its session
def test_what_a_folders_name_says_stays_text(spark: SparkSession, tmp_path: Path) -> None:
    """Parquet, CSV with and without header and JSON; events and features; and the session stays as it was."""
    lines = {"csv": "user,at\nu1,5\n", "bare": "u1,5\n", "json": '{"user": "u1", "at": 5}\n'}
    for shop in SHOPS:
        for kind in ("parquet", *lines):
            (tmp_path / kind / f"shop={shop.replace('%', '%25')}").mkdir(parents=True)
        for kind, text in lines.items():
            (tmp_path / kind / f"shop={shop.replace('%', '%25')}" / "x").write_text(text)
        table = pa.table({"user": ["u1"], "at": [5]})
        pq.write_table(table, tmp_path / "parquet" / f"shop={shop.replace('%', '%25')}" / "x.parquet")
    before = spark.sql("SET").collect()
    wanted = sorted(shop for shop in SHOPS if not shop.startswith("__"))
    for kind, changes in {"parquet": {}, "csv": {}, "bare": {"fields": ["user", "at"]}, "json": {}}.items():
        columns = (
            {"user_id": "user", "item_id": "shop", "time": "at"} if kind != "bare" else COLUMNS | {"item_id": "at"}
        )
        rows = read_source(
            spark,
            str(tmp_path / kind),
            _layout("csv" if kind == "bare" else kind, **{"columns": columns, **changes}),
            ["user", "at", "shop"],
        )
        found = [row["shop"] for row in rows.collect()]
        assert (found.count(None), sorted(s for s in found if s is not None)) == (1, wanted), kind
    keys = {"user_id": "string", "item_id": "string"}
    features = {"path": str(tmp_path / "parquet"), "key": "shop", "format": "parquet"}
    opened = _opened(context(spark, tmp_path / "t", input=features, keys=keys))
    assert sorted(row["user_id"] for row in opened.rows.collect()) == wanted
    assert spark.sql("SET").collect() == before
    events = {"format": "parquet", "columns": COLUMNS | {"item_id": "shop"}, "max_bad_share": 0.5}
    made = context(spark, tmp_path / "t", keys=keys, events=events)
    report = ingest_events(made, str(tmp_path / "parquet"))
    row = made.tables.table("user_history").read().first()
    assert row is not None
    assert (sorted(row["item_ids"]), report.reasons) == (wanted, {"item_id is missing": 1})


NANOS = [1767225600_000000000, 1767312000_123456789, -1]


@pytest.mark.spark  # its types
def test_parquet_columns_that_spark_has_no_type_for_do_not_spoil_the_others(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Times in nanoseconds are times, with and without a zone; others are left out, or named if they are asked for."""
    table = pa.table(
        {
            "user": pa.array([1.0, 2.0, 1.5]),  # as pandas saves whole numbers, if one was missing
            "item": pa.array([7, 2**64 - 1, 7], pa.uint64()),
            "at": pa.array(NANOS, pa.timestamp("ns")),
            "zoned": pa.array(NANOS, pa.timestamp("ns", "Europe/Berlin")),
            "clock": pa.array([1, 2, 3], pa.time64("us")),
            "huge": pa.array([1, 2, 3], pa.decimal256(50, 2)),
            "half": pa.array([1, 2, 3], pa.float16()),
            "Half": pa.array(["a", "b", "c"]),
            "dict": pa.array(["a", "b", "c"]).dictionary_encode(),
            "none": pa.nulls(3),
            "deep": pa.array([[NANOS[0]], [], None], pa.list_(pa.timestamp("ns"))),
            "bytes": pa.array([b"\x00\x1b", b"x", b""]),
            "odd. `name`": pa.array([{"x": 1}, {"x": 2}, None]),
        }
    )
    file = tmp_path / "events 1%.parquet"
    pq.write_table(table, file)
    made = context(
        spark, tmp_path / "t", events={"format": "parquet", "columns": COLUMNS, "time": "iso", "max_bad_share": 0.7}
    )
    report = ingest_events(made, str(file))
    micros = "transform(event_times, t -> unix_micros(t))"
    rows = made.tables.table("user_history").read().selectExpr("user_id", "item_ids", micros).collect()
    assert [tuple(row) for row in rows] == [(1, [7], [NANOS[0] // 1000])]
    assert report.reasons == {
        "item_id is not a whole number": 1,
        "time is before 1970": 1,
        "user_id is not an exact whole number": 1,
    }
    features = {"path": str(file), "key": "user", "format": "parquet"}
    scoring = context(spark, tmp_path / "t", input=features)
    opened = open_inputs(scoring.tables, scoring.settings, scoring.keys)
    columns = ["user_id", "bucket", "user", "item", "at", "zoned", "dict", "none", "bytes", "odd. `name`"]
    assert (opened.rows.columns, sorted(row["user_id"] for row in opened.rows.collect())) == (columns, [1, 2])
    assert quarantine_unkeyed(scoring.tables, opened, now=scoring.now) == 1
    reasons = [row["reasons"] for row in made.tables.table("quarantine").read().collect()]
    assert ["key is not an exact whole number"] in reasons
    asked = {
        "clock": "column clock is int64 (TIME(MICROS,false)) in Parquet, for which Spark has no type",
        "huge": "DECIMAL(50,2)",
        "deep": "TIMESTAMP(NANOS,false)",
        "half": "there are columns Half and half, which differ only in case",
    }
    for name, said in asked.items():
        with pytest.raises(InputError, match=re.escape(said)):
            opened.require([name])


def test_bytes_of_a_column_that_nobody_asked_for_leave_the_quarantine_readable(
    spark: SparkSession, tmp_path: Path
) -> None:
    """Binary, and text that another tool wrote with bytes that are no UTF-8: other readers refuse such a file."""
    bad = b"\x00\xff"
    text = pa.array([bad, bad], pa.binary()).view(pa.string())
    rows = {
        "user": [1, 2], "item": [10, 11], "at": [T0, -1],
        "blob": pa.array([bad, bad], pa.binary()), "inside": pa.array([[bad]] * 2, pa.list_(pa.binary())), "odd": text,
    }  # fmt: skip
    pq.write_table(pa.table(rows), tmp_path / "e.parquet")
    made = context(spark, tmp_path / "tables", events={"format": "parquet", "columns": COLUMNS, "max_bad_share": 1})
    assert ingest_events(made, str(tmp_path / "e.parquet")).rows_bad == 1
    files = [*(tmp_path / "tables" / "quarantine").glob("*.parquet")]
    [raw] = [row for file in files for row in pq.read_table(file)["raw_row"].to_pylist()]
    assert raw.startswith("2,11,-1,00FF,[")
    assert raw.count("\N{REPLACEMENT CHARACTER}") == 2


def test_an_id_that_is_no_text_in_any_encoding_is_quarantined(spark: SparkSession, tmp_path: Path) -> None:
    users = pa.array([b"a\xff", "\N{LATIN SMALL LETTER A WITH DIAERESIS}".encode()], pa.binary()).view(pa.string())
    pq.write_table(pa.table({"user": users, "item": [1, 2], "at": [T0, T0]}), tmp_path / "e.parquet")
    events = {"format": "parquet", "columns": COLUMNS, "max_bad_share": 1}
    made = context(spark, tmp_path / "tables", keys={"user_id": "string"}, events=events)
    report = ingest_events(made, str(tmp_path / "e.parquet"))
    assert report.reasons == {"user_id has a character that is not in the encoding": 1}
    rows = made.tables.table("user_history").read().select("user_id", "item_ids").collect()
    assert [tuple(row) for row in rows] == [("\N{LATIN SMALL LETTER A WITH DIAERESIS}", [2])]


def test_files_that_do_not_go_together_are_named_before_a_row_is_read(spark: SparkSession, tmp_path: Path) -> None:
    for name, second in {
        "lacking": {"user": [2], "item": [7]},
        "retyped": {"user": ["x"], "item": [7], "at": [T0]},
        "cases": {"User": [2], "item": [7], "at": [T0]},
        "fine": {"item": [7], "note": ["x"], "user": [2], "at": [T0]},
    }.items():
        (tmp_path / name).mkdir()
        pq.write_table(pa.table({"user": [1], "item": [7], "at": [T0]}), tmp_path / name / "1.parquet")
        pq.write_table(pa.table(second), tmp_path / name / "2.parquet")
    said = {name: _refused(spark, tmp_path / name, "parquet") for name in ("lacking", "retyped", "cases")}
    assert f"{tmp_path}/lacking/2.parquet has no column at, which {tmp_path}/lacking/1.parquet has" in said["lacking"]
    assert f"column user is int64 in {tmp_path}/retyped/1.parquet and binary (STRING) in" in said["retyped"]
    assert "columns User and user, which differ only in case" in said["cases"]
    assert _read(spark, tmp_path / "fine", "parquet") == [(1, 7, T0), (2, 7, T0)]


ROWS = [("1", "7", "1767225600"), ("2", "8", "1767312000.50")]
RECORDS = [{"user": 1, "item": 7, "at": 1767225600}, {"user": "2", "item": 8, "at": 1767312000.5}]


def test_json_of_any_layout_is_read_whole_or_refused(spark: SparkSession, tmp_path: Path) -> None:
    one, two = (json.dumps(record).replace("000.5", "000.50") for record in RECORDS)
    indented = json.dumps(RECORDS, indent=2).replace("000.5", "000.50")
    read = {
        "lines": f"{one}\n{two}\n",
        "windows": f"\ufeff{one}\r\n\r\n{two}",
        "array": f"[{one},{two}]",
        "array of lines": f"[\n{one},\n{two}\n]\n",
        "indented": indented,
        "marked": f"\ufeff{indented}",
        "arrays in lines": f"[{one}]\n[{two}]",
    }
    several = "has several JSON documents one after the other; expected one array, or an object on each line"
    refused = {
        "indented one after the other": (f"{one[:-1]}\n}}\n{two[:-1]}\n}}\n", several),
        "arrays one after the other": (f"[\n{one}]\n[\n{two}]", several),
        "in one line": (f"{one}{two}\n", "has several JSON objects in one line"),
        "cut off": (indented[:-3], "is no complete JSON document"),
        "csv": ("user,item,at\n1,7,5\n", "is no JSON, it begins with 'user,item,at'"),
        "nested": ('{"user": [1], "item": 1, "at": 5}\n', "column user is array<string>; expected text, a number"),
    }
    for name, text in read.items():
        (tmp_path / name).write_text(text, encoding="utf-8", newline="")
        assert _read(spark, tmp_path / name, "json") == ROWS, name
    for name, (text, said) in refused.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert said in _refused(spark, tmp_path / name, "json"), name
    (tmp_path / "wide").write_text(read["lines"], encoding="utf-16")
    assert "begins with the mark of UTF-16" in _refused(spark, tmp_path / "wide", "json")


def test_text_in_any_encoding_that_may_be_set_is_read(spark: SparkSession, tmp_path: Path) -> None:
    names = {
        "UTF-8": "żółw🐢",
        "utf-8-sig": "żółw",
        "UTF-16": "żółw🐢",
        "UTF-32": "żółw🐢",
        "utf_16_le": "żółw",
        "UTF-16BE": "żółw",
        "ISO-8859-1": "Crème",
        "latin1": "Crème",
        "windows-1252": "Crème – 5 €",
        "cp1251": "Ёлка",
        "KOI8-R": "ёлка",
        "Shift_JIS": "ソ表名",
        "GB18030": "名表",
        "EUC-KR": "이름",
        "Big5": "名表",
    }
    for encoding, name in names.items():
        path = tmp_path / encoding
        path.write_bytes(f'user,item,at,{name}\r\nu1,"{name}",5,x\r\nu2,b,6,y\r\n'.encode(encoding))
        found = _read(spark, path, encoding=encoding, wanted=["user", "item", "at", name])
        assert found == [("u1", name, "5", "x"), ("u2", "b", "6", "y")], encoding
    for encoding in ("cp037", "utf-7", "rot13", "nonsense", ""):
        with pytest.raises(ValueError, match="is no encoding that is read"):
            _layout(encoding=encoding)
    late = tmp_path / "late"
    late.write_bytes(b"user,item,at\n" + b"u1,abcdefgh,5\n" * 6_000 + b"u2,caf\xe9,5\n")
    keys = {"user_id": "string", "item_id": "string"}
    made = context(spark, tmp_path / "t", events={"columns": COLUMNS}, keys=keys)
    assert ingest_events(made, str(late)).reasons == {"item_id has a character that is not in the encoding": 1}


PLAIN = b"user,item,at\n1,7,1767225600\n2,8,1767312000.50\n"


def _zipped(name: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr(name, PLAIN)
    return packed.getvalue()


def _parquet() -> bytes:
    written = io.BytesIO()
    pq.write_table(pa.table({"user": [1], "item": [7], "at": [T0]}), written)
    return written.getvalue()


def test_a_file_is_what_its_first_bytes_say(spark: SparkSession, tmp_path: Path) -> None:
    zstd = pa.Codec("zstd").compress(PLAIN, asbytes=True)
    read = {"a.csv.gz": gzip.compress(PLAIN), "a.csv.bz2": bz2.compress(PLAIN), "a.csv.zst": zstd, "A.CSV": PLAIN}
    for name, content in read.items():
        (tmp_path / name).write_bytes(content)
        assert _read(spark, tmp_path / name) == ROWS, name
    refused = {
        ("gzip.csv", "csv"): (gzip.compress(PLAIN), "is packed by gzip; expected its name to end in .gz"),
        ("plain.csv.gz", "csv"): (PLAIN, "is not packed; expected its name to not end in .gz"),
        ("bz.csv.gz", "csv"): (bz2.compress(PLAIN), "is packed by bz2; expected its name to end in .bz2"),
        ("zip.csv", "csv"): (_zipped("a.csv"), "is a ZIP archive"),
        ("a.zip", "csv"): (_zipped("a.csv"), "is a ZIP archive"),
        ("book.xlsx", "csv"): (_zipped("xl/workbook.xml"), "save the sheet as CSV"),
        ("page.csv", "csv"): (b"\n<!DOCTYPE html><html>404</html>", "is a web page"),
        ("page.json", "json"): (b"<html>404</html>", "is a web page"),
        ("lines.csv", "csv"): (b'{"user": 1}\n', "is JSON; expected columns as csv. Say format: json"),
        ("parquet.csv", "csv"): (_parquet(), "is a Parquet file: say format: parquet"),
        ("csv.parquet", "parquet"): (PLAIN, "it is something else, beginning with 'user,item,at?1,7"),
        ("gzip.parquet", "parquet"): (gzip.compress(_parquet()), "it is packed by gzip: unpack it"),
        ("cut.parquet", "parquet"): (_parquet()[:-20], "could not be read as Parquet"),
        ("noise.csv", "csv"): (bytes(range(256)) * 8, "is no text"),
        ("latin.csv", "csv"): (
            "user,item,at\n1,é,5\n".encode("latin-1"),
            "the byte 0xE9 in line 2, which is not UTF-8",
        ),
        ("wide.csv", "csv"): (PLAIN.decode().encode("utf-16"), "begins with the mark of UTF-16"),
        ("unmarked.csv", "csv"): (PLAIN.decode().encode("utf-16-le"), "but perhaps in UTF-16LE"),
        ("a.db", "csv"): (b"SQLite format 3\0" + bytes(100), "is a SQLite database"),
    }
    for (name, kind), (content, said) in refused.items():
        (tmp_path / name).write_bytes(content)
        told = _refused(spark, tmp_path / name, kind)
        assert said in told, name
        assert told.startswith(str(tmp_path / name)), told
    table = tmp_path / "table"
    spark.createDataFrame([(1, 7, T0)], "user long, item long, at long").write.format("delta").save(str(table))
    assert "is a Delta table, whose files hold deleted rows, too" in _refused(spark, table, "parquet")
    assert "there is no Delta table here" in _refused(spark, tmp_path, "delta")


def test_headers_of_other_tools(spark: SparkSession, tmp_path: Path) -> None:
    """The index that pandas writes has no name; what nobody asks for may stand there twice."""
    read = {
        "index": ",user,item,at\n0,1,7,5\n",
        "twice": "user,note,item,Note,at\n1,a,7,b,5\n",
        "odd": '"user",item,at,a.b,"c`d","x, y"\n1,7,5,1,2,3\n',
    }
    for name, text in read.items():
        (tmp_path / name).write_text(text)
        assert _read(spark, tmp_path / name) == [("1", "7", "5")], name
    (tmp_path / "wanted twice").write_text("user,item,at,USER\n1,7,5,2\n")
    assert "names a column twice, whatever the case: user" in _refused(spark, tmp_path / "wanted twice")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.csv").write_text("user,item,at\n1,7,5\n")
    (tmp_path / "folder" / "b.csv").write_text("item,user,at\n7,1,5\n")
    assert "b.csv has the header item, user, at, and" in _refused(spark, tmp_path / "folder")


@pytest.mark.parametrize("events", [{"query": "SELECT 1"}, {"table": "e", "mark": {"column": "at"}}])
def test_a_file_of_a_database_that_is_not_there_is_not_made(
    spark: SparkSession, tmp_path: Path, events: dict[str, Any]
) -> None:
    made = context(spark, tmp_path / "t", events={"columns": COLUMNS, **events})
    with pytest.raises(InputError, match=f"{tmp_path}/shop.db: no such file"):
        ingest_events(made, f"sqlite:///{tmp_path}/shop.db")
    assert not (tmp_path / "shop.db").exists()


def test_values_of_a_database_are_those_of_a_file(spark: SparkSession, tmp_path: Path) -> None:
    """Whole numbers in a column of floats are whole, digits stay, and what is no value is told by its column."""
    with sqlite3.connect(tmp_path / "app.db") as database:
        database.execute("CREATE TABLE e (user REAL, item, at TEXT, extra BLOB)")
        rows = [(17001, 9007199254740993, "2026-01-05T12:30:00.5+01:00", b"\x00"), (17002, "0042", "2026-01-05", None)]
        database.executemany("INSERT INTO e VALUES (?, ?, ?, ?)", [*rows, (1.5, "a", "12:30", b"x")])
    database.close()
    source, keys = f"sqlite:///{tmp_path / 'app.db'}", {"user_id": "string", "item_id": "string"}

    def made(query: str, **columns: str) -> Any:
        events = {"columns": COLUMNS | columns, "query": query, "time": "iso", "max_bad_share": 0.5}
        return context(spark, tmp_path / "t", events=events, keys=keys)

    report = ingest_events(made("SELECT user, item, max(at), at, extra FROM e GROUP BY user"), source)
    table = made("").tables.table("user_history").read()
    found = table.selectExpr("user_id", "item_ids[0]", "unix_micros(last_event_at)").collect()
    assert {tuple(row) for row in found} == {
        ("17001", "9007199254740993", 1767612600_500000),
        ("17002", "0042", 1767571200_000000),
    }
    assert report.reasons == {"time is not readable": 1}
    refused = {
        "column extra has values of type bytes; expected text, a number or a time": made(
            "SELECT * FROM e", item_id="extra"
        ),
        "the query names a column twice: user, item, at, user": made("SELECT user, item, at, user FROM e"),
        "no such table: nowhere": made("SELECT * FROM nowhere"),
    }
    for said, wrong in refused.items():
        with pytest.raises(InputError, match=re.escape(said)):
            ingest_events(wrong, source)


def _opened(made: Any) -> Any:
    return open_inputs(made.tables, made.settings, made.keys)
