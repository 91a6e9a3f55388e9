"""Ranked lists of a batch of users, and the one place that puts scored candidates in their final order."""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

__all__ = ["TopK", "best_per_user", "empty_topk", "kth_at_least", "kth_largest"]

AnyFloat = TypeVar("AnyFloat", np.float32, np.float64)

# Users with at most this many candidates per place in the list are ranked together in one padded matrix;
# longer ones (thousands of tied items) one by one, so that they cannot blow the matrix up for everybody.
_PADDED_PER_PLACE = 4
_PADDED_ALWAYS = 256


@dataclass(frozen=True)
class TopK:
    """Lists of recommended items, best first, equal scores by ascending item id.

    offsets: int64[n + 1]; the list of user u is `items[offsets[u]:offsets[u + 1]]`.
    items:   int32; index into the catalogue.
    scores:  float32, descending within a list.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    scores: npt.NDArray[np.float32]

    def __len__(self) -> int:
        """Number of users."""
        return len(self.offsets) - 1

    @property
    def lengths(self) -> npt.NDArray[np.int64]:
        """int64[n]: how many items each user got."""
        return np.diff(self.offsets)

    @classmethod
    def concatenate(cls, parts: "list[TopK]") -> "TopK":
        """The users of all `parts`, one after another."""
        if len(parts) == 1:
            return parts[0]
        lengths = [np.zeros(1, np.int64), *(part.lengths for part in parts)]
        items = np.concatenate([np.zeros(0, np.int32), *(part.items for part in parts)])
        scores = np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)])
        return cls(np.cumsum(np.concatenate(lengths)), items, scores)

    def followed_by(self, more: "TopK") -> "TopK":
        """Each user's list with the same user's list of `more` behind it."""
        offsets = self.offsets + more.offsets
        own = np.arange(len(self.items)) + np.repeat(more.offsets[:-1], self.lengths)
        added = np.arange(len(more.items)) + np.repeat(self.offsets[1:], more.lengths)
        items, scores = np.empty(offsets[-1], np.int32), np.empty(offsets[-1], np.float32)
        items[own], items[added] = self.items, more.items
        scores[own], scores[added] = self.scores, more.scores
        return TopK(offsets, items, scores)

    def take(self, users: npt.NDArray[np.integer]) -> "TopK":
        """The lists of `users`, in that order."""
        lengths = self.lengths[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        entries = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][users] - offsets[:-1], lengths)
        return TopK(offsets, self.items[entries], self.scores[entries])


def empty_topk(users: int) -> TopK:
    """No item for any of `users` users."""
    return TopK(np.zeros(users + 1, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))


def best_per_user(
    users: npt.NDArray[np.integer],
    items: npt.NDArray[np.int32],
    scores: npt.NDArray[AnyFloat],
    *,
    user_count: int,
    k: int,
) -> TopK:
    """The `k` best candidates of each user; all of them where there are fewer.

    users, items, scores: one entry per candidate, sorted by (user, item), each pair once; scores are not NaN.
    They are compared as they are given: float32 is what will be published, and ties of that are broken by item.
    """
    counts = np.bincount(users, minlength=user_count)
    starts = np.concatenate([[0], np.cumsum(counts)])
    lengths = np.minimum(counts, k)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    chosen = np.empty(offsets[-1], dtype=np.int64)
    is_long = counts > _PADDED_PER_PLACE * k + _PADDED_ALWAYS
    for user in np.flatnonzero(is_long):
        own = scores[starts[user] : starts[user + 1]]
        chosen[offsets[user] : offsets[user + 1]] = starts[user] + _best_of_many(own, k)
    short = np.flatnonzero(~is_long & (counts > 0))
    if len(short):
        padded = _padded(scores, starts[short], counts[short])
        order = np.argsort(-padded, axis=1, kind="stable")[:, :k]
        taken = np.arange(order.shape[1]) < lengths[short, None]
        places = (offsets[short, None] + np.arange(order.shape[1]))[taken]
        chosen[places] = (order + starts[short, None])[taken]
    return TopK(offsets, items[chosen], scores[chosen].astype(np.float32, copy=False))


def kth_at_least(scores: npt.NDArray[AnyFloat], k: int) -> npt.NDArray[AnyFloat]:
    """A lower bound of the `k`-th largest of each row: the `k`-th largest maximum of groups of columns.

    Maxima of groups are far cheaper than a partition of the row, and the bound is nearly as good as the value
    itself. -inf where a row has fewer than `k` columns.
    """
    rows, width = scores.shape
    groups = 1 << (4 * k - 1).bit_length()
    if groups * 2 > width:
        groups = width  # every column is its own group
    if k > groups:
        return np.full(rows, -np.inf, dtype=scores.dtype)
    maxima = scores[:, : width // groups * groups].reshape(rows, width // groups, groups).max(axis=1)
    maxima.partition(groups - k, axis=1)
    bound: npt.NDArray[AnyFloat] = maxima[:, groups - k]
    return bound


def kth_largest(
    users: npt.NDArray[np.int32], scores: npt.NDArray[np.float32], *, counts: npt.NDArray[np.int64], k: int
) -> npt.NDArray[np.float32]:
    """float32[users]: each user's `k`-th largest score, -inf where there are fewer; entries in any order.

    counts: int64[users], entries per user. Partitioning short rows of one matrix costs 3 ns an entry, sorting
    all entries at once 40; so that is left to the users with very many.
    """
    sorted_scores, starts = scores, np.cumsum(counts) - counts
    if (users[1:] < users[:-1]).any():  # the candidates of one tile come user by user
        sorted_scores = scores[np.argsort(users.astype(np.uint16) if len(counts) < 1 << 16 else users, kind="stable")]
    kth = np.full(len(counts), -np.inf, dtype=np.float32)
    is_long = counts > _PADDED_PER_PLACE * k + _PADDED_ALWAYS
    for user in np.flatnonzero(is_long):
        own = sorted_scores[starts[user] : starts[user] + counts[user]]
        kth[user] = np.partition(own, len(own) - k)[len(own) - k]
    short = np.flatnonzero(~is_long & (counts >= k))
    if len(short):
        padded = _padded(sorted_scores, starts[short], counts[short])
        padded.partition(padded.shape[1] - k, axis=1)
        kth[short] = padded[:, padded.shape[1] - k]
    return kth


def _padded(
    scores: npt.NDArray[AnyFloat], starts: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
) -> npt.NDArray[AnyFloat]:
    """[users, longest]: each user's candidates side by side, then -inf."""
    columns = np.arange(counts.max())
    entries = np.minimum(starts[:, None] + columns, len(scores) - 1)
    return np.where(columns < counts[:, None], scores[entries], scores.dtype.type(-np.inf))


def _best_of_many(scores: npt.NDArray[AnyFloat], k: int) -> npt.NDArray[np.int64]:
    """Places of the `k` largest, equal ones by ascending place, without sorting all of them."""
    if k < len(scores):
        bound = np.partition(scores, len(scores) - k)[len(scores) - k]
        within = np.flatnonzero(scores >= bound)
    else:
        within = np.arange(len(scores))
    return within[np.argsort(-scores[within], kind="stable")[:k]]
