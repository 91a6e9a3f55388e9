"""Exact top-K of unseen items by inner product, without scoring what cannot be in the list.

Items are sorted by the norm of their factors, descending. Tiles of items are scored for blocks of users by
one matrix product that stays inside the cache; a user is done as soon as ‖user‖ · ‖next item‖ is below the
K-th score found (Cauchy-Schwarz). Users still searching are packed together again before each tile.

Matrix products in float32 round differently with the shape of the block, so they only *select*: everything
within twice the rounding error of the K-th score is kept, scored again in float64 in a fixed order, rounded to
the float32 that is published, and ranked by that, ties by item id. The lists are those of a float64 brute force
whose scores are rounded, whoever else is in the batch; whoever sorts what is published has them again.

Sources: a dot product of f terms, in any order, is off by at most γ_f · ‖u‖‖v‖, γ_f = f·ε / (1 - f·ε)
(Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., eq. 3.5). Search by norm: Teflioudi et al.,
LEMP, SIGMOD 2015.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from ..search.norm_sorted import NormSortedItems
from ..topk import TopK, best_per_user, empty_topk, kth_at_least, kth_largest

__all__ = ["best_items"]

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int32]
Longs = npt.NDArray[np.int64]

_UNIT_ROUNDOFF = 2.0**-24
_SUBNORMAL = 2.0**-149  # how far apart float32's smallest numbers are
_UNDERFLOW = 2.0**-125  # what a product may lose, in absolute terms, below float32's normal range
_LOWEST = np.float32(-(2.0**100))  # below every score, above the -inf of what must not be recommended

# The scores of a block are 2^18 floats: 1 MB, the size of a core's second-level cache. 512 x 512 was the
# fastest of the shapes tried from 128 x 512 to 256 x 2048; longer lists need wider tiles.
_BLOCK_CELLS = 1 << 18
_TILE_ITEMS = 512
_MOST_TILE_ITEMS = 4096
_BATCH_USERS = 8192
_BATCH_EVENTS = 1 << 20
_MOST_CANDIDATES = 1 << 22
_TILES_AHEAD = 4  # seen events are sorted for tiles 0, 1-3, 4-15, 16-63, ...


@dataclass(frozen=True)
class _Candidates:
    """Items that may be in a user's list: the user, the item's rank in the search, the float32 score."""

    users: Ints
    ranks: Ints
    scores: Floats

    def __len__(self) -> int:
        return len(self.users)

    def where(self, keep: npt.NDArray[np.bool_]) -> "_Candidates":
        chosen = np.flatnonzero(keep)
        return _Candidates(self.users[chosen], self.ranks[chosen], self.scores[chosen])

    @classmethod
    def concatenate(cls, parts: "list[_Candidates]") -> "_Candidates":
        return cls(
            np.concatenate([np.zeros(0, np.int32), *(part.users for part in parts)]),
            np.concatenate([np.zeros(0, np.int32), *(part.ranks for part in parts)]),
            np.concatenate([np.zeros(0, np.float32), *(part.scores for part in parts)]),
        )


@dataclass(frozen=True)
class _Batch:
    """Some users against the eligible items, and what is known of each user's K-th score so far.

    A rank counts the eligible items in search order; `open_places` are their places, None if all are eligible.
    `kth` (float64[n]) is at most the K-th largest float32 score found, -inf before there are K; `lower` (float32[n])
    is what a score must reach to matter. Both only grow. `slack` (float64[n]) is the error of a matrix product and of
    rounding what is published. `scales` (float64[n], powers of two) undo the scaling of `vectors`. `cells` and `flags`
    are room for a block of scores: fresh memory for each tile would cost page faults.
    """

    items: NormSortedItems
    open_places: Ints | None
    k: int
    vectors: Floats
    scales: Doubles
    lengths: Doubles
    slack: Doubles
    kth: Doubles
    lower: Floats
    cells: Floats
    flags: npt.NDArray[np.bool_]

    @classmethod
    def begin(cls, items: NormSortedItems, users: Floats, open_places: Ints | None, k: int) -> "_Batch":
        """Scale each user by a power of two (exact, and rules out overflow), and bound the rounding."""
        count, rank = users.shape
        exponents = np.frexp(np.abs(users).max(axis=1))[1]
        vectors = np.ldexp(users, -exponents[:, None])
        lengths = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1)) * (1 + 1e-12)
        first = 0 if open_places is None else open_places[:1]
        largest = float(np.max(items.norms[first], initial=0.0))
        scales = np.ldexp(1.0, exponents)
        slack = 1.01 * (rank + 4) * _UNIT_ROUNDOFF * lengths * largest + rank * _UNDERFLOW + _SUBNORMAL / scales
        kth, lower = np.full(count, -np.inf), np.full(count, _LOWEST)
        cells, flags = np.empty(_BLOCK_CELLS, np.float32), np.empty(_BLOCK_CELLS, np.bool_)
        return cls(items, open_places, k, vectors, scales, lengths, slack, kth, lower, cells, flags)

    @property
    def ranks(self) -> int:
        """How many items are eligible."""
        return len(self.items) if self.open_places is None else len(self.open_places)

    def places(self, ranks: Any) -> Any:
        """Places of the items of these ranks: an array, a slice or one of them."""
        return ranks if self.open_places is None else self.open_places[ranks]

    def ranks_of(self, places: Ints) -> Ints:
        """The way back."""
        return places if self.open_places is None else np.searchsorted(self.open_places, places).astype(np.int32)

    @property
    def width(self) -> int:
        """Items per tile."""
        return min(max(_TILE_ITEMS, 1 << (4 * self.k - 1).bit_length()), _MOST_TILE_ITEMS)

    def tile(self, start: int) -> Floats:
        """Vectors of the items from rank `start`: a view where all items are eligible, else a copy."""
        vectors: Floats = self.items.vectors[self.places(slice(start, start + self.width))]
        return vectors

    def vectors_of(self, users: Ints) -> Floats:
        """Vectors of `users`, which ascend: a view where none is left out, else a copy."""
        if users[-1] - users[0] == len(users) - 1:
            return self.vectors[users[0] : users[-1] + 1]
        return self.vectors[users]

    def among(self, users: Ints) -> npt.NDArray[np.bool_]:
        """For each user of the batch whether it is one of `users`."""
        among = np.zeros(len(self.vectors), dtype=np.bool_)
        among[users] = True
        return among

    def still_searching(self, users: Ints, rank: int) -> Ints:
        """Those of `users` for whom the item of this rank, or one behind it, may still matter."""
        best_possible = self.lengths[users] * self.items.norms[self.places(rank)]
        still: Ints = users[best_possible >= self.kth[users] - self.slack[users]]
        return still

    def bound(self, users: npt.NDArray[np.integer], kth: npt.NDArray[np.floating]) -> Floats:
        """What a float32 score must reach if `kth` is a lower bound of the K-th largest float32 score."""
        needed = np.maximum(kth - 2 * self.slack[users], _LOWEST).astype(np.float32)
        below: Floats = np.nextafter(needed, np.float32(-np.inf))
        return below


def best_items(
    items: NormSortedItems,
    users: Floats,
    *,
    seen_offsets: Longs,
    seen_items: Ints,
    k: int,
    eligible: npt.NDArray[np.bool_] | None = None,
) -> TopK:
    """The `k` items of largest inner product with each row of `users`; all eligible unseen ones if fewer.

    users: float32[n, f]. seen_items: what must not be recommended, user by user, -1 ignored. eligible: bool
    per item, None for all. Scores are float64 dot products summed in a fixed order, rounded to float32; lists are
    sorted by those, ties by item. A user of zeros has no preference and gets no list.
    """
    if not np.isfinite(users).all():
        raise InputError("a user's vector is not finite: the weights of the history are too large")
    if not len(users) or not len(items) or k < 1:
        return empty_topk(len(users))
    open_places, rank_of = _eligible_ranks(items, eligible)
    seen_ranks = rank_of.take(seen_items, mode="clip")
    if seen_items.min(initial=0) < 0:
        seen_ranks[seen_items < 0] = -1
    parts = []
    for first, last in _ranges(seen_offsets):
        batch = _Batch.begin(items, users[first:last], open_places, k)
        seen_users = np.repeat(np.arange(last - first, dtype=np.int32), np.diff(seen_offsets[first : last + 1]))
        found = _search(batch, seen_users, seen_ranks[seen_offsets[first] : seen_offsets[last]])
        parts.append(_rank_exactly(batch, found))
    return TopK.concatenate(parts)


def _eligible_ranks(items: NormSortedItems, eligible: npt.NDArray[np.bool_] | None) -> tuple[Ints | None, Ints]:
    """Places of the eligible items in search order, None for all, and the way back: item to rank, -1 for the others."""
    if eligible is None:
        return None, items.places
    open_places = np.flatnonzero(eligible[items.items]).astype(np.int32)
    rank_of = np.full(len(items), -1, dtype=np.int32)
    rank_of[items.items[open_places]] = np.arange(len(open_places), dtype=np.int32)
    return open_places, rank_of


def _ranges(offsets: Longs) -> Iterator[tuple[int, int]]:
    """Ranges of users, bounded in users and (unless one user alone has more) in events."""
    first, count = 0, len(offsets) - 1
    while first < count:
        last = int(np.searchsorted(offsets, offsets[first] + _BATCH_EVENTS, side="right")) - 1
        last = min(max(last, first + 1), first + _BATCH_USERS, count)
        yield first, last
        first = last


def _search(batch: _Batch, seen_users: Ints, seen_ranks: Ints) -> _Candidates:
    """Everything that float32 scores cannot rule out of a user's list."""
    width = batch.width
    active = np.flatnonzero(batch.lengths).astype(np.int32)
    settled: list[_Candidates] = []
    found: list[_Candidates] = []
    fresh = 0.0  # candidates per user, beyond the first K, since the bounds were raised
    behind = 0
    for tile, start in enumerate(range(0, batch.ranks, width)):
        active = batch.still_searching(active, start)
        if not len(active):
            break
        if tile == behind:  # most users are done after a few tiles: events further behind are worth no sorting yet
            behind = _TILES_AHEAD * tile or 1
            seen = _Seen.between(batch, seen_users, seen_ranks, active, tiles=(tile, behind))
        hits = _score_tile(batch, active, start, seen.of_tile(tile))
        found.append(hits)
        fresh += max(len(hits) / len(active) - (0 if tile else batch.k), 0)
        if 2 * fresh >= batch.k:
            done, still = _tighten(batch, _Candidates.concatenate(found), active)
            settled.append(done)
            found, fresh = [still], 0.0
    return _Candidates.concatenate(settled + found)


@dataclass(frozen=True)
class _Seen:
    """Ranks that must not be recommended, by tile, then by user; tile `first + t` is `bounds[t]:bounds[t + 1]`."""

    users: Ints
    ranks: Ints
    first: int
    bounds: Longs

    @classmethod
    def between(cls, batch: _Batch, users: Ints, ranks: Ints, active: Ints, *, tiles: tuple[int, int]) -> "_Seen":
        """Those of the active users in some tiles, the last one not included."""
        first, last = tiles
        kept = np.flatnonzero((ranks >= first * batch.width) & (ranks < last * batch.width))
        if len(active) < len(batch.vectors):
            kept = kept[batch.among(active)[users[kept]]]
        users, ranks = users[kept], ranks[kept]
        if last - first == 1:
            return cls(users, ranks, first, np.array([0, len(kept)]))
        # A stable sort of numbers of 8 or 16 bits is a radix sort: 3 ns an entry.
        of_tile = (ranks // batch.width - first).astype(np.min_scalar_type(last - first))
        order = np.argsort(of_tile, kind="stable")
        bounds = np.concatenate([[0], np.cumsum(np.bincount(of_tile, minlength=last - first))])
        return cls(users[order], ranks[order], first, bounds)

    def of_tile(self, tile: int) -> tuple[Ints, Ints]:
        part = slice(self.bounds[tile - self.first], self.bounds[tile - self.first + 1])
        return self.users[part], self.ranks[part]


def _score_tile(batch: _Batch, active: Ints, start: int, seen: tuple[Ints, Ints]) -> _Candidates:
    """Unseen items of one tile whose score reaches the user's bound."""
    tile = batch.tile(start).T
    width = tile.shape[1]
    row_of = np.full(len(batch.vectors), -1, dtype=np.int32)
    row_of[active] = np.arange(len(active), dtype=np.int32)
    seen_rows, seen_columns = row_of[seen[0]], seen[1] - start
    if len(active) < len(row_of):
        kept = np.flatnonzero(seen_rows >= 0)
        seen_rows, seen_columns = seen_rows[kept], seen_columns[kept]
    rows = _BLOCK_CELLS // batch.width
    cuts = np.searchsorted(seen_rows, np.arange(0, len(active) + rows, rows))
    parts = []
    for block, first in enumerate(range(0, len(active), rows)):
        users = active[first : first + rows]
        scores = batch.cells[: len(users) * width].reshape(len(users), width)
        np.matmul(batch.vectors_of(users), tile, out=scores)
        own = slice(cuts[block], cuts[block + 1])
        scores[seen_rows[own] - first, seen_columns[own]] = -np.inf
        if not start:
            batch.kth[users] = kth = kth_at_least(scores, batch.k)
            batch.lower[users] = batch.bound(users, kth)
        lower = batch.lower[users]
        reaches = batch.flags[: scores.size].reshape(scores.shape)
        flat = np.flatnonzero(np.greater_equal(scores, lower[:, None], out=reaches)).astype(np.int32)
        row = flat // width  # 32-bit division is several times cheaper
        parts.append(_Candidates(users[row], flat - row * width + start, scores.ravel()[flat]))
    return _Candidates.concatenate(parts)


def _tighten(batch: _Batch, found: _Candidates, active: Ints) -> tuple[_Candidates, _Candidates]:
    """Raise the bounds of the users that found something new, and drop what is below them."""
    counts = np.bincount(found.users, minlength=len(batch.vectors))
    users = np.flatnonzero(counts >= batch.k)
    kth = kth_largest(found.users, found.scores, counts=counts, k=batch.k)[users]
    batch.kth[users] = np.maximum(batch.kth[users], kth)
    batch.lower[users] = np.maximum(batch.lower[users], batch.bound(users, kth))
    found = found.where(found.scores >= batch.lower[found.users])
    if len(found) > _MOST_CANDIDATES:  # masses of ties: settle them now
        found = _as_candidates(batch, _rank_exactly(batch, found))
    open_now = batch.among(active)[found.users]
    return found.where(~open_now), found.where(open_now)


def _rank_exactly(batch: _Batch, found: _Candidates) -> TopK:
    """The best of the candidates by their float64 scores, rounded as they are published, ties by item."""
    found = found.where(found.scores >= batch.lower[found.users])
    keys = (found.users.astype(np.int64) << 32) | batch.items.items[batch.places(found.ranks)]
    keys.sort(kind="stable")  # they come tile by tile, users ascending: runs that only need merging
    users, items = (keys >> 32).astype(np.int32), (keys & 0xFFFFFFFF).astype(np.int32)
    scores = batch.items.scores(batch.vectors, users=users, places=batch.items.places[items])
    scores *= batch.scales[users]
    return best_per_user(users, items, scores.astype(np.float32), user_count=len(batch.vectors), k=batch.k)


def _as_candidates(batch: _Batch, lists: TopK) -> _Candidates:
    """Candidates again, with scores that are at least as close to the exact ones as a matrix product's."""
    users = np.repeat(np.arange(len(lists), dtype=np.int32), lists.lengths)
    places = batch.items.places[lists.items]
    scores = batch.items.scores(batch.vectors, users=users, places=places)
    return _Candidates(users, batch.ranks_of(places), scores.astype(np.float32))
