"""Exact top-K for item-to-item models: add up the neighbours of what a user liked, rank what was touched.

The neighbours of a group's events are the rows of a sparse matrix; its product with the matrix that says whose events
these are adds them up, in the order of each history: sums are float64 in an order that no other user can change. What
a user must not get is one more row, of -inf. What nobody touched costs next to nothing; dense
sums, also of a user at a time, cost several times as much where histories are short and the catalogue is large.
"""

from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.sparse._sparsetools import csr_matmat

from ..topk import TopK, best_per_user

__all__ = ["best_neighbours"]

Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

_EVENTS_AT_ONCE = 4096  # of a group of users; longer histories are added up in pieces of this length, always cut alike
_LOWEST = np.float32(-np.inf)
_SMALLEST = np.nextafter(np.float32(0), np.float32(1))  # products are float32, so no positive sum is smaller


def best_neighbours(
    neighbours: Ints,
    similarities: Floats,
    *,
    offsets: Longs,
    items: Ints,
    strengths: Floats,
    excluded_offsets: Longs,
    excluded_items: Ints,
    k: int,
    eligible: npt.NDArray[np.bool_] | None,
) -> TopK:
    """The `k` items of largest positive sum, over a user's history, of strength times similarity; or fewer.

    neighbours: int32[items, width], padded with the number of items; similarities: float32, same shape, 0 for padding.
    offsets, items, strengths: the batch's histories, items of -1 ignored; excluded_offsets, excluded_items: what
    must not come, user by user. Each product is rounded to float32, the sum is float64, and rounded to the float32
    that is published before it is compared. Ties by item.
    """
    count = len(offsets) - 1
    closed = None if eligible is None else np.append(~eligible, True)
    users_found, items_found, scores_found = [np.zeros(0, np.int64)], [np.zeros(0, np.int32)], [np.zeros(0, np.float32)]
    for first, last in _groups(offsets):
        own = slice(offsets[first], offsets[last])
        sums = _sums(
            neighbours,
            similarities,
            offsets=offsets[first : last + 1] - offsets[first],
            items=items[own],
            strengths=strengths[own],
            excluded_offsets=excluded_offsets[first : last + 1] - excluded_offsets[first],
            excluded_items=excluded_items[excluded_offsets[first] : excluded_offsets[last]],
        )
        if closed is not None:
            sums.data[closed[sums.indices]] = 0.0
        best = np.flatnonzero(sums.data >= np.repeat(_bounds(sums, k), np.diff(sums.indptr)))
        owners = np.searchsorted(sums.indptr, best, side="right") - 1
        best = best[np.lexsort((sums.indices[best], owners))]  # users are in order already
        users_found.append(owners + first)
        items_found.append(sums.indices[best].astype(np.int32))
        scores_found.append(sums.data[best].astype(np.float32))
    users, found = np.concatenate(users_found), np.concatenate(items_found)
    return best_per_user(users, found, np.concatenate(scores_found), user_count=count, k=k)


def _groups(offsets: Longs) -> Iterator[tuple[int, int]]:
    """Ranges of users whose events are added up at once; one user alone always is one."""
    first, count = 0, len(offsets) - 1
    while first < count:
        last = int(np.searchsorted(offsets, offsets[first] + _EVENTS_AT_ONCE, side="right")) - 1
        last = min(max(last, first + 1), count)
        yield first, last
        first = last


def _sums(
    neighbours: Ints,
    similarities: Floats,
    *,
    offsets: Longs,
    items: Ints,
    strengths: Floats,
    excluded_offsets: Longs,
    excluded_items: Ints,
) -> sp.csr_array:
    """float64[users, items + 1], of what was touched, unsorted: -inf where excluded; the last column is the padding."""
    users, width = len(offsets) - 1, neighbours.shape[1]
    is_liked = (items >= 0) & (strengths != 0)
    liked = np.flatnonzero(is_liked)
    ends = np.append(0, np.cumsum(is_liked))[offsets]
    sums: sp.csr_array | None = None
    for start in range(0, max(len(liked), 1), _EVENTS_AT_ONCE):  # one user's alone where there is more than one
        part = liked[start : start + _EVENTS_AT_ONCE]
        count, pairs = len(part), len(part) * width
        # a row for each event, and one for what each user must not get
        starts = np.append(np.arange(0, pairs, width), pairs + excluded_offsets)
        columns, values = np.empty(starts[-1], np.int32), np.empty(starts[-1])
        np.take(neighbours, items[part], axis=0, out=columns[:pairs].reshape(count, width), mode="clip")
        columns[pairs:] = np.where(excluded_items < 0, len(neighbours), excluded_items)
        products = similarities.take(items[part], axis=0)
        products *= strengths[part, None]
        values[:pairs] = products.ravel()
        values[pairs:] = -np.inf
        lasts = np.clip(ends - start, 0, count)
        mine = np.insert(np.arange(count), lasts[1:], count + np.arange(users))
        more = _product(mine, lasts + np.arange(users + 1), columns, values, starts, width=len(neighbours) + 1)
        sums = more if sums is None else sums + more
    assert sums is not None
    return sums


def _product(mine: Longs, offsets: Longs, columns: Ints, values: Doubles, starts: Longs, *, width: int) -> sp.csr_array:
    """The sum, user by user, of the rows that are `mine`: what `@` of two sparse matrices gives.

    `@` counts what will come before it adds up, which was four tenths of its time; here as many as are added up is
    room enough. `csr_matmat` is no public function (tried with SciPy 1.17.1): a test compares it with `@`.
    """
    kind = np.int32 if len(values) < 2**31 else np.int64
    indices, sums = np.empty(len(values), kind), np.empty(len(values))
    indptr = np.empty(len(offsets), kind)
    shape = (len(offsets) - 1, width)
    own, rows = (offsets.astype(kind), mine.astype(kind)), (starts.astype(kind), columns.astype(kind, copy=False))
    csr_matmat(*shape, *own, np.ones(len(mine)), *rows, values, indptr, indices, sums)
    return sp.csr_array((sums[: indptr[-1]], indices[: indptr[-1]], indptr), shape=shape)


def _bounds(sums: sp.csr_array, k: int) -> Doubles:
    """float64[users]: what a sum must reach to be in the list, positive: it is published as the `k`-th or above."""
    kth, data = np.full(sums.shape[0], -np.inf), sums.data.copy()
    for user, (start, end) in enumerate(pairwise(sums.indptr.tolist())):
        if end - start >= k:
            data[start:end].partition(end - start - k)
            kth[user] = data[end - k]
    return np.maximum(np.nextafter(kth.astype(np.float32), _LOWEST), _SMALLEST).astype(np.float64)
