"""What plain MLflow answers for a table, beside what a worker answers for the same rows as Arrow batches."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from scoreline.models.signature import check_contract
from scoreline.registry.client import quiet_mlflow
from scoreline.registry.files import signature
from scoreline.scoring.loaded_model import load_model
from scoreline.scoring.task import ScoringTask, score_batch


def scored(folder: Path, table: pa.Table, *, named: Sequence[str] = (), params: Any = None) -> dict[str, list[Any]]:
    """The outputs of the model in `folder`, by column, as a worker scores them; a failed row has `CODE: message`.

    Raises InputError as a run would before it reads a row.
    """
    contract = check_contract(signature(folder), table.schema, named=named)
    result = pa.schema([("row", pa.int64()), ("outcome", pa.string()), ("code", pa.string()), ("message", pa.string())])
    task = ScoringTask(
        model_path=str(folder),
        kind="tabular",
        carried=("row",),
        inputs=contract.inputs,
        outputs=contract.outputs,
        staged=pa.schema([*result, *contract.outputs]),
        params=params or {},
        k=1,
        seen=(),
        blocked=None,
        allowed=None,
        optional=contract.optional,
    )
    rows = table.append_column("row", pa.array(range(len(table)), pa.int64())).combine_chunks().to_batches()[0]
    engine = load_model(str(folder), contract.outputs, 1)
    found = score_batch(task, engine, rows.select(list(task.columns)))
    failed = [None if one["outcome"] == "scored" else f"{one['code']}: {one['message']}" for one in found.to_pylist()]
    return {
        name: [failed[row] or value for row, value in enumerate(found.column(name).to_pylist())]
        for name in contract.outputs.names
    }


def plain(folder: Path, frame: Any, params: Any = None) -> Any:
    """What `mlflow.pyfunc.load_model(folder).predict(frame)` gives."""
    import mlflow

    with quiet_mlflow(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mlflow.pyfunc.load_model(str(folder)).predict(frame, params=params)
