"""A batch of users' histories as three flat arrays, made from Arrow list columns without a loop over rows."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scoreline.errors import InputError
from scoreline.models.catalogue import Catalogue

__all__ = ["Histories"]


@dataclass(frozen=True)
class Histories:
    """What each user of a batch has seen, in compressed rows.

    offsets: int64[n + 1]; the history of user u is `items[offsets[u]:offsets[u + 1]]`.
    items:   int32[nnz]; index into the catalogue, -1 for an id it does not know.
    weights: float32[nnz]; strength of each event, finite.
    """

    offsets: npt.NDArray[np.int64]
    items: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]

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
        catalogue: Catalogue,
    ) -> "Histories":
        """Histories from a column of lists of ids and one of lists of weights (None: every event weighs 1).

        Lists may be null (an empty history), sliced, chunked, large or of fixed size. A null id counts as
        unknown, a null weight as 1. Raises `InputError` when the two columns' lists differ in length or a
        weight is not finite.
        """
        offsets, ids = _flatten(item_ids, "item_ids")
        items = catalogue.index_of(ids)
        if weights is None:
            return cls(offsets, items, np.ones(len(items), dtype=np.float32))
        weight_offsets, values = _flatten(weights, "weights")
        _check_same_lengths(offsets, weight_offsets)
        return cls(offsets, items, _finite_floats(values))

    def excluded(self, exclude_seen: bool) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int32]]:
        """Offsets and items of what must not be recommended: everything seen, or nothing."""
        if exclude_seen:
            return self.offsets, self.items
        return np.zeros_like(self.offsets), self.items[:0]

    def take(self, users: npt.NDArray[np.integer]) -> "Histories":
        """The histories of `users`, in that order."""
        lengths = np.diff(self.offsets)[users]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        entries = np.arange(offsets[-1]) + np.repeat(self.offsets[:-1][users] - offsets[:-1], lengths)
        return Histories(offsets, self.items[entries], self.weights[entries])

    def slice(self, start: int, stop: int) -> "Histories":
        """The users from `start` up to `stop`."""
        first, last = self.offsets[start], self.offsets[stop]
        return Histories(self.offsets[start : stop + 1] - first, self.items[first:last], self.weights[first:last])


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
