"""Log a fitted model to MLflow: code, arrays, signature, example and pinned requirements, and no pickle."""

import tempfile
import zipfile
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pandas as pd

from scoreline.models import artifacts
from scoreline.models.artifacts import FittedModel
from scoreline.models.scoring import DEFAULTS

__all__ = ["log_recommender", "signature_of"]

_PACKAGE = Path(__file__).resolve().parents[1]
_NEEDED = ("mlflow", "numpy", "pandas", "pyarrow", "scipy", "threadpoolctl")


def log_recommender(model: FittedModel, *, registered_name: str | None = None) -> Any:
    """Log `model` to the active MLflow run (or a new one), register it if named; gives mlflow's ModelInfo."""
    import mlflow

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / artifacts.NAME
        artifacts.save(model, folder)
        package = _package(Path(scratch))
        return mlflow.pyfunc.log_model(
            name="model",
            python_model=str(package / "models" / "recommender_script.py"),
            artifacts={artifacts.NAME: str(folder)},
            code_paths=[str(package)],
            signature=signature_of(model),
            input_example=_example(model),
            pip_requirements=_requirements(),
            registered_model_name=registered_name,
            metadata={"estimator": model.name, "items": len(model.catalogue)},
        )


def _package(scratch: Path) -> Path:
    """The folder of this package; taken out of the archive if it came to a cluster as one."""
    if _PACKAGE.is_dir():
        return _PACKAGE
    with zipfile.ZipFile(_PACKAGE.parent) as packed:
        packed.extractall(scratch, [name for name in packed.namelist() if name.startswith(f"{_PACKAGE.name}/")])
    return scratch / _PACKAGE.name


def signature_of(model: FittedModel) -> Any:
    """The contract of a recommender as an mlflow ModelSignature; ids have the type of the catalogue."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    key = DataType.long if model.catalogue.is_long else DataType.string
    inputs = [
        ColSpec(Array(key), "item_ids"),
        ColSpec(Array(DataType.double), "weights", required=False),
        ColSpec(Array(key), "older_item_ids", required=False),
    ]
    outputs = [
        ColSpec(Array(key), "item_ids"),
        ColSpec(Array(DataType.float), "scores"),
        ColSpec(DataType.string, "source"),
    ]
    params = [
        ParamSpec("k", DataType.long, DEFAULTS["k"]),
        ParamSpec("exclude_seen", DataType.boolean, DEFAULTS["exclude_seen"]),
        ParamSpec("allowed_items", key, DEFAULTS["allowed_items"], shape=(-1,)),
        ParamSpec("blocked_items", key, DEFAULTS["blocked_items"], shape=(-1,)),
    ]
    return ModelSignature(Schema(inputs), Schema(outputs), ParamSchema(params))


def _example(model: FittedModel) -> pd.DataFrame:
    ids = model.catalogue.ids.slice(0, 2).to_pylist()
    return pd.DataFrame({"item_ids": [ids, ids[:1]], "weights": [[1.0] * len(ids), [1.0] * len(ids[:1])]})


def _requirements() -> list[str]:
    """Exactly what is installed here of what scoring imports."""
    found = []
    for name in _NEEDED:
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:  # mlflow may be installed as mlflow-skinny
            continue
    return found
