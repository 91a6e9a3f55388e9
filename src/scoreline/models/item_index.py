"""The items a model knows, and the way from an item's id to its row in the model's arrays and back."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from ..errors import InputError

__all__ = ["ItemIndex"]

# A lookup array costs four bytes per id between the smallest and the largest: worth it up to this many per
# item (and always up to the constant), as it answers in 1-3 ns where a hash needs 12 (longs) to 65 (strings).
_SLOTS_PER_ITEM = 16
_SLOTS_ALWAYS = 1 << 20
_LARGEST_DENSE_ID = 1 << 62  # differences of ids below it cannot overflow


@dataclass(frozen=True)
class ItemIndex:
    """Distinct item ids in ascending order; an item's index is its place in that order.

    Longs ascend as numbers, strings by their UTF-8 bytes, so "ties by item id" is "ties by index".

    >>> films = ItemIndex.from_ids(pa.array(["0110912", "0068646", "0110912"]))
    >>> films.index_of(pa.array(["0110912", "110912", None])).tolist()
    [1, -1, -1]
    >>> films.ids_of(np.array([1, 0])).to_pylist()
    ['0110912', '0068646']

    slots: where ids are numbers and dense, an array from (id - smallest id) to index, then one -1; else None. It is
    saved with the model, so that the workers of a node share it.
    """

    ids: pa.Array
    slots: npt.NDArray[np.int32] | None = field(default=None, repr=False, compare=False)

    @classmethod
    def from_ids(cls, values: pa.Array | pa.ChunkedArray) -> "ItemIndex":
        """Index of the distinct non-null `values` (any integer or string type)."""
        ids = _as_key_type(pc.drop_null(pc.unique(_one_chunk(values))))
        ascending = ids.take(pc.sort_indices(ids))
        return cls(ascending, _slots(ascending))

    @classmethod
    def from_arrays(cls, arrays: dict[str, npt.NDArray[np.generic]]) -> "ItemIndex":
        """The catalogue that `arrays()` described, without copying: memory-mapped arrays stay on disk."""
        if "item_ids" in arrays:
            slots = arrays["item_slots"].view(np.int32) if "item_slots" in arrays else None
            return cls(_wrap(pa.int64(), len(arrays["item_ids"]), [arrays["item_ids"]]), slots)
        offsets = arrays["item_id_offsets"]
        return cls(_wrap(pa.string(), len(offsets) - 1, [offsets, arrays["item_id_bytes"]]))

    def arrays(self) -> dict[str, npt.NDArray[np.generic]]:
        """What to save: `item_ids` int64, `item_slots` int32; or `item_id_offsets` int32, `item_id_bytes` (UTF-8)."""
        if self.is_long:
            slots = {} if self.slots is None else {"item_slots": self.slots}
            return {"item_ids": _data_buffer(self.ids, np.dtype(np.int64)), **slots}
        if not len(self):
            return {"item_id_offsets": np.zeros(1, np.int32), "item_id_bytes": np.zeros(0, np.uint8)}
        _, offset_buffer, text_buffer = self.ids.buffers()
        start = self.ids.offset
        offsets = np.frombuffer(offset_buffer, np.int32)[start : start + len(self) + 1]
        text = np.frombuffer(text_buffer, np.uint8) if text_buffer else np.zeros(0, np.uint8)
        return {"item_id_offsets": offsets - offsets[0], "item_id_bytes": text[offsets[0] : offsets[-1]]}

    def __len__(self) -> int:
        """Number of items."""
        return len(self.ids)

    @property
    def is_long(self) -> bool:
        """True for numeric ids, False for strings."""
        return bool(self.ids.type == pa.int64())

    @property
    def type(self) -> pa.DataType:
        """Arrow type of an id: int64 or string."""
        return self.ids.type

    def index_of(self, values: pa.Array | pa.ChunkedArray) -> npt.NDArray[np.int32]:
        """Index of each value; -1 for an unknown id and for null. `InputError` for ids of the other kind."""
        flat = self._checked(_one_chunk(values))
        if self.slots is None:
            return np.asarray(pc.fill_null(pc.index_in(flat, value_set=self.ids), -1), dtype=np.int32)
        slots = self.slots
        place = _data_buffer(flat, np.dtype(np.int64)) - self.ids[0].as_py()
        # One unsigned comparison finds both ends: what lies below `first` wraps around to a huge number.
        outside = place.view(np.uint64) >= np.uint64(len(slots))
        if flat.null_count:
            outside |= np.asarray(flat.is_null())
        if outside.any():
            place[outside] = len(slots) - 1  # the last slot always says -1
        found: npt.NDArray[np.int32] = slots[place]
        return found

    def ids_of(self, index: npt.NDArray[np.integer]) -> pa.Array:
        """Ids at `index`, in its order. Raises when an index is outside the catalogue."""
        return self.ids.take(pa.array(index))

    def _checked(self, values: pa.Array) -> pa.Array:
        keys = _as_key_type(values)
        if keys.type == self.type or pa.types.is_null(keys.type):
            return keys.cast(self.type)
        raise InputError(
            f"item ids are {_kind(keys.type)}s, but the model was trained on {_kind(self.type)}s: "
            f"give it ids of the kind it knows, or train it on this table"
        )


def _slots(ascending: pa.Array) -> npt.NDArray[np.int32] | None:
    """`ItemIndex.slots`; None if ids are strings or sparse."""
    if ascending.type != pa.int64() or not len(ascending):
        return None
    ids = _data_buffer(ascending, np.dtype(np.int64))
    first, width = int(ids[0]), int(ids[-1]) - int(ids[0]) + 2
    if width > max(_SLOTS_ALWAYS, _SLOTS_PER_ITEM * len(ids)):
        return None
    if first < -_LARGEST_DENSE_ID or first > _LARGEST_DENSE_ID:
        return None
    slots = np.full(width, -1, dtype=np.int32)
    slots[ids - first] = np.arange(len(ids), dtype=np.int32)
    return slots


def _one_chunk(values: pa.Array | pa.ChunkedArray) -> pa.Array:
    return values.combine_chunks() if isinstance(values, pa.ChunkedArray) else values


def _as_key_type(values: pa.Array) -> pa.Array:
    """`values` as int64 or string; other types are not ids."""
    found = values.type
    if pa.types.is_dictionary(found):
        return _as_key_type(values.dictionary_decode())
    if pa.types.is_null(found) or found in (pa.int64(), pa.string()):
        return values
    if pa.types.is_integer(found):
        return values.cast(pa.int64())
    if pa.types.is_large_string(found) or pa.types.is_string_view(found):
        return values.cast(pa.string())
    raise InputError(f"item ids have type {found}: they have to be long or string")


def _data_buffer(values: pa.Array, dtype: np.dtype[np.int64]) -> npt.NDArray[np.int64]:
    """The values of a fixed-width array without a copy; what stands at nulls is arbitrary."""
    if not len(values):
        return np.zeros(0, dtype)
    return np.frombuffer(values.buffers()[1], dtype)[values.offset : values.offset + len(values)]


def _wrap(kind: pa.DataType, length: int, buffers: list[npt.NDArray[np.generic]]) -> pa.Array:
    views = [pa.py_buffer(np.ascontiguousarray(buffer)) for buffer in buffers]
    return pa.Array.from_buffers(kind, length, [None, *views])


def _kind(kind: pa.DataType) -> str:
    return "long" if kind == pa.int64() else str(kind)
