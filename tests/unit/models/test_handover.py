"""Models of other people, as plain MLflow saves them: scored as plain MLflow scores them, row for row, or refused.

A model here says what it was given, type by type, so that nothing of the hand-over is out of sight.
"""

import datetime as dt
import decimal
import functools
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pydantic
import pytest
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema, TensorSpec
from mlflow.types.schema import AnyType, Array, Map, Object, Property

from plain import plain, scored
from scoreline.errors import InputError
from scoreline.models.signature import check_contract, checked_params
from scoreline.registry.client import quiet_mlflow

D = decimal.Decimal
SEEN = Schema([ColSpec(DataType.string, "seen")])


def told(value: Any) -> str:
    """A value with its type, all the way down."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {told(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(told, value)) + "]"
    if isinstance(value, np.ndarray):
        return f"{value.dtype.kind}{value.tolist()}"
    return f"{type(value).__name__}({value})"


class Told(mlflow.pyfunc.PythonModel):
    """Answers with what it was given."""

    def predict(self, context, model_input, params=None):
        if isinstance(model_input, pd.DataFrame):
            kinds = {name: str(model_input[name].dtype) for name in model_input.columns}
            rows = [
                "; ".join(f"{name} {kinds[name]} {told(row[name])}" for name in kinds)
                for row in model_input.astype(object).to_dict("records")
            ]
        elif isinstance(model_input, dict):
            rows = [
                "; ".join(f"{name} {values.dtype} {values[i].tolist()}" for name, values in model_input.items())
                for i in range(len(next(iter(model_input.values()))))
            ]
        else:
            rows = [f"{model_input.dtype} {row.tolist() if hasattr(row, 'tolist') else row}" for row in model_input]
        return pd.DataFrame({"seen": rows})


@pytest.fixture
def saved(tmp_path: Path) -> Callable[..., Path]:
    """Saves a pyfunc, quietly; returns its folder."""

    def save(model: Any, inputs: Any, outputs: Any = SEEN, params: Any = None) -> Path:
        signature = ModelSignature(inputs, outputs, params)
        with quiet_mlflow(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            mlflow.pyfunc.save_model(tmp_path / "model", python_model=model, signature=signature, pip_requirements=[])
        return tmp_path / "model"

    return save


def inferred(example: Any) -> Schema:
    with quiet_mlflow(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return infer_signature(example).inputs


def column(kind: Any) -> Schema:
    return Schema([ColSpec(kind, "x")])


NOON = dt.datetime.fromisoformat("2026-01-02T12:30")
END_OF_TIME = dt.datetime.fromisoformat("9999-12-31")
US, UTC_US = pa.timestamp("us"), pa.timestamp("us", "UTC")
PAIR = Object([Property("a", DataType.integer), Property("b", DataType.string, required=False)])
AB = pa.struct([("b", pa.string()), ("more", pa.bool_()), ("a", pa.int32())])
ROW = {"b": "x", "more": True, "a": 3}

# the input's type, the column's type and its values, and if plain MLflow is given something else: what
SAME = [
    pytest.param(DataType.double, pa.float64(), [1.5, None], None, id="double"),
    pytest.param(DataType.double, pa.float32(), [1.5, None], None, id="double-float"),
    pytest.param(DataType.double, pa.int32(), [1, 2], None, id="double-int"),
    pytest.param(DataType.double, pa.decimal128(38, 16), [D("0.1"), D("7.30251412345")], None, id="double-decimal"),
    pytest.param(DataType.float, pa.float32(), [1.5, None], None, id="float"),
    pytest.param(DataType.long, pa.int16(), [1, 2], None, id="long-short"),
    pytest.param(DataType.integer, pa.int8(), [1, 2], None, id="integer-byte"),
    pytest.param(DataType.boolean, pa.bool_(), [True, None], None, id="boolean"),
    pytest.param(DataType.string, pa.string(), ["a", None], None, id="string"),
    pytest.param(DataType.binary, pa.binary(), [b"a", None], None, id="binary"),
    pytest.param(DataType.datetime, US, [NOON, None], None, id="datetime-ntz"),
    pytest.param(DataType.datetime, UTC_US, [NOON, None], [NOON, None], id="datetime-utc"),
    pytest.param(DataType.datetime, pa.date32(), [NOON.date(), None], None, id="datetime-date"),
    pytest.param(AnyType(), pa.int64(), [1, 2], None, id="any-long"),
    pytest.param(AnyType(), pa.string(), ["a", "b"], None, id="any-string"),
    pytest.param(AnyType(), pa.struct({"t": UTC_US}), [{"t": NOON}], [{"t": NOON}], id="any-time"),
    pytest.param(Array(DataType.double), pa.list_(pa.float32()), [[1, None], []], None, id="array-double-float"),
    pytest.param(Array(DataType.long), pa.list_(pa.int32()), [[1, 2], [3]], None, id="array-long-int"),
    pytest.param(Array(DataType.string), pa.list_(pa.string()), [["a"], ["b", "c"]], None, id="array-string"),
    pytest.param(
        Array(DataType.datetime),
        pa.list_(UTC_US),
        [[NOON], []],
        [np.array(times, "M8[ns]") for times in ([NOON], [])],
        id="array-datetime",
    ),
    pytest.param(
        Array(Array(DataType.float)),
        pa.list_(pa.list_(pa.float32())),
        [[[1.0, 2.0], [3.0]], []],
        [[np.array([1, 2], "f4"), np.array([3], "f4")], []],
        id="array-array-ragged",
    ),
    pytest.param(PAIR, AB, [ROW], [{"a": np.int32(3), "b": "x"}], id="object-other-order-and-more"),
    pytest.param(PAIR, pa.struct([("a", pa.int16())]), [{"a": 3}], [{"a": np.int32(3), "b": None}], id="object-less"),
    pytest.param(
        Object([Property("at", DataType.datetime)]),
        pa.struct([("at", UTC_US)]),
        [{"at": NOON}],
        [{"at": np.datetime64(NOON, "ns")}],
        id="object-datetime",
    ),
    pytest.param(
        Array(PAIR), pa.list_(AB), [[ROW], []], [[{"a": np.int32(3), "b": "x"}], []], id="array-object"
    ),
    pytest.param(
        Map(DataType.double),
        pa.map_(pa.string(), pa.float32()),
        [[("a", 1.5), ("b", 2.5)], []],
        [{"a": 1.5, "b": 2.5}, {}],
        id="map",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "found", "values", "given"), SAME)
def test_a_column_is_given_as_plain_mlflow_would(
    saved: Any, kind: Any, found: pa.DataType, values: list[Any], given: list[Any] | None
) -> None:
    folder = saved(Told(), column(kind))
    table = pa.table({"y": pa.array([0] * len(values)), "x": pa.array(values, found)})
    frame = table.select(["x"]).to_pandas() if given is None else pd.DataFrame({"x": pd.Series(given)})
    assert scored(folder, table)["seen"] == plain(folder, frame)["seen"].tolist()


@pytest.mark.parametrize(
    ("kind", "found", "message"),
    [
        (DataType.double, pa.int64(), "column x as double, the table has int64: cast it"),
        (DataType.long, pa.decimal128(10, 0), "column x as int64, the table has decimal128"),
        (DataType.string, pa.date32(), "column x as string, the table has date32"),
        (DataType.datetime, pa.string(), r"column x as timestamp\[us, tz=UTC\], the table has string"),
        (DataType.datetime, pa.time64("us"), "column x as timestamp.*, the table has time64"),
        (DataType.double, pa.null(), "column x as double, the table has null"),
        (PAIR, pa.struct([("b", pa.string())]), r"column x as struct<a: int32 not null, b: string>, the table has st"),
        (PAIR, pa.map_(pa.string(), pa.int32()), "column x as struct.*, the table has map"),
        (
            Map(DataType.long),
            pa.map_(pa.int64(), pa.int64()),
            "column x as map<string, int64>, the table has map",
        ),
        (Array(DataType.long), pa.list_(pa.int64(), 2), None),
        (Array(DataType.long), pa.list_(pa.float64()), "column x as list<item: int64>, the table has list"),
    ],
)
def test_what_would_change_is_refused_before_a_row_is_read(kind: Any, found: Any, message: str | None) -> None:
    signature = ModelSignature(column(kind), SEEN)
    if message is None:
        assert check_contract(signature, {"x": found}).inputs == ("x",)
        return
    with pytest.raises(InputError, match=message):
        check_contract(signature, {"x": found})


@pytest.mark.parametrize(
    ("kind", "found", "good", "bad", "message"),
    [
        (DataType.long, pa.int64(), 7, None, "NULL_INPUT: column x is null, and the .* leaves no null there: int64"),
        (DataType.datetime, UTC_US, NOON, END_OF_TIME, "BAD_INPUT: column x: 9999-12-31 .* is beyond what"),
        (DataType.datetime, pa.date32(), NOON.date(), END_OF_TIME.date(), "BAD_INPUT: column x: 9999-12-31 is beyond"),
        (Array(DataType.string), pa.list_(pa.string()), ["a"], ["a", None], r"NULL_INPUT: column x\[\] is null"),
        (Array(DataType.long), pa.list_(pa.int64()), [1], None, "NULL_INPUT: column x is null"),
        (PAIR, AB, ROW, {"b": "x", "a": None}, r"NULL_INPUT: column x\.a is null"),
        (
            Map(DataType.double),
            pa.map_(pa.string(), pa.float64()),
            [],
            [("a", None)],
            r"NULL_INPUT: column x\{\} is null",
        ),
        (PAIR, AB, ROW, None, "NULL_INPUT: column x is null"),
    ],
)
def test_a_row_with_a_value_that_has_no_place_fails_alone(
    saved: Any, kind: Any, found: pa.DataType, good: Any, bad: Any, message: str
) -> None:
    seen = scored(saved(Told(), column(kind)), pa.table({"x": pa.array([good, bad, good], found)}))["seen"]
    assert [value.startswith("x ") for value in seen] == [True, False, True]
    assert re.match(message, seen[1])


MATRIX = pa.table({"b": pa.array([3.0, 4.0]), "a": pa.array([1.0, 2.0]), "n": pa.array([5, 6], pa.int32())})


@pytest.mark.parametrize(
    ("example", "table", "named", "given"),
    [
        pytest.param(np.zeros((2, 2)), MATRIX, ["a", "b"], np.array([[1.0, 3.0], [2.0, 4.0]]), id="matrix"),
        pytest.param(np.zeros((2, 2)), MATRIX, ["n", "a"], np.array([[5.0, 1.0], [6.0, 2.0]]), id="matrix-widened"),
        pytest.param(np.zeros(2), MATRIX, ["a"], np.array([1.0, 2.0]), id="vector"),
        pytest.param(np.zeros((2, 1), "i8"), MATRIX, ["n"], np.array([[5], [6]]), id="one-column"),
        pytest.param(
            np.zeros((2, 3), "f4"),
            pa.table({"v": pa.array([[1, 2, 3], [4, 5, 6]], pa.list_(pa.float32()))}),
            ["v"],
            np.array([[1, 2, 3], [4, 5, 6]], "f4"),
            id="matrix-of-lists",
        ),
        pytest.param(
            np.zeros((2, 2, 2), "u1"),
            pa.table({"v": pa.array([[1, 2, 3, 255], [4, 5, 6, 7]], pa.list_(pa.int16()))}),
            ["v"],
            np.array([[[1, 2], [3, 255]], [[4, 5], [6, 7]]], "u1"),
            id="images",
        ),
        pytest.param(
            np.zeros((2, 2, 2)),
            pa.table({"v": pa.array([[[1, 2], [3, 4]], [[5, 6], [7, 8]]], pa.list_(pa.list_(pa.float64())))}),
            ["v"],
            np.array([[[1.0, 2.0], [3.0, 4.0]], [[5.0, 6.0], [7.0, 8.0]]]),
            id="nested-lists",
        ),
        pytest.param(
            np.array([["a", 1]], dtype=object),
            pa.table({"s": ["x", "y"], "n": pa.array([5, 6])}),
            ["s", "n"],
            np.array([["x", 5], ["y", 6]], dtype=object),
            id="objects",
        ),
        pytest.param(np.array(["a"]), pa.table({"s": ["x", "yy"]}), ["s"], np.array(["x", "yy"]), id="text"),
        pytest.param(
            np.array(["2026-01-01"], "M8[ns]"),
            pa.table({"t": pa.array([NOON, None], UTC_US)}),
            ["t"],
            np.array([NOON, None], "M8[ns]"),
            id="times",
        ),
        pytest.param(
            {"v": np.zeros((2, 2), "f4"), "n": np.zeros(2, "i8")},
            pa.table({"n": pa.array([5, 6]), "v": pa.array([[1, 2], [3, 4]], pa.list_(pa.float32()))}),
            [],
            {"v": np.array([[1, 2], [3, 4]], "f4"), "n": np.array([5, 6])},
            id="dict-of-tensors",
        ),
        pytest.param(
            pd.DataFrame(np.zeros((2, 2))),
            MATRIX,
            ["b", "a"],
            pd.DataFrame(np.array([[3.0, 1.0], [4.0, 2.0]])),
            id="numbered-columns",
        ),
        pytest.param(
            pd.DataFrame(np.zeros((2, 2))),
            pa.table({"1": [3.0, 4.0], "0": [1.0, 2.0]}),
            [],
            pd.DataFrame(np.array([[1.0, 3.0], [2.0, 4.0]])),
            id="numbered-columns-by-name",
        ),
        pytest.param(pd.Series([1.0]), MATRIX, ["a"], pd.DataFrame([1.0, 2.0]), id="series"),
        pytest.param([1.0], MATRIX, ["a"], pd.DataFrame([1.0, 2.0]), id="list"),
    ],
)
def test_inputs_without_names_are_the_columns_that_the_configuration_says(
    saved: Any, example: Any, table: pa.Table, named: list[str], given: Any
) -> None:
    folder = saved(Told(), inferred(example))
    assert scored(folder, table, named=named)["seen"] == plain(folder, given)["seen"].tolist()


@pytest.mark.parametrize(
    ("inputs", "named", "message"),
    [
        (inferred(np.zeros((2, 2))), [], r"no named input columns \(tensor of float64 \(-1, 2\)\).*input\.columns: \["),
        (inferred(np.zeros((2, 2))), ["a"], r"column a as tensor of float64 \(-1, 2\), the table has double"),
        (inferred(np.zeros((2, 3))), ["a", "b"], r"has 2 columns, and the model's signature wants 3 \(tensor of f"),
        (inferred(np.zeros((2, 2), "f4")), ["a", "b"], r"column a as tensor of float32 .*, the table has double"),
        (inferred(np.zeros(2)), ["c"], "input.columns has c; the table has b, a, n"),
        (inferred(pd.DataFrame({"a": [1.0]})), ["a"], "this one's have: remove the key"),
        (Schema([TensorSpec(np.dtype("f8"), (1, 2))]), ["a", "b"], r"wants a tensor of shape \(1, 2\).*-1 as the"),
        (Schema([TensorSpec(np.dtype("c16"), (-1,))]), ["a"], "a tensor of complex128, and no column of a table holds"),
    ],
)  # fmt: skip
def test_inputs_without_names_are_never_guessed(inputs: Schema, named: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_contract(ModelSignature(inputs, SEEN), MATRIX.schema, named=named)


CUSTOMERS = pa.table(
    {
        "age": pa.array([20.0, 30.0, None, 50.0, 60.0, 70.0]),
        "visits": pa.array([1, 5, 9, 2, 4, 7], pa.int32()),
        "city": pa.array(["Ulm", "Łódź", None, "Ulm", "Bonn", "Łódź"]),
        "plan": pa.array(["basic", "plus", "gold", "basic", "plus", "gold"]),
    }
)


@functools.cache
def pipelines() -> dict[str, tuple[Any, Any, Any]]:
    """Fitted pipelines with the frame or array that they were fitted on, and the method to call."""
    from sklearn.cluster import KMeans
    from sklearn.compose import make_column_transformer
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LinearRegression
    from sklearn.multioutput import MultiOutputRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import OneHotEncoder
    from sklearn.tree import DecisionTreeClassifier

    frame = CUSTOMERS.to_pandas()
    numbers, matrix = frame[["visits", "age"]], frame[["visits", "age"]].fillna(0.0).to_numpy()
    mixed = make_column_transformer(
        (SimpleImputer(), ["age", "visits"]), (OneHotEncoder(handle_unknown="ignore"), ["city"])
    )
    plan, two = frame["plan"], matrix * 2
    return {
        "labels": (
            make_pipeline(mixed, DecisionTreeClassifier()).fit(frame.drop(columns="plan"), plan),
            frame,
            "predict",
        ),
        "probabilities": (RandomForestClassifier(5, random_state=0).fit(matrix, plan), matrix, "predict_proba"),
        "nulls": (HistGradientBoostingClassifier().fit(numbers, plan == "gold"), numbers, "predict"),
        "several": (MultiOutputRegressor(LinearRegression()).fit(matrix, two), matrix, "predict"),
        "clusters": (KMeans(2, random_state=0).fit(matrix), matrix, "predict"),
        "series": (LinearRegression().fit(numbers.fillna(0.0), frame["visits"]), numbers.fillna(0.0), "predict"),
    }


@pytest.mark.parametrize("name", ["labels", "probabilities", "nulls", "several", "clusters", "series"])
def test_a_pipeline_of_scikit_learn_is_scored_as_by_plain_mlflow(name: str, tmp_path: Path) -> None:
    model, example, method = pipelines()[name]
    folder, given = tmp_path / "model", example.drop(columns="plan", errors="ignore") if name == "labels" else example
    with quiet_mlflow(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signature = infer_signature(given, getattr(model, method)(given))
        mlflow.sklearn.save_model(
            model,
            folder,
            signature=signature,
            pyfunc_predict_fn=method,
            serialization_format="cloudpickle",
            pip_requirements=[],
        )
    is_matrix = isinstance(given, np.ndarray)
    table = CUSTOMERS
    if is_matrix or name == "series":
        table = table.set_column(0, "age", CUSTOMERS["age"].fill_null(0.0))
    found = scored(folder, table, named=["visits", "age"] if is_matrix else [])
    right = plain(folder, given if is_matrix else table.drop_columns("plan").to_pandas())
    assert list(map(list, zip(*found.values(), strict=True))) == np.asarray(right).reshape(len(table), -1).tolist()


class Customer(pydantic.BaseModel):
    """A record of a customer."""

    age: float | None = None
    visits: int
    city: str | None = None


def of_text(model_input: list[str]) -> list[str]:
    return [told(one) for one in model_input]


def of_numbers(model_input: list[int]) -> list[str]:
    return [told(one) for one in model_input]


def of_dicts(model_input: list[dict[str, float]]) -> list[str]:
    return [told(one) for one in model_input]


def of_lists(model_input: list[list[float]]) -> list[str]:
    return [told(one) for one in model_input]


def of_times(model_input: list[dt.datetime]) -> list[str]:
    return [told(one) for one in model_input]


def of_customers(model_input: list[Customer]) -> list[str]:
    return [told(one.model_dump()) for one in model_input]


@pytest.mark.parametrize(
    ("function", "table", "named", "right"),
    [
        (of_text, pa.table({"s": ["a", "b"]}), ["s"], ["str(a)", "str(b)"]),
        (of_numbers, pa.table({"n": pa.array([1, 2], pa.int16())}), ["n"], ["int(1)", "int(2)"]),
        (of_lists, pa.table({"v": [[1.0, 2.0], []]}), ["v"], ["[float(1.0), float(2.0)]", "[]"]),
        (of_times, pa.table({"t": pa.array([NOON], UTC_US)}), ["t"], [f"datetime({NOON})"]),
        (
            of_dicts,
            pa.table({"m": pa.array([[("a", 1.5)], []], pa.map_(pa.string(), pa.float64()))}),
            ["m"],
            ["{a: float(1.5)}", "{}"],
        ),
        (
            of_customers,
            CUSTOMERS.slice(1, 2),
            [],
            [
                "{age: float(30.0), visits: int(5), city: str(Łódź)}",
                "{age: NoneType(None), visits: int(9), city: NoneTyp",
            ],
        ),
        (
            of_customers,
            pa.table(
                {"c": pa.array([{"visits": 5, "age": 1.0}], pa.struct([("visits", pa.int32()), ("age", pa.float32())]))}
            ),
            ["c"],
            ["{age: float(1.0), visits: int(5), city: NoneType(None)}"],
        ),
    ],
)
def test_a_function_with_type_hints_is_given_what_they_say(
    function: Any, table: pa.Table, named: list[str], right: list[str], tmp_path: Path
) -> None:
    with quiet_mlflow(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        mlflow.pyfunc.save_model(tmp_path / "model", python_model=function, pip_requirements=[])
    found = scored(tmp_path / "model", table, named=named)
    assert [value[: len(said)] for value, said in zip(found["prediction"], right, strict=True)] == right


PARAMS = ParamSchema(
    [
        ParamSpec("n", "long", 3),
        ParamSpec("x", "double", 0.5),
        ParamSpec("since", "datetime", NOON),
        ParamSpec("names", "string", ["a"], shape=(-1,)),
        ParamSpec("on", "boolean", True),
    ]
)


def test_params_of_each_type_are_checked_and_filled_in() -> None:
    signature = ModelSignature(column(DataType.double), SEEN, PARAMS)
    defaults = {"n": 3, "x": 0.5, "since": NOON, "names": ["a"], "on": True}
    assert checked_params(signature, {}) == defaults
    given = {"n": 4, "x": 1, "since": "2026-01-02", "names": ["b", "c"], "on": False}
    assert checked_params(signature, given) == {**given, "since": NOON.date()}
    for name, wrong in (("n", "many"), ("n", 1.5), ("since", "soon"), ("names", "b"), ("on", "yes"), ("x", [1.0])):
        with pytest.raises(
            InputError, match=rf"the model's param {name} is .* by its signature, and the configuration"
        ):
            checked_params(signature, {name: wrong})
