"""Tables of features: rows, hashes and quarantine of the embedded engine are Spark's, of every type there is."""

from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import mlflow
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyspark.sql import SparkSession

from builders import context
from embedded import embedded, rows
from scoreline.pipeline.run import run
from scoreline.registry.client import quiet_mlflow

pytest.importorskip("pysail")
pytestmark = pytest.mark.spark  # it compares with it

ROWS = 12
MICROS = [0, -1, 1_700_000_000_123_456, -62_135_596_800_000_000, 253_402_300_800_000_000, 999]
FLOATS = [0.0, -0.0, float("nan"), float("inf"), float("-inf"), 1e7, 1.5e-5, 0.1, 1e300, 123456789.125, 100.0]
TEXTS = ["", "a", "żółw🐢", 'a"b\\\n\t\x01/\x7f', "x" * 100, " ", "\u2028", "null"]
DAYS = [date(1970, 1, 1), date(1, 1, 1), date(9999, 12, 31), date(1969, 12, 31)]
BYTES = [b"", b"\x00\xff", b"abc"]
WIDE = [0, 1, -1, 127, -128, 128, 2**63, -(2**63) - 1, 2**64, 10**38 - 1, 1 - 10**38]
ZONED = pa.timestamp("us", "UTC")
RECORD = pa.struct([("x", pa.float64()), ("m", pa.map_(pa.string(), pa.int32())), ('odd"name".`x`\\', pa.int16())])


def column(values: list[Any], kind: pa.DataType) -> pa.Array:
    return pa.array([*values, None, *[None] * ROWS][:ROWS], kind)


def lists(values: list[Any], kind: pa.DataType) -> pa.Array:
    return column([[*values, None], [], [None], values[:1]], pa.list_(kind))


FEATURES = {
    "tiny": column([0, -1, 127, -128], pa.int8()),
    "short": column([0, -1, 2**15 - 1], pa.int16()),
    "int": column([0, -1, 2**31 - 1], pa.int32()),
    "long": column([0, -1, 2**63 - 1, -(2**63)], pa.int64()),
    "unsigned": column([0, 2**32 - 1], pa.uint32()),
    "unsigned_long": column([0, 1, 2**63, 2**64 - 1], pa.uint64()),
    "float": column([*FLOATS[:8], 3.4e38, 16777216.0], pa.float32()),
    "double": column(FLOATS, pa.float64()),
    "flag": column([True, False], pa.bool_()),
    "text": column(TEXTS, pa.string()),
    "bytes": column(BYTES, pa.binary()),
    "day": column(DAYS, pa.date32()),
    "at": column(MICROS, ZONED),
    "clock": column(MICROS, pa.timestamp("us")),
    "nanos": column([0, -1, 1_700_000_000_123_456_789], pa.timestamp("ns")),
    "narrow": column([Decimal("0.00"), Decimal("-1.50"), Decimal("999.99")], pa.decimal128(5, 2)),
    "wide": column(list(map(Decimal, WIDE)), pa.decimal128(38, 0)),
    "fine": column([Decimal(f"{one}E-20") for one in WIDE], pa.decimal128(38, 20)),
    "ids": lists([1, 2**62], pa.int64()),
    "vector": lists(FLOATS, pa.float64()),
    "floats": lists([*FLOATS[:8], 3.4e38, 16777216.0], pa.float32()),
    "prices": lists([Decimal("1.50"), Decimal("0.00")], pa.decimal128(9, 2)),
    "fractions": lists([Decimal(f"{one}E-20") for one in WIDE], pa.decimal128(38, 20)),
    "texts": lists(TEXTS, pa.string()),
    "blobs": lists(BYTES, pa.binary()),
    "days": lists(DAYS, pa.date32()),
    "moments": lists(MICROS, ZONED),
    "clocks": lists(MICROS, pa.timestamp("us")),
    "flags": lists([True, False], pa.bool_()),
    "matrix": lists([[1, None], [], None], pa.list_(pa.int32())),
    "record": column([{"x": 1e7, "m": [("k", 1), ("j", None)]}, {}], RECORD),
    "records": lists([{"x": None, "m": []}, {'odd"name".`x`\\': 3}], RECORD),
    "named": column([[("k", 1.5), ("j", None)], []], pa.map_(pa.string(), pa.float64())),
    "numbered": column([[(5, "a"), (-1, None)], []], pa.map_(pa.int64(), pa.string())),
}
KEYS = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 1.5, None, float("nan")]


SEVENS = """
import mlflow
import pandas as pd

class Sevens(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input: pd.DataFrame, params=None):
        return [7] * len(model_input)

mlflow.models.set_model(Sevens())
"""


def model_over(names: list[str], folder: Path) -> Path:
    """A model that looks at these columns, of whatever type, and answers 7."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import AnyType

    script = folder.with_suffix(".py")
    script.write_text(SEVENS)
    inputs = Schema([ColSpec(AnyType(), name, required=False) for name in names])
    with quiet_mlflow():
        mlflow.pyfunc.save_model(
            path=str(folder),
            python_model=str(script),
            signature=ModelSignature(inputs=inputs, outputs=Schema([ColSpec(DataType.long)])),
            pip_requirements=["mlflow"],
        )
    return folder


@pytest.mark.parametrize("kind", ["parquet", "delta"])
def test_features_of_every_type_are_hashed_scored_and_quarantined_alike(
    spark: SparkSession, tmp_path: Path, kind: str
) -> None:
    """And nobody is due when the other engine looks at what the first has made."""
    place = tmp_path / "features ü"
    pq.write_table(pa.table({"customer": pa.array(KEYS), **FEATURES}), tmp_path / "1.parquet")
    if kind == "delta":
        from scoreline.sources.parquet import read_parquet

        read_parquet(spark, str(tmp_path / "1.parquet")).rows.write.format("delta").save(str(place))
    else:
        for shop in ("shop=007", "shop=__HIVE_DEFAULT_PARTITION__"):
            (place / shop).mkdir(parents=True)
        table = pq.read_table(tmp_path / "1.parquet", partitioning=None)
        pq.write_table(table.slice(0, 5), place / "shop=007" / "a b%.parquet")
        pq.write_table(table.slice(5), place / "shop=__HIVE_DEFAULT_PARTITION__" / "c.parquet")
    given = {
        "input": {"path": str(place), "format": kind, "key": "customer"},
        "model": {"uri": str(model_over([*FEATURES, *(["shop"] if kind == "parquet" else [])], tmp_path / "model"))},
        "audit": {"max_failed_share": 0.9},
    }
    one, two = (context(spark, tmp_path / name, **given) for name in ("embedded", "spark"))
    (ours,) = embedded(one, ("run", {}))
    assert ours.get("error") is None
    theirs = run(two)
    assert (ours["audit"]["scored"], theirs.audit.scored, theirs.audit.quarantined) == (9, 9, 3)  # type: ignore[union-attr]
    of_a_run = ("run_id", "scored_at")
    assert rows(one, "predictions", without=of_a_run) == rows(two, "predictions", without=of_a_run)
    assert len({row[6] for row in rows(one, "predictions", without=of_a_run)}) > 1
    assert rows(one, "quarantine", without=("ingested_at",)) == rows(two, "quarantine", without=("ingested_at",))
    assert run(one).state == "nothing_due"
    assert embedded(two, ("run", {}))[0]["state"] == "nothing_due"


def test_a_type_that_is_not_hashed_alike_is_refused_before_a_row_is_read(spark: SparkSession, tmp_path: Path) -> None:
    odd = pa.array([[(1.5, 1)], None], pa.map_(pa.float64(), pa.int64()))
    pq.write_table(pa.table({"customer": [1, 2], "odd": odd}), tmp_path / "features.parquet")
    features = {"path": str(tmp_path / "features.parquet"), "format": "parquet", "key": "customer"}
    model = {"uri": str(model_over(["odd"], tmp_path / "model"))}
    made = context(spark, tmp_path / "tables", input=features, model=model)
    (said,) = embedded(made, ("run", {}))
    assert said["error"].endswith(
        "column odd is map<double,bigint>, which the embedded engine does not hash as Spark does. Write it in another "
        "type, or say engine: spark."
    )
    assert not made.tables.table("predictions").exists()
