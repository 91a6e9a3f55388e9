"""Exact top-K for item-to-item models: add up the neighbours of what a user liked, rank what was touched.

For each user the neighbours of all history items are gathered as one block and added up by `bincount`, which
goes through them in the order of the history: sums are float64 in an order that no other user can change.
Dense sums of a few users at a time stay inside the cache; scipy's sparse product costs four times as much.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from ..topk import TopK, best_per_user, kth_at_least

__all__ = ["best_neighbours"]

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]

_CELLS_AT_ONCE = 1 << 16  # float64 sums of one group of users: 512 KB
_EVENTS_AT_ONCE = 4096  # longer histories are added up in pieces of this length, always cut at the same places
_LEAST_GROUPS = 512
_LOWEST = np.float32(-np.inf)
_SMALLEST = np.nextafter(np.float32(0), np.float32(1))  # products are float32, so no positive sum is smaller


def best_neighbours(
    neighbours: Ints,
    similarities: npt.NDArray[np.float32],
    *,
    offsets: Longs,
    items: Ints,
    strengths: npt.NDArray[np.float32],
    excluded_offsets: Longs,
    excluded_items: Ints,
    k: int,
    eligible: npt.NDArray[np.bool_] | None,
) -> TopK:
    """The `k` items of largest positive sum, over a user's history, of strength times similarity; or fewer.

    neighbours: int32[items, width], padded with the number of items; similarities: float32, same shape.
    offsets, items, strengths: the batch's histories, items of -1 ignored; excluded_offsets, excluded_items: what
    must not come, user by user. Each product is rounded to float32, the sum is float64, and rounded to the float32
    that is published before it is compared. Ties by item.
    """
    count = len(offsets) - 1
    closed = None if eligible is None else np.flatnonzero(~eligible)
    users_found, items_found, scores_found = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)]
    for first, last in _groups(offsets, len(neighbours)):
        own = slice(offsets[first], offsets[last])
        rows = np.repeat(np.arange(last - first), np.diff(offsets[first : last + 1]))
        sums = _sums(neighbours, similarities, rows, items[own], strengths[own], users=last - first)
        closing = excluded_offsets[first : last + 1]
        sums[
            np.repeat(np.arange(last - first), np.diff(closing)),
            excluded_items[closing[0] : closing[-1]],
        ] = 0.0  # item -1 hits the padding's column
        if closed is not None:
            sums[:, closed] = 0.0
        kth = kth_at_least(sums[:, :-1], k, least_groups=_LEAST_GROUPS).astype(np.float32)
        bound = np.maximum(np.nextafter(kth, _LOWEST), _SMALLEST)  # what rounds to the K-th is its tie
        user, item = np.nonzero(sums[:, :-1] >= bound[:, None])
        users_found.append(user + first)
        items_found.append(item)
        scores_found.append(sums[user, item])
    users, found = np.concatenate(users_found), np.concatenate(items_found).astype(np.int32)
    return best_per_user(users, found, np.concatenate(scores_found).astype(np.float32), user_count=count, k=k)


def _groups(offsets: Longs, items: int) -> Iterator[tuple[int, int]]:
    """Ranges of users whose sums and events fit; one user alone always does."""
    first, count = 0, len(offsets) - 1
    most_users = max(1, _CELLS_AT_ONCE // (items + 1))
    while first < count:
        last = int(np.searchsorted(offsets, offsets[first] + _EVENTS_AT_ONCE, side="right")) - 1
        last = min(max(last, first + 1), first + most_users, count)
        yield first, last
        first = last


def _sums(
    neighbours: Ints,
    similarities: npt.NDArray[np.float32],
    rows: Longs,
    items: Ints,
    strengths: npt.NDArray[np.float32],
    *,
    users: int,
) -> Doubles:
    """float64[users, items + 1]; the last column collects the padding."""
    width = len(neighbours) + 1
    sums: npt.NDArray[Any] | None = None
    liked = np.flatnonzero((items >= 0) & (strengths != 0))
    for start in range(0, len(liked), _EVENTS_AT_ONCE):
        part = liked[start : start + _EVENTS_AT_ONCE]
        item = items[part]
        cells = neighbours[item] + (rows[part] * width)[:, None] if users > 1 else neighbours[item]
        values = similarities[item] * strengths[part, None]
        more = np.bincount(cells.ravel(), weights=values.ravel(), minlength=users * width)
        sums = more if sums is None else sums + more
    return np.zeros((users, width)) if sums is None else sums.reshape(users, width)
