"""What most users watched: the baseline of every evaluation, and the fallback for users without a signal."""

from dataclasses import replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from .estimator import Arrays, Estimator
from .histories import Histories
from .topk import TopK

__all__ = ["Popularity", "by_popularity", "completed", "first_unseen"]


class Popularity(Estimator):
    """Recommends the items that most users have in their history.

    popularity_: float32[items], users per item. order_: int32[items], most popular first, ties by item.
    """

    name = "popularity"
    popularity_: npt.NDArray[np.float32]
    order_: npt.NDArray[np.int32]

    def fit(self, matrix: sp.csr_matrix, ages: npt.NDArray[np.float32] | None = None) -> Self:
        """Count the users of each item; `matrix` is users x items, stored entries are events."""
        self.popularity_, self.order_ = by_popularity(np.bincount(matrix.indices, minlength=matrix.shape[1]))
        return self

    def arrays(self) -> Arrays:
        """What to save."""
        return {"popularity": self.popularity_, "popularity_order": self.order_}

    @classmethod
    def from_arrays(cls, arrays: Arrays, **params: Any) -> Self:
        """The fitted estimator that `arrays()` described."""
        model = cls(**params)
        model.popularity_, model.order_ = arrays["popularity"], arrays["popularity_order"]
        return model

    def recommend(
        self,
        histories: Histories,
        *,
        k: int,
        exclude_seen: bool = True,
        eligible: npt.NDArray[np.bool_] | None = None,
    ) -> TopK:
        """The `k` most popular items each user may get; the score is the number of users of the item."""
        offsets, items = histories.excluded(exclude_seen)
        users = np.repeat(np.arange(len(histories), dtype=np.int32), np.diff(offsets))
        wanted = np.full(len(histories), k, dtype=np.int64)
        lists = first_unseen(self.order_, users, items, wanted=wanted, eligible=eligible)
        return TopK(lists.offsets, lists.items, self.popularity_[lists.items])

    def contributions(self, history: Histories, items: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Zero each: of a history it only matters what must not come again."""
        return np.zeros((len(items), len(history.items)))


def by_popularity(counts: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
    """Scores of items that so many users have, and the items in the order of these scores, ties by item."""
    scores = counts.astype(np.float32)
    return scores, np.argsort(-scores, kind="stable").astype(np.int32)


def first_unseen(
    order: npt.NDArray[np.int32],
    users: npt.NDArray[np.int32],
    items: npt.NDArray[np.int32],
    *,
    wanted: npt.NDArray[np.int64],
    eligible: npt.NDArray[np.bool_] | None,
) -> TopK:
    """The first `wanted[u]` eligible items of `order` for each user u, without the pairs (users, items).

    order: distinct items, best first. users ascending; items of -1 are ignored. Scores are 0.
    """
    if eligible is not None:
        order = order[eligible[order]]
    rank_of = np.full(int(order.max(initial=-1)) + 2, -1, dtype=np.int32)
    rank_of[order] = np.arange(len(order), dtype=np.int32)
    ranks = rank_of[np.minimum(items, len(rank_of) - 1)]  # the last slot says -1, for item -1 too
    known = np.flatnonzero(ranks >= 0)
    users, ranks = users[known], ranks[known]
    # Among the first (wanted + excluded) ranks there are always enough: one ragged strip of cells per user.
    widths = np.minimum(wanted + np.bincount(users, minlength=len(wanted)), len(order))
    starts = np.cumsum(widths) - widths
    free = np.ones(widths.sum(), dtype=np.bool_)
    inside = ranks < widths[users]
    free[starts[users[inside]] + ranks[inside]] = False
    nth = np.cumsum(free)
    before = np.concatenate([[0], nth])[starts]
    cells = np.flatnonzero(free & (nth <= np.repeat(before + wanted, widths)))
    owners = np.searchsorted(starts + widths, cells, side="right")
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owners, minlength=len(wanted)))])
    return TopK(offsets, order[cells - starts[owners]], np.zeros(len(cells), np.float32))


def completed(
    lists: TopK,
    order: npt.NDArray[np.int32],
    histories: Histories,
    *,
    where: npt.NDArray[np.bool_],
    k: int,
    exclude_seen: bool,
    eligible: npt.NDArray[np.bool_] | None,
) -> TopK:
    """`lists` with the first free items of `order` behind those `where` marks, up to `k`.

    An added item's score is minus its place in `order` as a share of all: below 0, so that a list whose own scores are
    positive stays sorted by what it shows, score descending, ties by item.
    """
    wanted = np.where(where, np.maximum(k - lists.lengths, 0), 0)
    if not wanted.any():
        return lists
    users = np.repeat(np.arange(len(lists), dtype=np.int32), lists.lengths)
    items = lists.items
    if exclude_seen:
        offsets, seen = histories.excluded(exclude_seen)
        owners = np.repeat(np.arange(len(histories), dtype=np.int32), np.diff(offsets))
        users, items = np.concatenate([users, owners]), np.concatenate([items, seen])
    known = np.flatnonzero((wanted[users] > 0) & (items >= 0))
    known = known[np.argsort(users[known], kind="stable")]
    more = first_unseen(order, users[known], items[known], wanted=wanted, eligible=eligible)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(1, len(order) + 1)
    scores = (-place[more.items] / max(len(order), 1)).astype(np.float32)
    return lists.followed_by(replace(more, scores=scores))
