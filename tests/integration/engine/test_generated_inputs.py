"""Whatever is delivered, both engines make the same of it: reports, histories with their hashes, and the quarantine."""

import json
import random
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from pyspark.sql import SparkSession

from builders import context
from embedded import kept_embedded
from integration.engine.deliveries import deliveries
from scoreline.context import Context, open_context
from scoreline.errors import ScorelineError
from scoreline.ingest.ingest import ingest_events

pytest.importorskip("pysail")
pytestmark = pytest.mark.spark  # it compares with it
TOLD = ("error", "rows_read", "rows_good", "rows_bad", "users_changed", "items_beyond", "users_beyond", "reasons", "drift")
REFUSED = r"has a quote that is not closed on its line|has the character U\+001F"  # here only, in words: docs/engines.md


@pytest.fixture(scope="module")
def ours() -> Iterator[Callable[..., list[dict[str, Any]]]]:
    with kept_embedded(TZ="America/New_York") as done:  # which nothing is to depend on
        yield done


@pytest.fixture(scope="module")
def floats(spark: SparkSession) -> list[float]:
    """Odd numbers and any, without those that Java before 19 writes with a digit too many: docs/engines.md."""
    dice = random.Random(5)
    any_bits = [struct.unpack("d", dice.randbytes(8))[0] for _ in range(100)]
    some = [0.0, -0.0, 7.0, 7.5, 0.1, 1e7, 1.5e-5, 0.001, 2.0**24, 2.0**53, 1e10, -3.0, 3.4e38, 1e300, 123456.789]
    rows = spark.createDataFrame([(one,) for one in [*some, *any_bits]], "d double")
    said = rows.selectExpr("d", "string(d)", "string(float(d))").collect()
    with np.errstate(all="ignore"):  # some are beyond a float
        short = [row[0] for row in said if _same(row[1], row[0]) and _same(row[2], np.float32(row[0]))]
    assert len(short) > 50
    return [float("nan"), float("inf"), float("-inf"), *short]


def _same(said: str, number: Any) -> bool:
    return not np.isfinite(number) or Decimal(said) == Decimal(str(number))


def table(made: Context, name: str, *without: str) -> Counter[str]:
    """The rows, times as what is stored."""
    rows = made.tables.table(name).read().drop(*without).toArrow()
    plain = [column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column for column in rows.columns]
    lists = [
        column.cast(pa.list_(pa.int64())) if column.type == pa.list_(pa.timestamp("us", "UTC")) else column
        for column in plain
    ]
    return Counter(map(repr, pa.table(lists, rows.column_names).to_pylist()))


def by_spark(made: Context, source: str) -> dict[str, Any]:
    try:
        report = ingest_events(open_context(made.settings, now=made.now, spark=made.spark), source)
        return json.loads(report.to_json())  # type: ignore[no-any-return]
    except ScorelineError as error:
        return {"error": f"{type(error).__name__}: {error}"}


def same_of_both(spark: SparkSession, ours: Callable[..., list[dict[str, Any]]], draw: Any, floats: Any, at: Path) -> None:
    keys = draw(st.fixed_dictionaries(dict.fromkeys(("user_id", "item_id"), st.sampled_from(["long", "string"]))))
    shape = {"max_items": draw(st.sampled_from([1, 3, 200])), "buckets": draw(st.sampled_from([1, 8]))}
    believable = {
        "weight_range": draw(st.sampled_from([[0, 10], [-1e308, 1e308], [-0.5, 4e38]])),
        "not_before": draw(st.sampled_from([1900, 1970, 2023])),
        "future_tolerance": draw(st.sampled_from(["1d", "2900000d"])),
        "max_bad_share": 1.0,
    }
    swapped = draw(st.booleans())
    spark.conf.set("spark.sql.session.timeZone", draw(st.sampled_from(["UTC", "America/New_York", "Asia/Kathmandu"])))
    at.mkdir()
    for number in range(2):
        delivery = draw(deliveries(floats, **believable))
        one, two = (
            context(spark, at / name, events=dict(delivery.events), keys=keys, histories=shape)
            for name in (("one", "two") if number == 0 or not swapped else ("two", "one"))
        )
        source = delivery.write(at / f"{number}.{delivery.events['format']}")
        (mine,), theirs = ours(one, ("ingest", source)), by_spark(two, source)
        if re.search(REFUSED, mine.get("error", "")):
            return
        assert {key: mine.get(key) for key in TOLD} == {key: theirs.get(key) for key in TOLD}
        for name, without in (("user_history", ()), ("quarantine", ("ingested_at",))):
            here, there = table(one, name, *without), table(two, name, *without)
            assert (here - there, there - here) == (Counter(), Counter()), name


@pytest.mark.parametrize("examples", [6, pytest.param(120, marks=pytest.mark.slow)])
def test_any_delivery(
    spark: SparkSession, ours: Any, floats: list[float], tmp_path: Path, examples: int
) -> None:
    numbers = count()

    @settings(max_examples=examples, derandomize=True, deadline=None, phases=[Phase.generate], database=None, suppress_health_check=list(HealthCheck))
    @given(data=st.data())
    def any_delivery(data: st.DataObject) -> None:
        same_of_both(spark, ours, data.draw, floats, tmp_path / f"{next(numbers)}")

    any_delivery()
