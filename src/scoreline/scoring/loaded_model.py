"""Call a loaded MLflow model on one Arrow batch: by `predict_arrow` where the model has it, through pandas otherwise.

Spark-free. A model is loaded once per Python worker and shared by all its tasks.
"""

import os
import re
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any

import pyarrow as pa

from scoreline.errors import InputError, told
from scoreline.hashing import verify
from scoreline.models.handover import handed_over
from scoreline.redaction import redacted
from scoreline.scoring.output_checks import InvalidOutput, cast, read_answer, require_names

_PACKAGE = re.compile(r"^\s*scoreline_package: (scoreline_model_[0-9a-f]{12})\s*$", re.MULTILINE)

# gives the output columns of a batch, one row per input row in the same order
LoadedModel = Callable[[pa.RecordBatch, Mapping[str, object]], pa.RecordBatch]


@lru_cache(maxsize=2)
def load_model(path: str, outputs: pa.Schema, threads: int, *, digest: str | None = None) -> LoadedModel:
    """Load the model in the folder `path`, once per process; libraries that it brings start with `threads` threads.

    If there is a `digest`, the folder is compared with it before anything of the model is imported. Raises InputError
    when they differ.
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    if digest is not None:
        verify(Path(path), digest)
        # what a model's own code compiles to would be a file more in its folder
        sys.dont_write_bytecode = True
        os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"numba-{os.getuid()}"))
    if (own := _shipped_model(Path(path))) is not None:
        return lambda batch, params: _from_arrow(own(batch, dict(params)), outputs)
    model = _loaded(Path(path))
    inner = _unwrapped(model)
    if callable(arrow := getattr(inner, "predict_arrow", None)):
        return lambda batch, params: _from_arrow(arrow(batch, dict(params)), outputs)
    schema = model.metadata.get_input_schema()
    return lambda batch, params: _by_pandas(model, batch, params, outputs, schema)


def _loaded(path: Path) -> Any:
    import mlflow

    try:
        return mlflow.pyfunc.load_model(str(path))
    except MemoryError:
        raise
    except Exception as error:  # whatever the model's own code and the libraries it was pickled with raise
        said = redacted(f"{type(error).__name__}: {told(error)}").rstrip(". ")
        wants = path / "requirements.txt"
        listed = ", ".join(wants.read_text(encoding="utf-8").split()[:20]) if wants.is_file() else "nothing"
        remedy = "install these where the workers run, or log the model again with what they have"
        lacking = error.name if isinstance(error, ModuleNotFoundError) else None
        if lacking and not re.search(rf"\b{re.escape(lacking.split('.')[0])}\b", listed.replace("-", "_")):
            remedy = (
                f"{lacking} is not among it. Install what it is of where the workers run, and log the model with it in "
                "pip_requirements, or with its own code in code_paths"
            )
        raise InputError(
            f"the model in {path} cannot be loaded where it is to score ({said}). It was logged with {listed}: {remedy}"
        ) from error


def import_for(path: Path) -> None:
    """Import MLflow and the installed libraries that the model's flavours name; nothing that is the model's own."""
    with suppress(Exception):  # said when the model is loaded
        from mlflow.models import Model

        for flavor, said in Model.load(str(path)).flavors.items():
            name = said["loader_module"] if flavor == "python_function" else flavor
            if flavor != "python_function" or name.startswith("mlflow."):
                import_module(name)


def is_shipped(path: Path) -> bool:
    """Whether the folder has a model of ours."""
    return _package(path) is not None


def _package(path: Path) -> str | None:
    described = path / "MLmodel"
    found = _PACKAGE.search(described.read_text(encoding="utf-8")) if described.is_file() else None
    return found[1] if found and (path / "code" / found[1]).is_dir() else None


def _shipped_model(path: Path) -> Callable[..., pa.RecordBatch] | None:
    """The scorer of a model of ours, of the code that was logged with it; without MLflow, which costs 2.7 s of CPU."""
    name = _package(path)
    if name is None:
        return None
    if (code := str(path / "code")) not in sys.path:
        sys.path.append(code)  # the name is that of one code only
    artifacts, scoring = (import_module(f"{name}.models.{module}") for module in ("artifacts", "scoring"))
    scorer: Callable[..., pa.RecordBatch] = scoring.Scorer(artifacts.load(path / "artifacts" / "model"))
    return scorer


def _unwrapped(model: Any) -> Any:
    try:
        return model.unwrap_python_model()
    except Exception:  # mlflow raises its own error for a flavour that is no PythonModel
        return None


def _from_arrow(found: object, outputs: pa.Schema) -> pa.RecordBatch:
    if not isinstance(found, pa.RecordBatch):
        raise InvalidOutput("WRONG_TYPE", f"predict_arrow returned {type(found).__name__}, not a RecordBatch")
    require_names(outputs.names, found.schema.names)
    return pa.RecordBatch.from_arrays([cast(found.column(f.name), f) for f in outputs], schema=outputs)


def _by_pandas(
    model: Any, batch: pa.RecordBatch, params: Mapping[str, object], outputs: pa.Schema, schema: Any = None
) -> pa.RecordBatch:
    typed = schema is not None and model.metadata._is_signature_from_type_hint()
    found = model.predict(handed_over(batch, schema, typed=typed), params=dict(params) or None)
    return read_answer(found, outputs, batch.num_rows)
