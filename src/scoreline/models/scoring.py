"""From a batch of histories to a batch of lists, the fallback included: all that `predict` does."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scoreline.errors import InputError
from scoreline.models.artifacts import FittedModel
from scoreline.models.catalogue import Catalogue
from scoreline.models.histories import Histories
from scoreline.models.popularity import completed
from scoreline.models.topk import TopK

__all__ = ["Rules", "recommend", "to_arrow"]


@dataclass(frozen=True)
class Rules:
    """What is asked of the model: at most `k` items, seen ones or not, and which items may come at all.

    eligible: bool per item of the catalogue; None for all of them.
    """

    k: int
    exclude_seen: bool
    eligible: npt.NDArray[np.bool_] | None

    @classmethod
    def of(cls, k: int, *, exclude_seen: bool, allowed: Any, blocked: Any, catalogue: Catalogue) -> "Rules":
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


def _indexes(ids: Any, catalogue: Catalogue) -> npt.NDArray[np.int32] | None:
    if ids is None or not len(ids):
        return None
    return catalogue.index_of(ids if isinstance(ids, pa.Array) else pa.array(ids))


def recommend(model: FittedModel, histories: Histories, rules: Rules) -> tuple[TopK, npt.NDArray[np.bool_]]:
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


def to_arrow(lists: TopK, is_fallback: npt.NDArray[np.bool_], catalogue: Catalogue) -> pa.RecordBatch:
    """Columns `item_ids` (list), `scores` (list of float) and `source` (`model` or `fallback`)."""
    offsets = pa.array(lists.offsets.astype(np.int32))
    source = pa.DictionaryArray.from_arrays(pa.array(is_fallback.astype(np.int8)), ["model", "fallback"])
    columns = [
        pa.ListArray.from_arrays(offsets, catalogue.ids_of(lists.items)),
        pa.ListArray.from_arrays(offsets, pa.array(lists.scores)),
        source.cast(pa.string()),
    ]
    return pa.RecordBatch.from_arrays(columns, ["item_ids", "scores", "source"])
