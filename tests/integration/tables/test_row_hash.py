"""Rows of features that differ have other hashes; what is stored stays what it is."""

from datetime import UTC, date, datetime
from decimal import Decimal
from itertools import product
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.engine.engine import engine_of
from scoreline.ingest.histories import bucket_of
from scoreline.tables.row_hash import row_hash

pytestmark = pytest.mark.both  # a hash that differs makes everybody due

NAN = float("nan")
AT, LATER = (datetime(2026, 7, 1, 3, 0, 0, micros, tzinfo=UTC) for micros in (1, 2))

# per type, values that a careless hash takes for one another
VALUES: dict[str, list[Any]] = {
    "string": [None, "", "a", "b", "null", "5.0"],
    "double": [None, 0.0, -0.0, 5.0, NAN, float("inf")],
    "float": [None, 0.0, -0.0, 5.0, NAN],
    "int": [None, 0, 1, 5],
    "boolean": [None, False, True],
    "decimal(20,2)": [None, Decimal("0.00"), Decimal("5.00")],
    "binary": [None, b"", b"\x00", b"a"],
    "date": [None, date(2026, 7, 1)],
    "timestamp": [None, AT, LATER],
    "array<int>": [None, [], [None], [0], [1, 2], [1, None, 2], [None, 1, 2], [12]],
    "array<array<int>>": [None, [], [[]], [[], []], [[1], [2]], [[1, 2], []], [[], [1, 2]], [[1, 2]], [None], [[None]]],
    "array<double>": [None, [0.0], [-0.0], [NAN], [None]],
    "map<string,int>": [None, {}, {"a": None}, {"a": 1}, {"b": 1}, {"": 1}],
    "struct<x:string,y:string>": [None, (None, None), ("a", None), (None, "a"), ("", None), ("a", "a")],
    "struct<x:array<timestamp>,y:double>": [None, ([AT], 0.0), ([LATER], 0.0), ([AT], -0.0), ([], 0.0)],
    "array<struct<x:int,y:int>>": [
        None, [(1, None)], [(None, 1)], [(1, None), (None, 1)], [(None, 1), (1, None)], [None],
    ],
}  # fmt: skip
PAIRS = [
    ("string", "double"),
    ("double", "string"),
    ("array<int>", "array<int>"),
    ("int", "boolean"),
    ("float", "float"),
]


def hashes(spark: SparkSession, columns: dict[str, str], rows: list[Any]) -> list[int]:
    frame = spark.createDataFrame(rows, ", ".join(f"{name} {kind}" for name, kind in columns.items()))
    fields = [(F.col(name), frame.schema[name].dataType) for name in columns]
    return [row[0] for row in frame.select(row_hash(fields, engine_of(spark))).collect()]


def test_values_that_differ_have_other_hashes(spark: SparkSession) -> None:
    for kind, values in VALUES.items():
        found = hashes(spark, {"a": kind}, [(value,) for value in values])
        assert len(set(found)) == len(values), kind
    for first, second in PAIRS:
        rows = list(product(VALUES[first], VALUES[second]))
        assert len(set(hashes(spark, {"a": first, "b": second}, rows))) == len(rows), (first, second)


def test_a_null_is_where_it_is(spark: SparkSession) -> None:
    rows = [("a", None, 5.0), ("a", 5.0, None), (None, 5.0, None), ("a", None, None)]
    assert len(set(hashes(spark, {"a": "string", "b": "double", "c": "double"}, rows))) == 4


def test_a_hash_is_that_of_earlier_versions(spark: SparkSession) -> None:
    """Another one would make every row of every table due, and split the buckets of those that exist."""
    found = hashes(spark, {"a": "string", "b": "double", "c": "array<int>"}, [("a", None, [1, None]), (None, -0.0, [])])
    assert found == GOLDEN_ROWS
    ids = spark.createDataFrame([(0, "0"), (42, "42"), (-7, "0042"), (2**62, "ä")], "long_id long, text_id string")
    buckets = ids.select(bucket_of(F.col("long_id"), 64), bucket_of(F.col("text_id"), 64)).collect()
    assert [tuple(row) for row in buckets] == GOLDEN_BUCKETS


GOLDEN_ROWS = [-6982495515573359584, -1314716414483109736]
GOLDEN_BUCKETS = [(44, 52), (30, 63), (25, 16), (25, 41)]


@pytest.mark.skipif(not hasattr(T, "VariantType"), reason="Spark 3.5 has no variants")
def test_variants_that_differ_have_other_hashes(spark: SparkSession) -> None:
    said = [
        "null",
        "0",
        "-1",
        '"0"',
        '"a"',
        "[]",
        "[null]",
        "[1, 2]",
        "[12]",
        "{}",
        '{"a": null}',
        '{"a": 1}',
        '{"b": 1}',
    ]
    frame = spark.createDataFrame([(text,) for text in said], "text string").select(F.parse_json("text").alias("a"))
    frame = frame.unionByName(spark.sql("SELECT CAST(NULL AS VARIANT) AS a"))
    hashed = row_hash([(F.col("a"), frame.schema["a"].dataType)], engine_of(spark))
    found = [row[0] for row in frame.select(hashed).collect()]
    assert len(set(found)) == len(said) + 1
