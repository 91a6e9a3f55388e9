"""The MLflow model: the shipped estimators behind `predict` (pandas) and `predict_arrow` (Arrow)."""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from mlflow.pyfunc import PythonModel, PythonModelContext
from threadpoolctl import threadpool_limits

from ..errors import InputError, told
from . import artifacts
from .scoring import Scorer

__all__ = ["Recommender"]


class Recommender(PythonModel):  # type: ignore[misc]  # mlflow has no types
    """Histories in, lists out.

    Input columns: `item_ids` (list of long or string), optionally `weights` (list of float, as long) and
    `older_item_ids` (list of ids that were seen before; they count for `exclude_seen` only). Output columns:
    `item_ids`, `scores` (lists, best first) and `source` (`model` or `fallback`), row by row.
    Params: `k`, `exclude_seen`, `allowed_items` and `blocked_items` (lists of ids, empty for no such rule).
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Map the model's arrays, and keep BLAS to the threads this process was given."""
        threads = os.environ.get("OMP_NUM_THREADS", "")
        if threads.isdecimal() and int(threads):
            threadpool_limits(int(threads))
        self.scorer = Scorer(artifacts.load(Path(context.artifacts[artifacts.NAME])))

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, object] | None = None
    ) -> pd.DataFrame:
        """`predict_arrow` for a DataFrame of the same columns."""
        if "item_ids" not in model_input.columns:
            raise InputError(f"column item_ids is missing; there are {', '.join(map(str, model_input.columns))}")
        columns = {"item_ids": _lists(model_input["item_ids"], self.scorer.model.catalogue.type)}
        if "weights" in model_input.columns:
            columns["weights"] = _lists(model_input["weights"], pa.float32())
        if "older_item_ids" in model_input.columns:
            columns["older_item_ids"] = _lists(model_input["older_item_ids"], self.scorer.model.catalogue.type)
        answer: pd.DataFrame = self.predict_arrow(pa.RecordBatch.from_pydict(columns), params).to_pandas()
        answer.index = model_input.index
        return answer

    def predict_arrow(self, batch: pa.RecordBatch, params: dict[str, object] | None = None) -> pa.RecordBatch:
        """Lists for the users of `batch`, in its order."""
        return self.scorer(batch, params)


def _lists(column: "pd.Series[Any]", kind: pa.DataType) -> pa.Array:
    """A column of lists or arrays; None and NaN are null lists."""
    try:
        return pa.array(column, pa.list_(kind), from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"column {column.name} is no column of lists of {kind}: {told(error)}") from error
