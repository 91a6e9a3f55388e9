"""From a batch of histories to a batch of lists, the fallback included: all that `predict` does."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ..errors import InputError
from .artifacts import FittedModel
from .histories import Histories
from .item_index import ItemIndex
from .popularity import completed
from .topk import TopK

__all__ = ["DEFAULTS", "RecommendParams", "Scorer", "recommend"]

DEFAULTS: dict[str, object] = {"k": 20, "exclude_seen": True, "allowed_items": [], "blocked_items": []}


class Scorer:
    """A fitted model as a function of Arrow batches; what the MLflow model does, without MLflow."""

    def __init__(self, model: FittedModel) -> None:
        self.model = model
        self._asked: dict[str, object] | None = None

    def __call__(self, batch: pa.RecordBatch, params: Mapping[str, Any] | None = None) -> pa.RecordBatch:
        """Columns `item_ids`, maybe `weights` and `older_item_ids` in; `item_ids, scores, source` out, row by row."""
        weights, older = (
            batch.column(name) if name in batch.schema.names else None for name in ("weights", "older_item_ids")
        )
        histories = Histories.from_arrow(batch.column("item_ids"), weights, self.model.catalogue, older)
        lists, is_fallback = recommend(self.model, histories, self._rules(params or {}))
        return _to_arrow(lists, is_fallback, self.model.catalogue)

    def _rules(self, params: Mapping[str, Any]) -> "RecommendParams":
        """The rules of these params; kept, because every batch of a run asks the same."""
        asked = {**DEFAULTS, **params}
        unknown = sorted(asked.keys() - DEFAULTS.keys())
        if unknown:
            raise InputError(f"param {unknown[0]} is not understood; there are {', '.join(DEFAULTS)}")
        if self._asked is None or not _same(asked, self._asked):
            self._rules_asked = RecommendParams.of(
                int(asked["k"]),
                exclude_seen=bool(asked["exclude_seen"]),
                allowed=asked["allowed_items"],
                blocked=asked["blocked_items"],
                catalogue=self.model.catalogue,
            )
            self._asked = asked
        return self._rules_asked


@dataclass(frozen=True)
class RecommendParams:
    """What is asked of the model: at most `k` items, seen ones or not, and which items may come at all.

    eligible: bool per item of the catalogue; None for all of them.
    """

    k: int
    exclude_seen: bool
    eligible: npt.NDArray[np.bool_] | None

    @classmethod
    def of(cls, k: int, *, exclude_seen: bool, allowed: Any, blocked: Any, catalogue: ItemIndex) -> "RecommendParams":
        """Rules from ids: `allowed` and `blocked` are sequences, None or empty for no such rule.

        Ids that the model does not know are ignored: if none of `allowed` is known, nothing may come.
        """
        if k < 1:
            raise InputError(f"k is {k}: ask for at least one item")
        allowed_at, blocked_at = _indexes(allowed, catalogue), _indexes(blocked, catalogue)
        if allowed_at is None and blocked_at is None:
            return cls(k, exclude_seen, None)
        eligible = np.zeros(len(catalogue) + 1, dtype=np.bool_)  # one more for index -1
        eligible[slice(None) if allowed_at is None else allowed_at] = True
        if blocked_at is not None:
            eligible[blocked_at] = False
        return cls(k, exclude_seen, eligible[:-1])


def _indexes(ids: Any, catalogue: ItemIndex) -> npt.NDArray[np.int32] | None:
    if ids is None or not len(ids):
        return None
    return catalogue.index_of(ids if isinstance(ids, pa.Array) else pa.array(ids))


def recommend(model: FittedModel, histories: Histories, rules: RecommendParams) -> tuple[TopK, npt.NDArray[np.bool_]]:
    """Lists of the batch's users, and which of them are the popularity list instead of the model's.

    Each list has min(k, eligible unseen items) entries. A user for whom the model has nothing gets the most
    popular items, scored by their number of users.
    """
    knobs: dict[str, Any] = {"k": rules.k, "exclude_seen": rules.exclude_seen, "eligible": rules.eligible}
    lists = model.estimator.recommend(histories, **knobs)
    is_fallback = lists.lengths == 0
    if not is_fallback.any():
        return lists, is_fallback
    lists = completed(lists, model.popularity.order_, histories, where=is_fallback, **knobs)
    popular = np.repeat(is_fallback, lists.lengths)
    scores = np.where(popular, model.popularity.popularity_[lists.items], lists.scores)
    return replace(lists, scores=scores), is_fallback


def _to_arrow(lists: TopK, is_fallback: npt.NDArray[np.bool_], catalogue: ItemIndex) -> pa.RecordBatch:
    """Columns `item_ids` (list), `scores` (list of float) and `source` (`model` or `fallback`)."""
    offsets = pa.array(lists.offsets.astype(np.int32))
    source = pa.DictionaryArray.from_arrays(pa.array(is_fallback.astype(np.int8)), ["model", "fallback"])
    columns = [
        pa.ListArray.from_arrays(offsets, catalogue.ids_of(lists.items)),
        pa.ListArray.from_arrays(offsets, pa.array(lists.scores)),
        source.cast(pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, ["item_ids", "scores", "source"])


def _same(left: dict[str, object], right: dict[str, object]) -> bool:
    """Whether two sets of params are equal; the same list objects are not looked through."""
    return all(
        left[name] is right[name]
        or (type(left[name]) is type(right[name]) and pa.array(left[name]).equals(pa.array(right[name])))
        if name.endswith("_items")
        else left[name] == right[name]
        for name in DEFAULTS
    )
