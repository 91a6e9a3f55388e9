"""Models of libraries that this project does not depend on, each scored as plain MLflow scores it: `make flavors`.

The name keeps it out of the ordinary suite: the libraries live in an environment of their own. PyTorch is not among
them: its wheel with what it needs is some gigabytes.
"""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from mlflow.models import infer_signature

from plain import plain, scored
from scoreline.errors import InputError
from scoreline.registry.client import quiet_mlflow

ROWS = 40
DICE = np.random.default_rng(5)
TABLE = pa.table(
    {
        "age": pa.array(DICE.normal(40, 12, ROWS), pa.float64()),
        "visits": pa.array(DICE.integers(0, 30, ROWS), pa.int32()),
        "spent": pa.array([None if i % 7 == 0 else float(i) for i in range(ROWS)], pa.float64()),
        "small": pa.array(DICE.normal(size=ROWS).astype("f4"), pa.float32()),
        "city": pa.array([["Ulm", "Łódź", "Bonn"][i % 3] for i in range(ROWS)]),
    }
)
FRAME = TABLE.to_pandas()
NUMBERS = FRAME[["visits", "age", "spent"]]
MATRIX, SINGLE = NUMBERS.to_numpy(dtype=np.float64), NUMBERS[["age", "spent"]].to_numpy(dtype=np.float32)
WANTED, KIND, PLAN = FRAME["age"] * 2, FRAME["visits"] % 3, np.array(["basic", "plus", "gold"])[FRAME["visits"] % 3]
Saved = tuple[Callable[[Path, Any], None], Any, Any, list[str]]  # how to save, an example and its answer, input.columns


def _xgboost() -> dict[str, Saved]:
    import xgboost as xgb

    def save(model: Any) -> Callable[[Path, Any], None]:
        return lambda folder, signature: mlflow.xgboost.save_model(model, folder, signature=signature)

    regressor = xgb.XGBRegressor(n_estimators=5).fit(NUMBERS, WANTED)
    classifier = xgb.XGBClassifier(n_estimators=5).fit(MATRIX, KIND)
    booster = xgb.train({"max_depth": 2}, xgb.DMatrix(NUMBERS, label=WANTED), 5)
    return {
        "regressor of a frame": (save(regressor), NUMBERS, regressor.predict(NUMBERS), []),
        "classifier of a matrix": (save(classifier), MATRIX, classifier.predict(MATRIX), list(NUMBERS)),
        "booster": (save(booster), NUMBERS, booster.predict(xgb.DMatrix(NUMBERS)), []),
    }


def _lightgbm() -> dict[str, Saved]:
    import lightgbm as lgb

    def save(model: Any) -> Callable[[Path, Any], None]:
        return lambda folder, signature: mlflow.lightgbm.save_model(model, folder, signature=signature)

    quiet = {"verbose": -1, "min_data_in_leaf": 2}
    classifier = lgb.LGBMClassifier(n_estimators=5, **quiet).fit(NUMBERS, PLAN)
    booster = lgb.train({"objective": "multiclass", "num_class": 3, **quiet}, lgb.Dataset(MATRIX, KIND), 5)
    return {
        "classifier with labels": (save(classifier), NUMBERS, classifier.predict(NUMBERS), []),
        "booster with probabilities": (save(booster), MATRIX, booster.predict(MATRIX), list(NUMBERS)),
    }


def _catboost() -> dict[str, Saved]:
    import catboost

    def save(model: Any) -> Callable[[Path, Any], None]:
        return lambda folder, signature: mlflow.catboost.save_model(model, folder, signature=signature)

    quiet = {"iterations": 5, "verbose": False, "allow_writing_files": False}
    mixed = FRAME[["city", "age", "visits"]]
    labels = catboost.CatBoostClassifier(**quiet).fit(mixed, PLAN, cat_features=["city"])
    number = catboost.CatBoostRegressor(**quiet).fit(MATRIX, WANTED)
    return {
        "classifier of text, labels in a column": (save(labels), mixed, labels.predict(mixed), []),
        "regressor of a matrix": (save(number), MATRIX, number.predict(MATRIX), list(NUMBERS)),
    }


def _onnx() -> dict[str, Saved]:
    import onnx
    from onnx import TensorProto, helper

    def graph(inputs: dict[str, list[Any]], nodes: list[Any], outputs: dict[str, list[Any]]) -> Any:
        def told(values: dict[str, list[Any]]) -> list[Any]:
            return [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in values.items()]

        made = helper.make_graph(nodes, "g", told(inputs), told(outputs))
        return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)

    def save(model: Any) -> Callable[[Path, Any], None]:
        return lambda folder, signature: mlflow.onnx.save_model(model, folder, signature=signature)

    filled = np.nan_to_num(SINGLE)
    twice = graph({"x": [None, 2]}, [helper.make_node("Add", ["x", "x"], ["y"])], {"y": [None, 2]})
    pair = graph(
        {"small": [None, 1], "v": [None, 2]},
        [helper.make_node("Mul", ["small", "v"], ["y"]), helper.make_node("Neg", ["small"], ["z"])],
        {"y": [None, 2], "z": [None, 1]},
    )
    named = {"small": FRAME[["small"]].to_numpy(), "v": filled}
    return {
        "one matrix": (save(twice), {"x": filled}, {"y": filled * 2}, []),
        "named tensors": (save(pair), named, {"y": named["small"] * filled, "z": -named["small"]}, []),
        "a dict for a frame": (save(onnx.ModelProto.FromString(twice.SerializeToString())), {"x": filled}, None, []),
    }


MODELS = {
    f"{library}: {name}": saved
    for library, make in (("xgboost", _xgboost), ("lightgbm", _lightgbm), ("catboost", _catboost), ("onnx", _onnx))
    for name, saved in make().items()
}


def _rows(answer: Any) -> list[tuple[Any, ...]]:
    """An answer row by row, whatever its shape."""
    if isinstance(answer, dict):
        columns = [list(map(_plainly, values)) for values in answer.values()]
        return list(zip(*columns, strict=True))
    if isinstance(answer, pd.DataFrame):
        return [tuple(map(_plainly, row)) for row in answer.itertuples(index=False)]
    found = np.asarray(answer)
    return [tuple(np.atleast_1d(row).tolist()) for row in found]


def _plainly(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


@pytest.mark.parametrize("name", MODELS)
def test_a_library_s_model_is_scored_as_by_plain_mlflow(name: str, tmp_path: Path) -> None:
    save, example, answer, named = MODELS[name]
    with quiet_mlflow(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        save(tmp_path / "model", infer_signature(example, answer))
    lists = pa.array(np.nan_to_num(SINGLE).tolist(), pa.list_(pa.float32()))
    table = TABLE.append_column("x", lists).append_column("v", lists)
    if answer is None:
        with pytest.raises(InputError, match="does not say what it gives"):
            scored(tmp_path / "model", table, named=named)
        return
    found = scored(tmp_path / "model", table, named=named)
    right = _rows(plain(tmp_path / "model", example))
    flat = [tuple(part for value in row for part in (value if isinstance(value, list) else [value])) for row in right]
    got = [
        tuple(part for value in row for part in (value if isinstance(value, list) else [value]))
        for row in zip(*found.values(), strict=True)
    ]
    assert got == flat
