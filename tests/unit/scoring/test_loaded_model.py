"""A model's outputs are taken by their names; by position only where there are no names."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from scoreline.errors import InputError
from scoreline.models.signature import UNNAMED, check_output_names
from scoreline.scoring.loaded_model import load_model
from scoreline.scoring.output_checks import InvalidOutput, answer_columns

FRAUD = pa.schema([("p_fraud", pa.float64()), ("p_legit", pa.float64())])
PLAIN = pa.schema([("prediction_0", pa.float64()), ("prediction_1", pa.float64())], metadata=UNNAMED)


def taken(found: Any, outputs: pa.Schema) -> dict[str, list[float]]:
    columns = answer_columns(found, outputs)
    return {name: list(columns[name]) for name in outputs.names}


@pytest.mark.parametrize(
    ("found", "outputs"),
    [
        pytest.param(pd.DataFrame({"p_legit": [0.9], "p_fraud": [0.1]}), FRAUD, id="in another order"),
        pytest.param(pd.DataFrame({"p_legit": [0.9], "other": [7.0], "p_fraud": [0.1]}), FRAUD, id="and one more"),
        pytest.param({"p_legit": [0.9], "p_fraud": [0.1]}, FRAUD, id="a dict"),
        pytest.param(pd.DataFrame([[0.1, 0.9]]), FRAUD, id="a frame without names"),
        pytest.param(np.array([[0.1, 0.9]]), FRAUD, id="a matrix"),
        pytest.param(pd.DataFrame({"a": [0.1], "b": [0.9]}), PLAIN, id="a signature without names"),
    ],
)
def test_outputs_are_found(found: Any, outputs: pa.Schema) -> None:
    assert list(taken(found, outputs).values()) == [[0.1], [0.9]]


@pytest.mark.parametrize(
    "found",
    [
        pd.DataFrame({"p_legit": [0.99], "probability_fraud": [0.01]}),
        pd.DataFrame({"a": [0.99], "b": [0.01]}),
        {"p_legit": [0.99], "probability_fraud": [0.01]},
    ],
)
def test_half_an_answer_is_none(found: Any) -> None:
    with pytest.raises(InvalidOutput, match=r"no column p_fraud.*: it returned .*, its signature has p_fraud, p_legit"):
        taken(found, FRAUD)


def test_a_column_that_is_there_twice_or_is_called_by_a_number_is_none() -> None:
    twice = pd.DataFrame([[0.1, 0.2, 0.9]], columns=["p_fraud", "p_fraud", "p_legit"])
    with pytest.raises(InvalidOutput, match="column p_fraud more than once: p_fraud, p_fraud, p_legit"):
        taken(twice, FRAUD)
    numbers = pa.schema([("1", pa.float64()), ("x", pa.float64())])
    with pytest.raises(InvalidOutput, match="no column 1: it returned 1, x, 2"):
        taken(pd.DataFrame([[0.1, 0.2, 0.3]], columns=[1, "x", 2]), numbers)


@pytest.mark.parametrize(
    ("names", "why"),
    [
        (["user_id"], "the table has a column user_id of its own"),
        (["Bucket"], "the table has a column bucket of its own"),
        (["Y", "y"], "it differs from output 'Y' by nothing, or by case only"),
        (["sepal length (cm)"], r"Delta stores no column with ' ' or '\(' or '\)' in its name"),
    ],
)
def test_an_output_that_can_be_no_column_is_refused(names: list[str], why: str) -> None:
    with pytest.raises(InputError, match=f"{why}. Rename it: "):
        check_output_names(pa.schema([(name, pa.float64()) for name in names]), ["user_id", "bucket"])


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        (pa.struct({"a b": pa.int64()}), "Delta stores no column with ' ' in the name of its part 'a b'"),
        (
            pa.list_(pa.struct({"a": pa.struct({"x;y": pa.int64()})})),
            "with ';' in the name of its part 'x;y'",
        ),
        (pa.map_(pa.string(), pa.struct({"a": pa.int64(), "A": pa.int64()})), "two of its parts differ .*: a, A"),
    ],
)
def test_an_output_with_a_part_that_can_be_no_column_is_refused(kind: pa.DataType, why: str) -> None:
    with pytest.raises(InputError, match=f"{why}. Rename it: "):
        check_output_names(pa.schema([("o", kind)]), [])


def test_a_model_that_cannot_be_loaded_says_what_it_was_logged_with(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text(
        "flavors: {python_function: {loader_module: no_such_library, python_version: 3.11.0}}\n"
        "model_uuid: a\nutc_time_created: '2026-01-01'\n",
        encoding="utf-8",
    )
    (tmp_path / "requirements.txt").write_text("no-such-library==1.0\nmlflow\n", encoding="utf-8")
    said = r"No module named .no_such_library.\)\. It was logged with no-such-library==1\.0, mlflow: install"
    with pytest.raises(InputError, match=said):
        load_model(str(tmp_path), FRAUD, 1)


class Lacking(mlflow.pyfunc.PythonModel):
    def load_context(self, context: Any) -> None:
        import not_installed_here.layers  # noqa: F401

    def predict(self, context: Any, model_input: Any, params: Any = None) -> Any:
        return model_input


@pytest.mark.parametrize(
    ("requirements", "remedy"),
    [
        (["pandas"], "not_installed_here is not among it. Install what it is of where the workers run"),
        (["not-installed-here==1.0"], "install these where the workers run"),
    ],
)
def test_what_a_model_lacks_is_named_with_what_brings_it(tmp_path: Path, requirements: list[str], remedy: str) -> None:
    mlflow.pyfunc.save_model(str(tmp_path / "model"), python_model=Lacking(), pip_requirements=requirements)
    with pytest.raises(InputError) as told:
        load_model(str(tmp_path / "model"), pa.schema([("a", pa.int64())]), 1)
    assert "No module named 'not_installed_here'" in str(told.value)
    assert remedy in str(told.value)
