"""One grammar: what a value means, whatever the file, the type of the column and the session's time zone."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from builders import settings
from scoreline.errors import InputError
from scoreline.sources.values import instant, key, number, require_kinds

pytestmark = pytest.mark.both  # each engine casts in its own way

# text: the whole number and the number it is (None: it is none)
NUMBERS: dict[str, tuple[int | None, float | None]] = {
    "5": (5, 5.0),
    " 5 ": (5, 5.0),
    "+5": (5, 5.0),
    "-5": (-5, -5.0),
    "007": (7, 7.0),
    "17001.0": (17001, 17001.0),
    "17001.00": (17001, 17001.0),
    "17001.5": (None, 17001.5),
    "9007199254740993": (9007199254740993, 9007199254740992.0),
    "9223372036854775807": (2**63 - 1, 2.0**63),
    "9223372036854775808": (None, 2.0**63),
    "-0": (0, 0.0),
    "-0.0": (0, 0.0),
    ".5": (None, 0.5),
    "0.1": (None, 0.1),
    "1e3": (None, 1000.0),
    "1.7E+09": (None, 1.7e9),
    "1e400": (None, float("inf")),
    "Infinity": (None, float("inf")),
    **dict.fromkeys(
        ["", "5d", "5f", "5D", "0x10", "1_000", "1,5", "1.000,5", "5.", "5 5", "\t5", "\u00a05", "５", "٥", "²", "NaN",
         "nan", "true", "t", "yes", "None", "null", "1e", "e5", "--5", "$5", "5%", "5L", "1e3d", "infinite"],
        (None, None),
    ),
}  # fmt: skip

NOON = datetime(2024, 1, 5, 12, 30, tzinfo=UTC)
MIDNIGHT = datetime(2024, 1, 5, tzinfo=UTC)
# text: the time it is under `iso` (None: it is none)
TIMES: dict[str, datetime | None] = {
    "2024-01-05": MIDNIGHT,
    "2024-01-05T12:30": NOON,
    "2024-01-05 12:30:00": NOON,
    "2024-01-05T12:30:00Z": NOON,
    "2024-01-05T12:30Z": NOON,
    "2024-01-05 12:30:00 UTC": NOON,
    "2024-01-05T14:30+02:00": NOON,
    "2024-01-05T14:30:00+0200": NOON,
    "2024-01-05 07:30:00-05": NOON,
    "2024-01-05T12:30:00.000000999": NOON,
    "2024-01-05T12:30:00.123456Z": NOON.replace(microsecond=123456),
    "2024-03-10 02:30:00": datetime(2024, 3, 10, 2, 30, tzinfo=UTC),
    **dict.fromkeys(
        ["", "12:30", "12:30:00", "T12:30", "2024-1-5", "20240105", "2024", "2024-01", "05.01.2024", "1/5/2024",
         "5 Jan 2024", "1704457800", "1704457800.0", "2024-01-05T12:30:00 Europe/Berlin", "2024-01-05T12:30:00 CET",
         "2024-02-30",
         "2024-13-01", "2024-01-05T24:00:00", "2024-01-05T12:30:60", "2024-01-05T25:00", "2024-01-05T12", "2024-01-05Z",
         "2024-01-05T12:30:00.", "2024-01-05T12:30:00,5", "+2024-01-05", "２０２４-01-05", "today", "now", "epoch",
         "2024-W01-5",          "2024-01-05T12:30:00+99:00", "-2024-01-05"],
        None,
    ),
}  # fmt: skip


@pytest.fixture
def elsewhere(spark: SparkSession) -> Any:
    """A session that is in another time zone, as one that is not ours may be."""
    spark.conf.set("spark.sql.session.timeZone", "America/New_York")
    yield spark
    spark.conf.set("spark.sql.session.timeZone", "UTC")


def _texts(spark: SparkSession, texts: Any) -> Any:
    return spark.createDataFrame([(text,) for text in texts], "v string").coalesce(1)


def test_text_is_a_number_or_a_time_in_one_notation_only(elsewhere: SparkSession) -> None:
    text = T.StringType()
    rows = _texts(elsewhere, NUMBERS).select("v", key("v", text, "long"), number("v", text), key("v", text, "string"))
    found = [tuple(row) for row in rows.collect()]
    assert found == [(text, *NUMBERS[text], text.strip(" ") or None) for text in NUMBERS]
    assert not [value for _, _, value, _ in found if value == 0 and str(value) == "-0.0"]
    micros = F.unix_micros(instant("v", text, "iso"))
    assert {row[0]: row[1] for row in _texts(elsewhere, TIMES).select("v", micros).collect()} == {
        text: at and _micros(at) for text, at in TIMES.items()
    }


def _micros(at: datetime) -> int:
    return round(at.timestamp()) * 1_000_000 + at.microsecond


def test_a_pattern_and_an_epoch_give_the_same_time_everywhere(elsewhere: SparkSession) -> None:
    text = T.StringType()
    cases = {
        "M/d/yyyy H:mm": {"1/5/2024 12:30": NOON, "13/5/2024 12:30": None, "1/5/2024": None, "1/5/24 12:30": None},
        "yyyy-MM-dd'T'HH:mmXXX": {"2024-01-05T14:30+02:00": NOON},
        "yyyyMMdd": {"20240105": MIDNIGHT, "2024-01-05": None},
        "epoch_seconds": {"1704457800": NOON, "1704457800.0": NOON, "1.7044578e9": NOON, "-1": None, "12:30": None,
                          "1704457800d": None, "1704457800000000000": None, "NaN": None, "": None},
        "epoch_millis": {"1704457800000": NOON, "1704457800000.0": NOON, "0x1": None},
    }  # fmt: skip
    for how, texts in cases.items():
        rows = _texts(elsewhere, texts).select("v", F.unix_micros(instant("v", text, how))).collect()
        assert {row[0]: row[1] for row in rows} == {text: at and _micros(at) for text, at in texts.items()}, how


def test_a_column_of_any_type_means_what_its_text_would(elsewhere: SparkSession) -> None:
    """Per type: the value, the id as a long and as text, the number, and the time if it is one."""
    digits = 2**53
    cases: list[tuple[str, Any, int | None, str | None, float | None]] = [
        ("tinyint", 7, 7, "7", 7.0),
        ("int", -7, -7, "-7", -7.0),
        ("bigint", digits + 1, digits + 1, str(digits + 1), float(digits)),
        ("double", 17001.0, 17001, "17001", 17001.0),
        ("double", 12345678.0, 12345678, "12345678", 12345678.0),
        ("double", 1.5, None, None, 1.5),
        ("double", float(digits), None, None, float(digits)),
        ("double", -0.0, 0, "0", 0.0),
        ("double", float("nan"), None, None, None),
        ("double", float("inf"), None, None, float("inf")),
        ("float", 16777215.0, 16777215, "16777215", 16777215.0),
        ("float", 16777216.0, None, None, 16777216.0),
        ("float", 0.1, None, None, 0.1),
        ("decimal(10,2)", Decimal("5.00"), 5, "5", 5.0),
        ("decimal(10,2)", Decimal("5.25"), None, None, 5.25),
        ("decimal(20,0)", Decimal(2**64 - 1), None, str(2**64 - 1), 2.0**64),
        ("string", "005", 5, "005", 5.0),
    ]
    kinds = sorted({case[0] for case in cases})
    schema = T.StructType([T.StructField(kind, T._parse_datatype_string(kind)) for kind in kinds])
    rows = elsewhere.createDataFrame([tuple(c[1] if c[0] == kind else None for kind in kinds) for c in cases], schema)
    columns = [(key(k, f.dataType, "long"), key(k, f.dataType, "string"), number(k, f.dataType)) for k, f in
               zip(kinds, schema, strict=True)]  # fmt: skip
    found = rows.coalesce(1).select(*[F.struct(*three) for three in columns]).collect()
    assert [tuple(row[kinds.index(case[0])]) for row, case in zip(found, cases, strict=True)] == [c[2:] for c in cases]


def test_times_of_any_type_are_in_utc(elsewhere: SparkSession) -> None:
    kinds: dict[str, tuple[Any, str]] = {
        "timestamp": ("timestamp'2024-01-05 12:30:00Z'", "iso"),
        "timestamp_ntz": ("timestamp_ntz'2024-01-05 12:30:00'", "epoch_seconds"),
        "bigint": ("1704457800000L", "epoch_millis"),
        "double": ("1704457800D", "epoch_seconds"),
        "decimal(12,1)": ("1704457800.0", "epoch_seconds"),
    }
    rows = elsewhere.sql(
        "SELECT " + ", ".join(f"{sql} AS `{name}`" for name, (sql, _) in kinds.items()) + ", date'2024-03-10' AS d"
    )
    times = [instant(name, rows.schema[name].dataType, how) for name, (_, how) in kinds.items()]
    found = rows.select(*[F.unix_micros(time) for time in [*times, instant("d", T.DateType(), "iso")]]).first()
    assert found is not None
    day = datetime.combine(date(2024, 3, 10), datetime.min.time(), UTC)
    assert list(found) == [_micros(NOON)] * len(kinds) + [_micros(day)]


@pytest.mark.spark  # its words for a type
def test_a_type_that_cannot_be_what_it_is_mapped_to_is_told_by_the_schema() -> None:
    nested = ("binary", "boolean", "array<string>", "map<string,int>", "struct<a:int>", "variant", "void")
    other = "expected text or a number. Map another column."
    refused = {
        **{("user_id", kind): f"{kind}; expected text, a number or a time. Map another column." for kind in nested},
        ("item_id", "interval day to second"): "interval day to second; expected text, a number or a time.",
        ("item_id", "timestamp"): f"timestamp, and it is mapped to item_id; {other}",
        ("weight", "date"): f"date, and it is mapped to weight; {other}",
        ("time", "bigint"): "bigint, and time: iso reads text. Say epoch_seconds, epoch_millis or a pattern.",
    }
    for (role, kind), said in refused.items():
        with pytest.raises(InputError) as caught:
            require_kinds(_one(kind), {role: "c"}, "events.parquet")
        assert str(caught.value).startswith(f"events.parquet: column c is {said}")
    for role, kind in (("kind", "boolean"), ("user_id", "date"), ("time", "timestamp_ntz"), ("weight", "decimal(9,2)")):
        require_kinds(_one(kind), {role: "c"}, "events.parquet")


def _one(kind: str) -> T.StructType:
    return T.StructType([T.StructField("c", T._parse_datatype_string(kind))])


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("HH:mm", "'HH:mm' gives no date; expected year, month and day"),
        ("MM/dd HH:mm", "gives no date"),
        ("YYYY-MM-dd", "Y stands for nothing"),
        ("foo", "is no datetime pattern: f stands for nothing"),
        ("yyyy-MM-dd'T'HH:mm", None),
        ("iso", None),
    ],
)
def test_a_pattern_says_a_date(how: str, said: str | None) -> None:
    events = {"columns": {"user_id": "u", "item_id": "i", "time": "t"}, "time": how}
    if said is None:
        assert settings(events=events).events
        return
    with pytest.raises(ValueError, match=said):
        settings(events=events)
