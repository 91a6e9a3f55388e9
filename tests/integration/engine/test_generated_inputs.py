"""Whatever is delivered, both engines make the same of it: reports, histories with their hashes, and the quarantine."""

import json
import random
import re
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
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
TOLD = ["error", "rows_read", "rows_good", "rows_bad", "users_changed", "items_beyond", "users_beyond", "reasons"]
# by the embedded engine only, in words: docs/engines.md
REFUSED = r"has a quote that is not closed on its line|has the character U\+001F"


@pytest.fixture(scope="module")
def both(spark: SparkSession) -> Iterator["Both"]:
    with kept_embedded(TZ="America/New_York") as ours:  # on which nothing is to depend
        yield Both(spark, ours, _floats(spark))


def _floats(spark: SparkSession) -> list[float]:
    """Odd numbers and any, without those that Java before 19 writes with a digit too many: docs/engines.md."""
    dice = random.Random(5)
    some = [0.0, -0.0, 7.0, 7.5, 0.1, 1e7, 1.5e-5, 0.001, 2.0**24, 2.0**53, 1e10, -3.0, 3.4e38, 1e300, 123456.789]
    any_bits = [struct.unpack("d", dice.randbytes(8))[0] for _ in range(100)]
    rows = spark.createDataFrame([(one,) for one in [*some, *any_bits]], "d double")
    said = rows.selectExpr("d", "string(d)", "string(float(d))").collect()
    with np.errstate(all="ignore"):  # some are beyond a float
        short = [row[0] for row in said if _same(row[1], row[0]) and _same(row[2], np.float32(row[0]))]
    assert len(short) > 50
    return [float("nan"), float("inf"), float("-inf"), *short]


def _same(said: str, number: Any) -> bool:
    return not np.isfinite(number) or Decimal(said) == Decimal(str(number))


@dataclass(frozen=True)
class Both:
    """What the two engines do with the same deliveries."""

    spark: SparkSession
    ours: Callable[..., list[dict[str, Any]]]
    floats: list[float]

    def same(self, draw: Callable[..., Any], dice: random.Random, at: Path) -> None:
        """Two deliveries, of which the second is taken by the same engine as the first, or by the other one."""
        keys = draw(st.fixed_dictionaries(dict.fromkeys(("user_id", "item_id"), st.sampled_from(["long", "string"]))))
        shape = {"max_items": draw(st.sampled_from([1, 3, 200])), "buckets": draw(st.sampled_from([1, 8]))}
        believable = {
            "weight_range": draw(st.sampled_from([[0, 10], [-1e308, 1e308], [-0.5, 4e38]])),
            "not_before": draw(st.sampled_from([1900, 1970, 2023])),
            "future_tolerance": draw(st.sampled_from(["1d", "2900000d"])),
            "max_bad_share": 1.0,
        }
        names = draw(st.sampled_from([["one", "two"], ["two", "one"]]))
        at.mkdir()
        for number, (mine, theirs) in enumerate([("one", "two"), names]):
            delivery = draw(deliveries(dice, self.floats, **believable))
            one, two = (
                context(self.spark, at / name, events=dict(delivery.events), keys=keys, histories=shape)
                for name in (mine, theirs)
            )
            source = delivery.write(at / f"{number}.{delivery.events['format']}")
            (here,), there = self.ours(one, ("ingest", source)), _by_spark(two, source)
            if re.search(REFUSED, here.get("error", "")):
                return
            assert {key: here.get(key) for key in TOLD} == {key: there.get(key) for key in TOLD}
            for name, without in (("user_history", ()), ("quarantine", ("ingested_at",))):
                ours, spark = table(one, name, *without), table(two, name, *without)
                assert (ours - spark, spark - ours) == (Counter(), Counter()), name


def _by_spark(made: Context, source: str) -> dict[str, Any]:
    try:
        report = ingest_events(open_context(made.settings, now=made.now, spark=made.spark), source)
        return json.loads(report.to_json())  # type: ignore[no-any-return]
    except ScorelineError as error:
        return {"error": f"{type(error).__name__}: {error}"}


def table(made: Context, name: str, *without: str) -> Counter[str]:
    """The rows, times as the numbers that are stored."""
    rows = made.tables.table(name).read().drop(*without).toArrow()
    of_times = {pa.timestamp("us", "UTC"): pa.int64(), pa.list_(pa.timestamp("us", "UTC")): pa.list_(pa.int64())}
    columns = [column.cast(of_times.get(column.type, column.type)) for column in rows.columns]
    return Counter(map(repr, pa.table(columns, rows.column_names).to_pylist()))


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("begin", "examples"), [(0, 2), *(pytest.param(n, 10, marks=pytest.mark.slow) for n in range(1, 9))]
)
def test_any_delivery(both: Both, tmp_path: Path, begin: int, examples: int) -> None:
    """The four of a seed, and eighty of others."""
    numbers = count()

    @seed(begin)
    @settings(
        max_examples=examples,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(data=st.data())
    def any_delivery(data: st.DataObject) -> None:
        number = next(numbers)
        both.same(data.draw, random.Random(100 * begin + number), tmp_path / f"{number}")

    any_delivery()
