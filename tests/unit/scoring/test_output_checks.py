"""What `predict` of a pyfunc may give: read as its signature says, one value per row, or refused."""

import datetime as dt
import re
import warnings
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse
from mlflow.models import ModelSignature, infer_signature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import Array, Map, Object, Property

from scoreline.models.signature import check_contract
from scoreline.scoring.output_checks import InvalidOutput, read_answer

X = pd.DataFrame({"x": [1.0]})
NOON = dt.datetime.fromisoformat("2026-01-02T12:30")
UTC_NOON = NOON.replace(tzinfo=dt.UTC)


def outputs_of(schema: Schema) -> pa.Schema:
    signature = ModelSignature(Schema([ColSpec(DataType.double, "x")]), schema)
    return check_contract(signature, {"x": pa.float64()}).outputs


def inferred(answer: Any) -> pa.Schema:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return check_contract(infer_signature(X, answer), {"x": pa.float64()}).outputs


def named(**kinds: Any) -> pa.Schema:
    return outputs_of(Schema([ColSpec(kind, name) for name, kind in kinds.items()]))


@pytest.mark.parametrize(
    ("answer", "read"),
    [
        (np.array([1.5, 2.5]), {"prediction": [1.5, 2.5]}),
        (np.array([True, False]), {"prediction": [True, False]}),
        (np.array(["basic", "plus"], dtype=object), {"prediction": ["basic", "plus"]}),
        (np.array(["basic", "plus"]), {"prediction": ["basic", "plus"]}),
        (np.array([1, 255], "u1"), {"prediction": [1, 255]}),
        (np.array([1, 2**64 - 1], "u8"), {"prediction": [1, 2**64 - 1]}),
        (np.array([1.5, 2.5], "f2"), {"prediction": [1.5, 2.5]}),
        (np.array([NOON, NOON], "M8[ns]"), {"prediction": [UTC_NOON, UTC_NOON]}),
        (np.array([[1.0], [2.0]]), {"prediction": [1.0, 2.0]}),
        (np.array([[1, 2], [3, 4]]), {"prediction_0": [1, 3], "prediction_1": [2, 4]}),
        (np.array([["a", "b"]], dtype=object), {"prediction_0": ["a"], "prediction_1": ["b"]}),
        (np.arange(8).reshape(2, 2, 2), {"prediction": [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]}),
        (scipy.sparse.csr_matrix([[0, 2], [3, 0]]), {"prediction_0": [0, 3], "prediction_1": [2, 0]}),
        (pd.Series([1.5, None], name="p"), {"p": [1.5, None]}),
        (pd.Series(["a", "b"], name="plan"), {"plan": ["a", "b"]}),
        (pd.Series(["a", "b"], dtype="category"), {"prediction": ["a", "b"]}),
        (pd.DataFrame({"n": pd.array([1, None], dtype="Int64"), "s": ["a", None]}), {"n": [1, None], "s": ["a", None]}),
        (pd.DataFrame({"t": [NOON, None], "b": [True, None]}), {"t": [UTC_NOON, None], "b": [True, None]}),
        (pd.DataFrame({"l": [[1.5], []], "o": [{"a": 1}, {"a": 2}]}), {"l": [[1.5], []], "o": [{"a": 1}, {"a": 2}]}),
        (pd.DataFrame(np.array([[1, 2], [3, 4]])), {"prediction_0": [1, 3], "prediction_1": [2, 4]}),
        ({"a": np.array([1, 2]), "b": np.array([[1, 2], [3, 4]])}, {"a": [1, 2], "b": [[1, 2], [3, 4]]}),
        ([1, 2], {"prediction": [1, 2]}),
        (["a", "b"], {"prediction": ["a", "b"]}),
        ([[1, 2], [3]], {"prediction": [[1, 2], [3]]}),
        ([{"a": 1, "b": "x"}, {"b": "y", "a": 2}], {"a": [1, 2], "b": ["x", "y"]}),
        ([{"a": {"n": 1}}, {"a": {"n": 2}}], {"a": [{"n": 1}, {"n": 2}]}),
    ],
)  # fmt: skip
def test_an_answer_is_read_by_the_signature_that_mlflow_infers_of_it(answer: Any, read: dict[str, Any]) -> None:
    rows = len(next(iter(read.values())))
    assert read_answer(answer, inferred(answer), rows).to_pydict() == read


TAGS = named(tags=Array(DataType.string))
VECTOR = named(v=Array(DataType.double))
BOTH = named(tags=Array(DataType.string), n=DataType.long)
RECORD = named(r=Object([Property("a", DataType.long), Property("b", DataType.string, required=False)]))
COUNTS = named(m=Map(DataType.long))
SCORE, WHOLE, TEXT, FLAG = (
    named(p=DataType.double),
    named(n=DataType.long),
    named(s=DataType.string),
    named(f=DataType.boolean),
)
WHEN = named(t=DataType.datetime)
BYTES = named(b=DataType.binary)
WIDE = outputs_of(Schema([TensorSpec(np.dtype("f4"), (-1, -1))]))
DEEP = named(d=Array(Array(DataType.long)))


@pytest.mark.parametrize(
    ("outputs", "answer", "read"),
    [
        (TAGS, [["t"], ["t", "u"]], [["t"], ["t", "u"]]),
        (TAGS, pd.DataFrame({"tags": [["t"], []]}), [["t"], []]),
        (VECTOR, np.array([[1, 2], [3, 4]]), [[1.0, 2.0], [3.0, 4.0]]),
        (VECTOR, [np.array([1.0]), np.array([2.0, 3.0])], [[1.0], [2.0, 3.0]]),
        (VECTOR, scipy.sparse.csr_matrix([[0.0, 2.0]]), [[0.0, 2.0]]),
        (WIDE, np.array([[1, 2], [3, 4]], "f4"), [[1.0, 2.0], [3.0, 4.0]]),
        (DEEP, np.arange(4).reshape(1, 2, 2), [[[0, 1], [2, 3]]]),
        (DEEP, [[[1], [2, 3]], []], [[[1], [2, 3]], []]),
        (RECORD, [{"a": 1, "b": "x"}, {"a": 2}], [{"a": 1, "b": "x"}, {"a": 2, "b": None}]),
        (RECORD, [{"r": {"b": "x", "a": 1}}], [{"a": 1, "b": "x"}]),
        (RECORD, pd.DataFrame({"r": [{"b": "x", "a": 1, "more": 2}]}), [{"a": 1, "b": "x"}]),
        (COUNTS, [{"x": 1}, {}], [[("x", 1)], []]),
        (COUNTS, pd.Series([{"x": 1}, {"y": 2}]), [[("x", 1)], [("y", 2)]]),
        (SCORE, [[0.5], [0.25]], [0.5, 0.25]),
        (SCORE, {"p": np.array([[0.5], [0.25]])}, [0.5, 0.25]),
        (SCORE, pd.DataFrame({"p": [np.array([0.5]), [0.25]]}), [0.5, 0.25]),
        (SCORE, [np.array(0.5), np.array(0.25)], [0.5, 0.25]),
        (SCORE, pd.Series(pd.arrays.SparseArray([0.5, 0.0])), [0.5, 0.0]),
        (SCORE, np.ma.array([0.5, 9.0], mask=[False, True]), [0.5, None]),
        (SCORE, {"p": np.ma.array([[0.5], [9.0]], mask=[[False], [True]])}, [0.5, None]),
        (VECTOR, np.ma.array([[0.5, 9.0]], mask=[[False, True]]), [[0.5, None]]),
        (SCORE, pa.table({"p": [0.5], "more": [1]}), [0.5]),
        (SCORE, np.array([(0.5, 1)], dtype=[("p", "f4"), ("more", "i8")]), [0.5]),
        (SCORE, np.array([[0.5]]).view(np.matrix), [0.5]),
        (SCORE, pd.Series([0.5, 0.25], index=[7, 3]), [0.5, 0.25]),
        (WHOLE, np.array([1.0, 2.0]), [1, 2]),
        (WHEN, [NOON.date(), NOON.date()], [UTC_NOON.replace(hour=0, minute=0)] * 2),
        (WHEN, np.array(["2026-01-02"], "M8[D]"), [UTC_NOON.replace(hour=0, minute=0)]),
        (WHEN, [np.datetime64(NOON, "us"), None], [UTC_NOON, None]),
        (WHEN, pd.Series(pd.to_datetime([NOON]).tz_localize("Europe/Berlin")), [UTC_NOON - dt.timedelta(hours=1)]),
    ],
)  # fmt: skip
def test_one_value_per_row(outputs: pa.Schema, answer: Any, read: list[Any]) -> None:
    assert read_answer(answer, outputs, len(read)).column(0).to_pylist() == read


def test_records_are_rows_of_outputs() -> None:
    records = [{"n": 1, "tags": ["t"]}, {"tags": [], "n": 2, "more": None}]
    assert read_answer(records, BOTH, 2).to_pydict() == {"tags": [["t"], []], "n": [1, 2]}
    mixed = [["t"], 1], [[], 2]
    assert read_answer(list(mixed), BOTH, 2).to_pydict() == {"tags": [["t"], []], "n": [1, 2]}


@pytest.mark.parametrize(
    ("outputs", "answer", "message"),
    [
        (SCORE, [[0.5, 0.25]], r"output p is list<item: double>, expected double"),
        (WHOLE, ["12"], "output n is string, expected int64"),
        (WHOLE, [1.5], "output n is double, expected int64"),
        (WHOLE, [True], "output n is bool, expected int64"),
        (WHOLE, [2**70], "output n cannot be read as int64"),
        (SCORE, ["0,5"], "output p is string, expected double"),
        (SCORE, [True], "output p is bool, expected double"),
        (SCORE, np.array([1 + 2j]), "output p cannot be read as double"),
        (TEXT, [5], "output s is int64, expected string"),
        (TEXT, [NOON], r"output s is timestamp\[us\], expected string"),
        (TEXT, [b"a"], "output s is binary, expected string"),
        (FLAG, [1], "output f is int64, expected bool"),
        (FLAG, ["true"], "output f is string, expected bool"),
        (WHEN, ["2026-01-02"], "output t is string, expected timestamp"),
        (WHEN, [1767312000], "output t is int64, expected timestamp"),
        (WHEN, [dt.time(5)], r"output t is time64\[us\], expected timestamp"),
        (WHEN, [NOON.date(), NOON], "dates and times side by side"),
        (WHEN, pd.Series(pd.to_datetime(["2026-01-02T00:00:00.000000001"])), "expected timestamp"),
        (BYTES, ["a"], "output b is string, expected binary"),
        (TAGS, ["abc"], "output tags is string, expected list"),
        (TAGS, [[1]], "output tags is list<item: int64>, expected list<item: string>"),
        (DEEP, [["ab"]], "output d is string, expected list"),
        (VECTOR, {"v": [1.0, 2.0]}, "output v is double, expected list"),
        (RECORD, [{"b": "x"}], r"NULL_OUTPUT: output r\.a is null or missing"),
        (RECORD, [{"a": "1"}], r"output r\.a is string, expected int64"),
        (RECORD, ["a"], "found str, expected a dict"),
        (COUNTS, [{"x": "1"}], "output m is string, expected int64"),
        (BOTH, [{"tags": []}], "no column n: it returned tags, its signature has tags, n"),
        (BOTH, [[["t"]]], "returned 1 columns, its signature has 2"),
        (BOTH, [["t"], ["u"]], "returned 1 columns, its signature has 2"),
        (BOTH, np.array([1.0]), "returned one column, its signature has tags, n"),
        (SCORE, 0.5, "WRONG_TYPE: the model returned float, expected a DataFrame, a Series"),
        (SCORE, None, "WRONG_TYPE: the model returned NoneType"),
        (SCORE, "yes", "WRONG_TYPE: the model returned str"),
        (SCORE, np.array(0.5), "WRONG_TYPE: the model returned ndarray"),
        (SCORE, (x for x in [0.5]), "WRONG_TYPE: the model returned generator"),
        (SCORE, ([0.5], [0.25]), "WRONG_TYPE: the model returned tuple"),
        (SCORE, {"q": [0.5]}, "no column p: it returned q"),
        (SCORE, {"p": 0.5}, "output p cannot be read as double"),
        (SCORE, [{"q": 0.5}], "no column p: it returned q"),
        (SCORE, [0.5, 0.25], "ROW_COUNT: the model returned 2 rows for 1"),
        (SCORE, [], "ROW_COUNT: the model returned 0 rows for 1"),
        (SCORE, pd.DataFrame({("a", "b"): [0.5], ("a", "c"): [1.0]}), "no column p: it returned"),
        (SCORE, pd.DataFrame({"p": [0.5, 0.25]}, index=[1, 0]), "ROW_ORDER: .* in another order"),
    ],
)  # fmt: skip
def test_what_is_no_value_per_row_is_refused(outputs: pa.Schema, answer: Any, message: str) -> None:
    with pytest.raises(InvalidOutput) as refused:
        read_answer(answer, outputs, 1)
    assert re.search(message, f"{refused.value.code}: {refused.value}")
