"""Arithmetic on Arrow list columns without a loop over rows."""

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

_BITMAP_CELLS = 1 << 22  # about the size of a core's cache, in bytes


def codes_of(values: pa.Array) -> npt.NDArray[np.int64]:
    """Small whole numbers (int64) for values, the same for the same value; no nulls."""
    if values.type in (pa.int32(), pa.int64()) and len(values):
        numbers: npt.NDArray[np.int64] = values.to_numpy()
        least = numbers.min()
        if int(numbers.max()) - int(least) <= len(values):  # small enough as they are
            return (numbers - least).astype(np.int64)  # type: ignore[no-any-return]
    return pc.dictionary_encode(values).indices.to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def repeated_shares(new: pa.Table, old: pa.Table) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
    """Which users of `new` have a list in `old` too, and of each of these which share of the longer list is in both.

    Both tables have `user_id, item_ids`, each user once. A user whose two lists are empty has no share.
    """
    place = pc.index_in(_whole(new, "user_id"), value_set=_whole(old, "user_id"))
    lists, replaced = _whole(new, "item_ids").filter(place.is_valid()), _whole(old, "item_ids").take(place.drop_null())
    longer = np.maximum(_lengths(lists), _lengths(replaced))
    shares = common_count(replaced, lists)[longer > 0] / longer[longer > 0]
    both = place.is_valid().to_numpy(zero_copy_only=False)
    both[np.flatnonzero(both)[longer == 0]] = False
    return both, shares


def common_count(left: pa.Array, right: pa.Array) -> npt.NDArray[np.int32]:
    """Per row, how many ids of the right list are in the left one; two list arrays as long, int32 out, null is empty.

    A bitmap of (rows x distinct ids), some rows at a time: sorting the pairs instead takes several times as long.
    """
    n = len(left)
    marked, asked = _lengths(left), _lengths(right)
    codes = codes_of(pa.concat_arrays([left.flatten(), right.flatten()]))
    width = int(codes.max(initial=0)) + 1
    marked_codes, asked_codes = codes[: marked.sum()], codes[marked.sum() :]
    marked_at, asked_at = np.concatenate([[0], marked.cumsum()]), np.concatenate([[0], asked.cumsum()])
    step = max(1, _BITMAP_CELLS // width)
    bitmap = np.zeros(min(step, n) * width, np.bool_)
    counts = np.zeros(n, np.int32)
    for start in range(0, n, step):
        stop = min(start + step, n)
        marks = _cells(marked[start:stop], width) + marked_codes[marked_at[start] : marked_at[stop]]
        bitmap[marks] = True
        looks = _cells(asked[start:stop], width) + asked_codes[asked_at[start] : asked_at[stop]]
        owner = np.repeat(np.arange(start, stop), asked[start:stop])
        counts += np.bincount(owner[bitmap[looks]], minlength=n).astype(np.int32)
        bitmap[marks] = False
    return counts


def _lengths(lists: pa.Array) -> npt.NDArray[np.int64]:
    return pc.fill_null(lists.value_lengths(), 0).to_numpy().astype(np.int64)  # type: ignore[no-any-return]


def _cells(lengths: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
    return np.repeat(np.arange(len(lengths), dtype=np.int64) * width, lengths)


def _whole(table: pa.Table, name: str) -> pa.Array:
    return table.column(name).combine_chunks()
