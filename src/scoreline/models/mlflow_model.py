"""Log a fitted model to MLflow: code, arrays, signature, example and pinned requirements, and no pickle."""

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import pandas as pd

from scoreline import __version__

from . import artifacts
from .artifacts import FittedModel
from .scoring import DEFAULTS

__all__ = ["PACKAGE", "log_recommender", "signature_of", "write_package"]

PACKAGE = "scoreline_package"  # the key of a model's metadata that says which of its code is ours

_SCRIPT = """# What MLflow runs to make the model when it is loaded (models from code): no object is pickled.
from mlflow.models import set_model

from {name}.models.recommender import Recommender

set_model(Recommender())
"""
_NEEDED = ("mlflow", "numpy", "pandas", "pyarrow", "scipy", "threadpoolctl")


def log_recommender(model: FittedModel, *, registered_name: str | None = None) -> Any:
    """Log `model` to the active MLflow run (or a new one), register it if named; gives mlflow's ModelInfo."""
    import mlflow

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / artifacts.NAME
        artifacts.save(model, folder)
        package = write_package(Path(scratch) / "code")
        script = Path(scratch) / "recommender_script.py"
        script.write_text(_SCRIPT.format(name=package.name), encoding="utf-8")
        with _importable(package):
            return mlflow.pyfunc.log_model(
                name="model",
                python_model=str(script),
                artifacts={artifacts.NAME: str(folder)},
                code_paths=[str(package)],
                signature=signature_of(model),
                input_example=_example(model),
                pip_requirements=_requirements(),
                registered_model_name=registered_name,
                metadata={"estimator": model.name, "items": len(model.catalogue), PACKAGE: package.name},
            )


def write_package(folder: Path) -> Path:
    """Write what a logged recommender runs into `folder`, as a package whose name tells its code from any other.

    `models` and `errors`, as they are: a process that has imported another version of this project, or loads models of
    several, runs each with the code that it was logged with. Also where this package lies in an archive.
    """
    root = files(__package__).parent  # type: ignore[attr-defined]  # a MultiplexedPath has none, and this is no namespace
    modules = {"errors.py": root.joinpath("errors.py").read_bytes(), **_modules(root.joinpath("models"), "models")}
    code = hashlib.sha256()
    for name, content in sorted(modules.items()):
        code.update(f"{name} {len(content)}\n".encode() + content)
    package = folder / f"scoreline_model_{code.hexdigest()[:12]}"
    about = f'"""The code of a recommender, logged by scoreline {__version__}."""\n'.encode()
    for name, content in {"__init__.py": about, **modules}.items():
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return package


def _modules(folder: Traversable, name: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    for entry in folder.iterdir():
        if entry.is_dir():
            found |= _modules(entry, f"{name}/{entry.name}")
        elif entry.name.endswith(".py"):
            found[f"{name}/{entry.name}"] = entry.read_bytes()
    return found


@contextmanager
def _importable(package: Path) -> Iterator[None]:
    """MLflow runs the script while it logs the model; what that imports is gone afterwards, as its files are."""
    sys.path.insert(0, str(package.parent))
    try:
        yield
    finally:
        sys.path.remove(str(package.parent))
        for name in [name for name in sys.modules if name.split(".")[0] == package.name]:
            del sys.modules[name]


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
