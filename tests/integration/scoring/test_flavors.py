"""Models of other people on Spark: one run over every type of column, the outputs of every type in one table."""

import datetime as dt
import decimal
import warnings
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array, Map, Object, Property
from pyspark.sql import SparkSession
from pyspark.sql import types as T

from builders import context
from scoreline.context import Context
from scoreline.engine.frames import collected
from scoreline.errors import AuditRefused, InputError
from scoreline.pipeline.run import plan_run, run
from scoreline.pipeline.snapshot import open_run
from scoreline.registry.client import quiet_mlflow

NOON = dt.datetime.fromisoformat("2026-01-02T12:30")
RECORD = Object([Property("b", DataType.string), Property("a", DataType.integer)])
INPUTS = {
    "d": (DataType.double, T.FloatType(), 1.5),
    "dec": (DataType.double, T.DecimalType(20, 10), decimal.Decimal("0.1")),
    "i": (DataType.integer, T.ByteType(), 1),
    "l": (DataType.long, T.ShortType(), 2),
    "s": (DataType.string, T.StringType(), "ü"),
    "y": (DataType.binary, T.BinaryType(), b"\x00a"),
    "f": (DataType.boolean, T.BooleanType(), True),
    "t": (DataType.datetime, T.TimestampType(), NOON),
    "n": (DataType.datetime, T.TimestampNTZType(), NOON),
    "day": (DataType.datetime, T.DateType(), NOON.date()),
    "x.y": (Array(DataType.double), T.ArrayType(T.FloatType()), [1.0, 2.5]),
    "deep": (Array(Array(DataType.long)), T.ArrayType(T.ArrayType(T.LongType())), [[1, 2], [3]]),
    "r": (RECORD, T.StructType([T.StructField("a", T.IntegerType()), T.StructField("b", T.StringType())]), (1, "b")),
    "m": (Map(DataType.double), T.MapType(T.StringType(), T.DoubleType()), {"k": 1.5}),
}
OUTPUTS = {
    "told": DataType.string,
    "größe": DataType.double,
    "a.b": DataType.long,
    "flag": DataType.boolean,
    "t": DataType.datetime,
    "raw": DataType.binary,
    "deep": Array(Array(DataType.long)),
    "r": Object([Property("a", DataType.long), Property("b", DataType.string, required=False)]),
    "m": Map(DataType.double),
}


def save(folder: Path, signature: ModelSignature) -> str:
    class Told(mlflow.pyfunc.PythonModel):
        """Says what it was given, and gives something of each type."""

        def predict(self, context, model_input, params=None):
            def told(value):
                if isinstance(value, dict):
                    return {key: told(part) for key, part in value.items()}
                if isinstance(value, list):
                    return [told(part) for part in value]
                return value.tolist() if hasattr(value, "tolist") else str(value)

            said = [str({name: told(part) for name, part in row.items()}) for row in model_input.to_dict("records")]
            n = len(model_input)
            return pd.DataFrame(
                {
                    "told": said,
                    "größe": [0.5] * n,
                    "a.b": range(n),
                    "flag": [True] * n,
                    "t": model_input["t"],
                    "raw": [b"\x00a"] * n,
                    "deep": [[[1], [2, 3]]] * n,
                    "r": [{"a": 1}] * n,
                    "m": [{"k": 0.5}] * n,
                }
            )

    with quiet_mlflow(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(folder, python_model=Told(), signature=signature, pip_requirements=[])
    return str(folder)


@pytest.fixture
def table(spark: SparkSession, tmp_path: Path) -> str:
    """One customer, with a value of each type and two that no model can be given."""
    place = str(tmp_path / "features")
    fields = [T.StructField("customer", T.LongType()), *(T.StructField(n, kind) for n, (_, kind, _) in INPUTS.items())]
    rows = spark.createDataFrame([(7, *(value for _, _, value in INPUTS.values()))], T.StructType(fields))
    rows = rows.selectExpr("*", "interval 1 day as lasts", "interval 1 year as years")
    rows.write.parquet(place)
    return place


@pytest.fixture
def scoring(spark: SparkSession, registry: Any, tmp_path: Path) -> Any:
    """A factory of pipelines with a model in a folder and a table of features."""

    def made(uri: str, features: dict[str, Any], failed_share: float = 0.0) -> Context:
        model, runs = {"uri": uri}, {"tracking_uri": registry.uri, "experiment": "runs"}
        audit = {"max_failed_share": failed_share}
        return context(spark, tmp_path / "tables", model=model, mlflow=runs, input=features, audit=audit)

    return made


@pytest.mark.spark  # columns of intervals
def test_each_type_of_column_is_handed_over_and_each_output_stored(scoring: Any, tmp_path: Path, table: str) -> None:
    signature = ModelSignature(
        Schema([ColSpec(kind, name) for name, (kind, _, _) in INPUTS.items()]),
        Schema([ColSpec(kind, name) for name, kind in OUTPUTS.items()]),
    )
    uri = save(tmp_path / "told", signature)
    made = scoring(uri, {"path": table, "key": "customer", "format": "parquet"})
    report = run(made)
    assert (report.audit.scored, report.audit.failed) == (1, 0)
    (row,) = collected(made.tables.table("predictions").read()).to_pylist()
    noon = "2026-01-02 12:30:00"
    assert row.pop("told") == str(
        {
            "d": "1.5", "dec": "0.1", "i": "1", "l": "2", "s": "ü", "y": "b'\\x00a'", "f": "True", "t": noon,
            "n": noon, "day": "2026-01-02 00:00:00", "x.y": [1.0, 2.5], "deep": [[1, 2], [3]],
            "r": {"a": 1, "b": "b"}, "m": {"k": 1.5},
        }
    )  # fmt: skip
    assert {name: row[name] for name in OUTPUTS if name != "told"} == {
        "größe": 0.5,
        "a.b": 0,
        "flag": True,
        "t": NOON.replace(tzinfo=dt.UTC),
        "raw": b"\x00a",
        "deep": [[1], [2, 3]],
        "r": {"a": 1, "b": None},
        "m": [("k", 0.5)],
    }


@pytest.mark.spark  # columns of intervals
def test_inputs_without_names_are_said_by_the_configuration(scoring: Any, tmp_path: Path, table: str) -> None:
    """A column of a type that Arrow does not have is in nobody's way."""
    signature = infer_signature(np.zeros((1, 2)), np.zeros(1))
    uri = save(tmp_path / "matrix", signature)
    features = {"path": table, "key": "customer", "format": "parquet"}
    made = scoring(uri, {**features, "columns": ["dec", "d"]})
    opened = open_run(made, fraction=1.0, full_refresh=False, create=False)
    assert opened.pinned.task.inputs == ("dec", "d")
    wanted = Schema([ColSpec(DataType.long, "customer"), ColSpec(DataType.double, "d")])
    by_key = save(tmp_path / "by_key", ModelSignature(wanted, Schema([ColSpec(DataType.double, "p")])))
    again = open_run(scoring(by_key, features), fraction=1.0, full_refresh=False, create=False)
    assert again.pinned.task.inputs == ("customer", "d")
    with pytest.raises(InputError, match=r"no named input columns .*input\.columns: \[\.\.\.\]"):
        plan_run(scoring(uri, features))


@pytest.mark.both
def test_a_refusal_says_why_users_failed(scoring: Any, spark: SparkSession, tmp_path: Path) -> None:
    place = str(tmp_path / "numbers")
    spark.range(9).selectExpr("id as customer", "cast(nullif(id, 8) as bigint) as n").write.parquet(place)

    class Picky(mlflow.pyfunc.PythonModel):
        def predict(self, context, model_input, params=None):
            if (model_input["n"] % 3 == 0).any():
                raise ValueError(f"{model_input['n'].iloc[0]} can be divided by 3, and 'so' on")
            return ["12" if n == 1 else 1.0 for n in model_input["n"]]

    with quiet_mlflow(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = ModelSignature(Schema([ColSpec(DataType.long, "n")]), Schema([ColSpec(DataType.double, "p")]))
        mlflow.pyfunc.save_model(tmp_path / "picky", python_model=Picky(), signature=signature, pip_requirements=[])
    made = scoring(str(tmp_path / "picky"), {"path": place, "key": "customer", "format": "parquet"}, failed_share=0.45)
    with pytest.raises(AuditRefused) as refused:
        run(made)
    assert "Why users failed:" in str(refused.value)
    found = str(refused.value).partition("Why users failed:\n")[2].splitlines()
    assert found[0] == "  - 3 x MODEL_RAISED: ValueError: 0 can be divided by 3, and 'so' on (user 0)"
    assert found[1].startswith("  - 1 x NULL_INPUT: column n is null, and the model's signature leaves no null there")
    assert found[2] == "  - 1 x WRONG_TYPE: output p is string, expected double (user 1)"
    assert found[3].startswith("The staged rows are kept in")


def test_half_of_a_key_of_two_columns_is_found_before_scoring(
    scoring: Any, spark: SparkSession, tmp_path: Path
) -> None:
    place = str(tmp_path / "months")
    spark.range(120).selectExpr("id % 10 as customer", "cast(id as double) as d", "id as dec").write.parquet(place)
    signature = infer_signature(pd.DataFrame({"d": [1.0]}), np.zeros(1))
    uri = save(tmp_path / "matrix", signature)
    with pytest.raises(InputError, match=r"key 0 is in 12 rows, and each has to be in one; so are 10 keys.*concat_ws"):
        plan_run(scoring(uri, {"path": place, "key": "customer", "format": "parquet"}))
