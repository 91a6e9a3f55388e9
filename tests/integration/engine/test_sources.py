"""What the embedded engine reads, beside Spark: the same histories and quarantine, reasons included, row for row."""

import json
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from builders import NOW, context
from embedded import embedded, rows
from integration.databases.server import jdbc_driver, postgres
from scoreline.errors import ScorelineError
from scoreline.ingest.ingest import ingest_events

pytestmark = pytest.mark.spark  # it compares with it

pytest.importorskip("pysail")
T0 = 1_700_000_000
COLUMNS = {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}


@pytest.fixture
def both(spark: SparkSession, tmp_path: Path) -> Any:
    """Ingests a source by both engines, and compares what they say and what is in the tables."""

    def compared(source: Path | str, **events: Any) -> tuple[Any, list[Any], list[Any]]:
        name = f"{len(list(tmp_path.glob('tables-*')))}"
        given = {"columns": COLUMNS, "weight_range": [0, 10], "max_bad_share": 1.0} | events
        keys = given.pop("keys", {})
        one = context(spark, tmp_path / f"tables-{name}-embedded", events=given, keys=keys)
        two = context(spark, tmp_path / f"tables-{name}-spark", events=given, keys=keys, now=NOW)
        (ours,) = embedded(one, ("ingest", str(source)))
        try:
            theirs = json.loads(ingest_events(two, str(source)).to_json())
        except ScorelineError as error:
            theirs = {"error": f"{type(error).__name__}: {error}"}
        assert ours.get("error") == theirs.get("error")
        told = ("rows_read", "rows_good", "rows_bad", "users_changed", "reasons", "drift")
        assert {key: ours.get(key) for key in told} == {key: theirs.get(key) for key in told}
        histories = rows(one, "user_history")
        assert histories == rows(two, "user_history")
        quarantined = rows(one, "quarantine", without=("ingested_at",))
        assert quarantined == rows(two, "quarantine", without=("ingested_at",))
        return ours, histories, quarantined

    return compared


GOOD = [{"user": user, "item": item, "rating": 4.5, "at": T0 + item} for user in range(1, 6) for item in range(1, 9)]
ODD_LINES = [
    r'{"user":1,"item":"2","rating":null,"at":1700000000}', r"{'user':7,'item':8,'rating':1,'at':1700000000}",
    r'{"user":7,"item":9,"rating":NaN,"at":1700000000}', r'{"user":7,"item":9,"rating":+Infinity,"at":1700000000}',
    r'{"user":7,"item":9,"rating":1e1,"at":1.7e9} trailing', r'{"user":"\ud800","item":9,"rating":1,"at":5}',
    r'{"user":true,"item":9.0,"rating":1,"at":null,"more":{"a": [1, 2.50, "é"]}}', r'{"user":7', "nonsense",
    "5", "null",
    r'[{"user":8,"item":1,"rating":1,"at":1700000000},{"user":8,"item":2,"rating":1,"at":1700000001}]',
    r'[{"user":8,"item":3,"rating":1,"at":1700000000},5]', "{}", "   ",
    r'{"user":123456789012345678901234567890,"item":1,"rating":1E+400,"at":1}', r'{"user":01}', "\u2028",
    r'{"more":"x","at":"2026"}',
]  # fmt: skip
BAD_BYTES = [
    b'{"user":"caf\xe9","item":1,"rating":1,"at":1700000000}',
    b"\xff",
    b'{"user":9,"item":1,"rating":1,"at":1700000000}\xff',
]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lines_of_json(both: Any, tmp_path: Path, end: str) -> None:
    """What Spark is lenient about, what it is not, bytes that are no UTF-8, and every end of a line."""
    lines = [json.dumps(row) for row in GOOD * 400] + ODD_LINES
    text = end.join(lines).encode() + end.encode() + end.encode().join(BAD_BYTES)
    source = tmp_path / "events ü.json"
    source.write_bytes(b"\xef\xbb\xbf" + text)
    report, histories, quarantined = both(source, format="json")
    assert (len(histories), report["reasons"]["malformed line"]) == (8, 9)
    assert len(quarantined) > 12


def test_documents_of_json_in_folders(both: Any, tmp_path: Path) -> None:
    (tmp_path / "d" / "item=7").mkdir(parents=True)
    (tmp_path / "d" / "item=a%20b").mkdir()
    (tmp_path / "d" / "_SUCCESS").write_text("")
    rows_ = [{key: value for key, value in row.items() if key != "item"} for row in GOOD]
    (tmp_path / "d" / "item=7" / "x.json").write_text(json.dumps([*rows_, {"user": "x", "at": [1]}], indent=2))
    (tmp_path / "d" / "item=a%20b" / "y.json").write_text(json.dumps(rows_[:3], indent=1))
    report, histories, _ = both(tmp_path / "d", format="json")
    assert (len(histories), report["rows_bad"]) == (5, 4)


def test_parquet_of_every_type(both: Any, tmp_path: Path) -> None:
    """Two files, wide and odd columns; what is bad is written in the quarantine as Spark writes it."""
    count = 8
    none_first = [None, *range(1, count)]
    table = pa.table(
        {
            "user": pa.array([1, 2, 3, None, 5, 6, 2**40, -7], pa.int64()),
            "item": pa.array([7.0, 8.0, 1.5, 2.0**53, 9.0, float("nan"), 3.0, 4.0]),
            "rating": pa.array([1.5, 1e-7, 123456.0, 4.0, float("nan"), float("inf"), None, 10.0], pa.float32()),
            "at": pa.array([T0 * 10**9 + 123_456_789] * 7 + [-1], pa.timestamp("ns")),
            "double": [0.0, -0.0, 1e7, 1.5e-5, float("-inf"), 0.1, None, 1e300],
            "wide": pa.array([0, 2**64 - 1, 5, None, 1, 2, 3, 4], pa.uint64()),
            "small": pa.array(none_first, pa.uint8()),
            "zoned": pa.array(none_first, pa.timestamp("ms", "Europe/Berlin")),
            "day": pa.array(none_first, pa.date32()),
            "flag": [True, None] * 4,
            "bytes": [b"\x00\xff", None] * 4,
            "list": [[1.0, None, 1e7], None] * 4,
            "record": [{"a": 1, "b": None}, None] * 4,
            "map": pa.array([[("k", 1), ("j", None)], None] * 4, pa.map_(pa.string(), pa.int64())),
            "text": pa.array([b"caf\xe9", "żółw🐢".encode()] * 4, pa.binary()).view(pa.string()),
            "dict": pa.array(["a", "b"] * 4).dictionary_encode(),
            "clock": pa.array(none_first, pa.time64("us")),
            "odd. `name`": ["x", None] * 4,
        }
    )
    (tmp_path / "d").mkdir()
    pq.write_table(table, tmp_path / "d" / "1 a%.parquet", row_group_size=3)
    pq.write_table(table.slice(0, 3), tmp_path / "d" / "2.parquet", use_deprecated_int96_timestamps=False)
    report, histories, quarantined = both(tmp_path / "d", format="parquet", time="iso")
    assert (len(histories), report["rows_read"]) == (2, 11)
    assert any("1.0E7" in cell for row in quarantined for cell in row)


@pytest.mark.parametrize("kind", ["lacking", "retyped"])
def test_parquet_that_is_refused(both: Any, tmp_path: Path, kind: str) -> None:
    (tmp_path / "d").mkdir()
    pq.write_table(pa.table({"user": [1], "item": [1], "rating": [1.0], "at": [T0]}), tmp_path / "d" / "1.parquet")
    other = {"user": [1], "item": [1], "rating": [1.0]} | ({} if kind == "lacking" else {"at": ["x"]})
    pq.write_table(pa.table(other), tmp_path / "d" / "2.parquet")
    told = both(tmp_path / "d", format="parquet")[0]["error"]
    assert {"lacking": "has no column at", "retyped": "column at is"}[kind] in told


def test_a_delta_table_with_deleted_rows_and_partitions(both: Any, spark: SparkSession, tmp_path: Path) -> None:
    place = tmp_path / "source table"
    made = spark.range(400).selectExpr(
        "id % 20 AS user", "IF(id % 50 = 0, NULL, id % 7) AS item", "CAST(id % 13 AS FLOAT) AS rating",
        f"timestamp_seconds({T0} + id) AS at", "IF(id % 3 = 0, NULL, concat('p ', id % 3)) AS part",
        "CAST(id AS DOUBLE) * 1e6 AS more",
    )  # fmt: skip
    made.write.format("delta").partitionBy("part").option("delta.enableDeletionVectors", "true").save(str(place))
    spark.sql(f"DELETE FROM delta.`{place}` WHERE more % 11000000 = 0")
    _, histories, quarantined = both(place, format="delta", time="iso")
    assert (len(histories), len(quarantined) > 20) == (20, True)


def test_a_query_of_a_database(both: Any, tmp_path: Path) -> None:
    """Numbers, text, bytes, nulls and times of a column without a type of its own."""
    with sqlite3.connect(tmp_path / "app.db") as database:
        database.execute("CREATE TABLE e (user, item, rating REAL, at, extra BLOB)")
        rows_ = [(u, i, 4.5, T0 + i, None) for u in range(1, 6) for i in range(3)]
        odd = [
            ("x", 1, 2, T0, b"\x00"),
            (2.5, 1, 2, T0, None),
            (7.0, None, None, "never", b"x"),
            ("żółw", "", 1e300, 12.5, b""),
        ]
        database.executemany("INSERT INTO e VALUES (?, ?, ?, ?, ?)", [*rows_, *odd])
    database.close()
    source = f"sqlite:///{tmp_path / 'app.db'}"
    _, histories, quarantined = both(source, query='SELECT user, item, rating, at, rating * 1e9 AS "max(x)" FROM e')
    assert (len(histories), len(quarantined)) == (5, 4)


def test_lines_with_a_separator_of_two_characters(both: Any, tmp_path: Path) -> None:
    """Quoted and not, colons beside it, too few and too many of it, and one that two blocks of reading share."""
    lines = [f"{row['user']}::{row['item']}::{row['rating']}::{row['at']}::Frère:Jacques" for row in GOOD] * 6_000
    odd = [
        "7:::1::5::1700000000::x", "7::1::5::1700000000", "7::1::5::1700000000::x::y", '7::"1"::5::1700000000::"a::b"',
        '7::"2::"::5::1700000000::"a::b"::', "8::1::5::1700000000:::", "::::::::", "9::2::5::x::\"\"", "::", ":", "",
        '9::3::5::1700000000::a"b', '9::4::6::1700000000::"a""::b"', '9::4::66::1700000000::"a""::b"',
    ]  # fmt: skip
    source = tmp_path / "ratings.dat"
    source.write_bytes("\r\n".join(["user::item::rating::at::note", *lines, *odd]).encode())
    report, histories, quarantined = both(source, separator="::")
    assert (report["rows_good"] >= len(lines), len(histories) >= 6, len(quarantined) >= 7) == (True, True, True)
    unquoted = tmp_path / "unquoted.dat"
    unquoted.write_bytes("\n".join([*lines[:5], *odd[1:4]]).encode())
    both(unquoted, separator="::", quote="", fields=["user", "item", "rating", "at", "note"])


def test_bytes_that_are_no_text_in_a_late_line(both: Any, tmp_path: Path) -> None:
    """Beyond what is looked at before a file is read: each becomes U+FFFD, and an id with one is quarantined."""
    odd = [
        b"\xff",
        b"caf\xe9",
        b"\xed\xa0\x80",
        b"\xf0\x9f\x90",
        b"\xe2\x82",
        b"\xc0\xaf",
        b"\xf5\x80\x80\x80",
        "🐢".encode(),
    ]
    lines = [b"1,%s,5,1700000000" % one for one in odd] + [b"%s,1,5,1700000000" % one for one in odd]
    source = tmp_path / "late.csv"
    source.write_bytes(b"user,item,rating,at\n" + b"1,abcdefgh,5,1700000000\n" * 6_000 + b"\n".join(lines))
    keys = {"user_id": "string", "item_id": "string"}
    report, histories, _ = both(source, keys=keys)
    assert (report["rows_bad"], len(histories)) == (14, 2)
    both(source, keys=keys, encoding="ascii")


KINDS = {
    "small": ("smallint", ["1", "-32768"]),
    "whole": ("integer", ["1", "2147483647"]),
    "long": ("bigint", ["1", "-9223372036854775808"]),
    "object": ("oid", ["1", "4294967295"]),
    "single": ("real", ["0.1", "'NaN'", "1e7", "'-Infinity'"]),
    "double": ("double precision", ["0.1", "'Infinity'", "1.5e-5"]),
    "exact": ("numeric(9,2)", ["1.50", "-0.01"]),
    "any": ("numeric", ["1.5", "12345678901234567890.123456789012345678"]),
    "flag": ("boolean", ["true", "false"]),
    "text": ("text", ["''", "'żółw🐢'", "E'a\\nb\"\\\\,\\t'", "'\\N'"]),
    "short": ("varchar(9)", ["'x '"]),
    "fixed": ("char(5)", ["'ab'"]),
    "bytes": ("bytea", ["'\\x00ff'", "''"]),
    "day": ("date", ["'2026-01-02'", "'0001-01-01'", "'9999-12-31'"]),
    "clock": ("timestamp", ["'2026-01-02 03:04:05.123456'", "'1969-12-31 23:59:59.999999'"]),
    "zoned": ("timestamptz", ["'2026-01-02 03:04:05.123456+05:45'"]),
    "id": ("uuid", ["'00000000-0000-0000-0000-0000000000ff'"]),
    "json": ("jsonb", ["'{\"a\": [1, null]}'"]),
    "money": ("money", ["12.5"]),
    'odd. `x` "y"': ("text", ["'x'"]),
}


def test_a_table_of_postgresql(both: Any, spark: SparkSession) -> None:
    """Columns of every type, nulls, and rows whose every value stands in the quarantine; then what is new."""
    import psycopg

    columns = ", ".join('"' + name.replace('"', '""') + f'" {kind}' for name, (kind, _) in KINDS.items())
    jdbc_driver(spark)
    with postgres() as url, psycopg.connect(url, autocommit=True) as database:
        database.execute(f'CREATE TABLE "of events" ("user" bigint, item text, rating real, at timestamptz, {columns})')
        for number in range(6):
            values = [values[number] if number < len(values) else "NULL" for _, values in KINDS.values()]
            user = "NULL" if number % 2 else number + 1
            for item in ("7", "'x'"):
                row = f"{user}, {item}, 0.1, '2026-01-02 03:04:0{number}.5+00', {', '.join(values)}"
                database.execute(f'INSERT INTO "of events" VALUES ({row})')
        given = {"table": "public.of events", "time": "iso"}
        report, histories, quarantined = both(url, **given)
        assert (report["rows_read"], len(histories), len(quarantined)) == (12, 3, 9)
