"""Call a loaded MLflow model on one Arrow batch: by `predict_arrow` where the model has it, through pandas otherwise.

Spark-free. A model is loaded once per Python worker and shared by all its tasks.
"""

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from scoreline.digest import verify
from scoreline.errors import told
from scoreline.models.contract import UNNAMED

Call = Callable[[pa.RecordBatch, Mapping[str, Any]], pa.RecordBatch]


class BadOutput(Exception):
    """The model returned something that cannot be a result for the rows it was given; `code` says what kind."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Engine:
    """A loaded model: `call` gives its output columns, one row per input row in the same order."""

    call: Call
    speaks_arrow: bool


@lru_cache(maxsize=2)
def load_engine(path: str, outputs: pa.Schema, threads: int, *, digest: str | None = None) -> Engine:
    """Load the model in the folder `path`, once per process; BLAS and OpenMP get `threads` threads.

    If there is a `digest`, the folder is compared with it before anything of the model is imported. Raises InputError
    when they differ.
    """
    from threadpoolctl import threadpool_limits

    os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    if digest is not None:
        verify(Path(path), digest)
        # what a model's own code compiles to would be a file more in its folder
        sys.dont_write_bytecode = True
        os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(tempfile.gettempdir()) / f"numba-{os.getuid()}"))
    if (own := _shipped_model(Path(path))) is not None:
        threadpool_limits(limits=threads)
        return Engine(call=lambda batch, params: _from_arrow(own(batch, dict(params)), outputs), speaks_arrow=True)
    import mlflow

    model = mlflow.pyfunc.load_model(path)
    threadpool_limits(limits=threads)
    inner = _unwrapped(model)
    if callable(arrow := getattr(inner, "predict_arrow", None)):
        return Engine(call=lambda batch, params: _from_arrow(arrow(batch, dict(params)), outputs), speaks_arrow=True)
    return Engine(call=lambda batch, params: _by_pandas(model, batch, params, outputs), speaks_arrow=False)


def is_shipped(path: Path) -> bool:
    """Whether the folder has a model of ours: then its scorer is this package's, whichever version logged it."""
    described = path / "MLmodel"
    return described.is_file() and "recommender_script.py" in described.read_text(encoding="utf-8")


def _shipped_model(path: Path) -> Callable[..., pa.RecordBatch] | None:
    """The scorer of a model of ours, without MLflow: importing that costs each worker 2.7 seconds of CPU."""
    from scoreline.models import artifacts
    from scoreline.models.scoring import Scorer

    if not is_shipped(path):
        return None
    return Scorer(artifacts.load(path / "artifacts" / "model"))


def _unwrapped(model: Any) -> Any:
    try:
        return model.unwrap_python_model()
    except Exception:  # mlflow raises its own error for a flavour that is no PythonModel
        return None


def _from_arrow(found: Any, outputs: pa.Schema) -> pa.RecordBatch:
    if not isinstance(found, pa.RecordBatch):
        raise BadOutput("WRONG_TYPE", f"predict_arrow returned {type(found).__name__}, not a RecordBatch")
    _require_names(outputs.names, found.schema.names)
    return pa.RecordBatch.from_arrays([_cast(found.column(f.name), f) for f in outputs], schema=outputs)


def _by_pandas(model: Any, batch: pa.RecordBatch, params: Mapping[str, Any], outputs: pa.Schema) -> pa.RecordBatch:
    found = model.predict(batch.to_pandas(), params=dict(params) or None)
    columns = _columns(found, outputs)
    arrays = [_cast(_array(columns[f.name]), f) for f in outputs]
    if wrong := [len(values) for values in arrays if len(values) != batch.num_rows]:
        raise BadOutput("ROW_COUNT", f"the model returned {wrong[0]} rows for {batch.num_rows}")
    return pa.RecordBatch.from_arrays(arrays, schema=outputs)


def _columns(found: Any, outputs: pa.Schema) -> dict[str, Any]:
    """The outputs by name; by position only where the signature has no names, or the answer has none."""
    import pandas as pd

    names = outputs.names
    if isinstance(found, pd.DataFrame):
        unnamed = found.columns.equals(pd.RangeIndex(found.shape[1]))
        only = found.shape[1] == 1  # there is nothing to mistake it for
        if (unnamed or only or _has_no_names(outputs)) and found.shape[1] == len(names):
            return {name: found.iloc[:, i] for i, name in enumerate(names)}
        _require_names(names, found.columns)
        return {name: found[name] for name in names}
    if isinstance(found, dict):
        if _has_no_names(outputs) and len(found) == len(names):
            return dict(zip(names, found.values(), strict=True))
        _require_names(names, found)
        return found
    values = np.asarray(found) if not isinstance(found, pd.Series) else found
    if getattr(values, "ndim", 1) == 2:
        if values.shape[1] != len(names):
            raise BadOutput(
                "MISSING_OUTPUT",
                f"the model returned {values.shape[1]} columns, its signature has {len(names)}",
            )
        return {name: values[:, i] for i, name in enumerate(names)}
    if len(names) != 1:
        raise BadOutput("MISSING_OUTPUT", f"the model returned one column, its signature has {', '.join(names)}")
    return {names[0]: values}


def _has_no_names(outputs: pa.Schema) -> bool:
    return bool({key.encode(): value.encode() for key, value in UNNAMED.items()} == outputs.metadata)


def _require_names(names: Sequence[str], there: Iterable[Any]) -> None:
    found = list(there)
    given = [str(name) for name in found]
    if twice := [name for name in names if found.count(name) > 1]:
        raise BadOutput("MISSING_OUTPUT", f"the model returned column {twice[0]} more than once: {', '.join(given)}")
    if missing := [name for name in names if name not in found]:
        raise BadOutput(
            "MISSING_OUTPUT",
            f"the model returned no column {', '.join(missing)}: it returned {', '.join(given) or 'none'}, its "
            f"signature has {', '.join(names)}",
        )


def _array(values: Any) -> pa.Array:
    try:
        found = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError, TypeError) as error:
        raise BadOutput("WRONG_TYPE", f"the model's output is not a column of one type: {told(error)}") from None
    return found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found


def _cast(values: pa.Array, field: pa.Field) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    if values.type.equals(field.type):
        return values
    try:
        return values.cast(field.type, safe=not pa.types.is_floating(_leaf(field.type)))
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise BadOutput(
            "WRONG_TYPE", f"output {field.name} is {values.type}, expected {field.type}: {told(error)}"
        ) from None


def _leaf(kind: pa.DataType) -> pa.DataType:
    return _leaf(kind.value_type) if pa.types.is_list(kind) or pa.types.is_large_list(kind) else kind
