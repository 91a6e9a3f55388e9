"""The MLflow model: the shipped estimators behind `predict` (pandas) and `predict_arrow` (Arrow)."""

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
from mlflow.pyfunc import PythonModel, PythonModelContext
from threadpoolctl import threadpool_limits

from scoreline.errors import InputError
from scoreline.models import artifacts, scoring
from scoreline.models.histories import Histories

__all__ = ["ARTIFACT", "DEFAULTS", "Recommender"]

ARTIFACT = "model"
DEFAULTS: dict[str, Any] = {"k": 20, "exclude_seen": True, "allowed_items": [], "blocked_items": []}


class Recommender(PythonModel):  # type: ignore[misc]  # mlflow has no types
    """Histories in, lists out.

    Input columns: `item_ids` (list of long or string), optionally `weights` (list of float, as long). Output
    columns: `item_ids`, `scores` (lists, best first) and `source` (`model` or `fallback`), row by row.
    Params: `k`, `exclude_seen`, `allowed_items` and `blocked_items` (lists of ids, empty for no such rule).
    """

    def load_context(self, context: PythonModelContext) -> None:
        """Map the model's arrays, and keep BLAS to the threads this process was given."""
        threads = os.environ.get("OMP_NUM_THREADS", "")
        if threads.isdecimal() and int(threads):
            threadpool_limits(int(threads))
        self._load(Path(context.artifacts[ARTIFACT]))

    def _load(self, folder: Path) -> None:
        self._model = artifacts.load(folder)
        self._asked: dict[str, Any] | None = None

    def predict(
        self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None
    ) -> pd.DataFrame:
        """`predict_arrow` for a DataFrame of the same columns."""
        if "item_ids" not in model_input.columns:
            raise InputError(
                f"column item_ids is missing; there are {', '.join(map(str, model_input.columns))}"
            )
        columns = {"item_ids": _lists(model_input["item_ids"], self._model.catalogue.type)}
        if "weights" in model_input.columns:
            columns["weights"] = _lists(model_input["weights"], pa.float32())
        answer: pd.DataFrame = self.predict_arrow(pa.RecordBatch.from_pydict(columns), params).to_pandas()
        answer.index = model_input.index
        return answer

    def predict_arrow(self, batch: pa.RecordBatch, params: dict[str, Any] | None = None) -> pa.RecordBatch:
        """Lists for the users of `batch`, in its order."""
        weights = batch.column("weights") if "weights" in batch.schema.names else None
        histories = Histories.from_arrow(batch.column("item_ids"), weights, self._model.catalogue)
        lists, is_fallback = scoring.recommend(self._model, histories, self._rules(params or {}))
        return scoring.to_arrow(lists, is_fallback, self._model.catalogue)

    def _rules(self, params: dict[str, Any]) -> scoring.Rules:
        """The rules of these params; kept, because every batch of a run asks the same."""
        asked = {**DEFAULTS, **params}
        unknown = sorted(asked.keys() - DEFAULTS.keys())
        if unknown:
            raise InputError(f"param {unknown[0]} is not understood; there are {', '.join(DEFAULTS)}")
        if self._asked is None or not _same(asked, self._asked):
            self._rules_asked = scoring.Rules.of(
                int(asked["k"]),
                exclude_seen=bool(asked["exclude_seen"]),
                allowed=asked["allowed_items"],
                blocked=asked["blocked_items"],
                catalogue=self._model.catalogue,
            )
            self._asked = asked
        return self._rules_asked


def _same(left: dict[str, Any], right: dict[str, Any]) -> bool:
    """Whether two sets of params are equal; the same list objects are not looked through."""
    return all(
        left[name] is right[name]
        or (type(left[name]) is type(right[name]) and pa.array(left[name]).equals(pa.array(right[name])))
        if name.endswith("_items")
        else left[name] == right[name]
        for name in DEFAULTS
    )


def _lists(column: "pd.Series[Any]", kind: pa.DataType) -> pa.Array:
    """A column of lists or arrays; None and NaN are null lists."""
    try:
        return pa.array(column, pa.list_(kind), from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise InputError(f"column {column.name} is no column of lists of {kind}: {error}") from error
