"""A batch of users' histories as three flat arrays, made from Arrow list columns without a loop over rows."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError
from .item_index import ItemIndex

__all__ = ["Histories"]


@dataclass(frozen=True)
class Histories:
    """What each user of a batch has seen, in compressed rows.

    offsets: int64[n + 1]; the history of user u is `items[offsets[u]:offsets[u + 1]]`.
    items:   int32[nnz]; index into the catalogue, -1 for an id it does not know.
    weights: float32[nnz]; strength of each event, finite.
    seen:    offsets and items, as above, of all that was seen, where that is more than the history; else None.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    seen: tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]] | None = None

    def __len__(self) -> int:
        """Number of users."""
        return len(self.offsets) - 1

    @property
    def users(self) -> npt.NDArray[np.int32]:
        """int32[nnz]: the user each entry belongs to."""
        return np.repeat(np.arange(len(self), dtype=np.int32), np.diff(self.offsets))

    @classmethod
    def from_arrow(
        cls,
        item_ids: pa.Array | pa.ChunkedArray,
        weights: pa.Array | pa.ChunkedArray | None,
        catalogue: ItemIndex,
        older: pa.Array | pa.ChunkedArray | None = None,
    ) -> "Histories":
        """Histories from a column of lists of ids and one of lists of weights (None: every event weighs 1).

        older: lists of ids seen before those of the history. Lists may be null (an empty history), sliced, chunked,
        large or of fixed size. A null id counts as unknown, a null weight as 1. Raises `InputError` when the columns'
        lists differ in number or length or a weight is not finite.
        """
        offsets, ids = _flatten(item_ids, "item_ids")
        items = catalogue.index_of(ids)
        seen = None if older is None else _with_older(offsets, items, older, catalogue)
        if weights is None:
            return cls(offsets, items, np.ones(len(items), dtype=np.float32), seen)
        weight_offsets, values = _flatten(weights, "weights")
        _check_same_lengths(offsets, weight_offsets)
        return cls(offsets, items, _finite_floats(values), seen)

    def excluded(self, exclude_seen: bool) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Offsets and items of what must not be recommended: everything seen, or nothing."""
        if exclude_seen:
            return self.seen or (self.offsets, self.items)
        return np.zeros_like(self.offsets), self.items[:0]

    def take(self, users: npt.NDArray[np.integer]) -> "Histories":
        """The histories of `users`, in that order."""
        offsets, entries = _taken(self.offsets, users)
        seen = None
        if self.seen is not None:
            seen_offsets, seen_entries = _taken(self.seen[0], users)
            seen = (seen_offsets, self.seen[1][seen_entries])
        return Histories(offsets, self.items[entries], self.weights[entries], seen)

    def slice(self, start: int, stop: int) -> "Histories":
        """The users from `start` up to `stop`."""
        offsets, own = _sliced(self.offsets, start, stop)
        seen = None
        if self.seen is not None:
            seen_offsets, seen_own = _sliced(self.seen[0], start, stop)
            seen = (seen_offsets, self.seen[1][seen_own])
        return Histories(offsets, self.items[own], self.weights[own], seen)


def _taken(
    offsets: npt.NDArray[np.int64], users: npt.NDArray[np.integer]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """New offsets of these users, and where their entries are."""
    lengths = np.diff(offsets)[users]
    new = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    return new, np.arange(new[-1]) + np.repeat(offsets[:-1][users] - new[:-1], lengths)


def _sliced(offsets: npt.NDArray[np.int64], start: int, stop: int) -> tuple[npt.NDArray[np.int64], slice]:
    first, last = offsets[start], offsets[stop]
    return offsets[start : stop + 1] - first, slice(first, last)


def _with_older(
    offsets: npt.NDArray[np.int64],
    items: npt.NDArray[np.int32],
    older: pa.Array | pa.ChunkedArray,
    catalogue: ItemIndex,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]] | None:
    """Offsets and items of each history and, behind it, what was seen before; None if nobody has seen more."""
    older_offsets, ids = _flatten(older, "older_item_ids")
    if len(older_offsets) != len(offsets):
        raise InputError(
            f"item_ids has {len(offsets) - 1} rows and older_item_ids {len(older_offsets) - 1}: they have to agree"
        )
    if not len(ids):
        return None
    both = offsets + older_offsets
    seen = np.empty(both[-1], np.int32)
    seen[np.arange(len(items)) + np.repeat(older_offsets[:-1], np.diff(offsets))] = items
    seen[np.arange(len(ids)) + np.repeat(offsets[1:], np.diff(older_offsets))] = catalogue.index_of(ids)
    return both, seen


def _flatten(column: pa.Array | pa.ChunkedArray, name: str) -> tuple[npt.NDArray[np.int64], pa.Array]:
    """Offsets starting at 0 and the values they point into, of exactly that length."""
    lists = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_null(lists.type):
        return np.zeros(len(lists) + 1, dtype=np.int64), pa.array([], pa.null())
    if not (pa.types.is_list(lists.type) or pa.types.is_large_list(lists.type)):
        lists = _as_list(lists, name)
    if not len(lists):
        return np.zeros(1, dtype=np.int64), lists.values.slice(0, 0)
    if lists.null_count:
        # A null list may still own values in the buffer: flatten() drops them, and its length is 0.
        lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
        return np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]), lists.flatten()
    offsets = lists.offsets.to_numpy().astype(np.int64)
    return offsets - offsets[0], lists.values.slice(offsets[0], offsets[-1] - offsets[0])


def _as_list(lists: pa.Array, name: str) -> pa.Array:
    if not (pa.types.is_fixed_size_list(lists.type) or pa.types.is_list_view(lists.type)):
        raise InputError(f"column {name} has type {lists.type}: a history is a list with one entry per event")
    return lists.cast(pa.list_(lists.type.value_type))


def _check_same_lengths(offsets: npt.NDArray[np.int64], weight_offsets: npt.NDArray[np.int64]) -> None:
    if len(offsets) != len(weight_offsets):
        raise InputError(
            f"item_ids has {len(offsets) - 1} rows and weights {len(weight_offsets) - 1}: they have to agree"
        )
    lengths, weight_lengths = np.diff(offsets), np.diff(weight_offsets)
    wrong = np.flatnonzero(lengths != weight_lengths)
    if len(wrong):
        row = wrong[0]
        raise InputError(
            f"row {row} of the batch has {lengths[row]} item_ids and {weight_lengths[row]} weights "
            f"({len(wrong)} such rows): each event needs one weight"
        )


def _finite_floats(values: pa.Array) -> npt.NDArray[np.float32]:
    try:
        numbers = pc.fill_null(values.cast(pa.float32(), safe=False), 1.0).to_numpy(zero_copy_only=False)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"weights have type {values.type}: they have to be numbers") from error
    wrong = np.flatnonzero(~np.isfinite(numbers))
    if len(wrong):
        raise InputError(f"a weight is {numbers[wrong[0]]} ({len(wrong)} in the batch): weights have to be finite")
    return np.asarray(numbers, dtype=np.float32)
