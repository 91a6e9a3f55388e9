"""What a user has seen, in the history and beyond: counted in what is recommended, and kept out of it. Spark-free."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scoreline.scoring.arrow_lists import codes_of, common_count

ITEM_IDS, SCORES = "item_ids", "scores"
_MORE = 4  # times as many items are asked for in the next round


def seen_count(rows: pa.RecordBatch, columns: Sequence[str], recommended: pa.Array) -> npt.NDArray[np.int32]:
    """Per row, how many recommended items are in the lists of `columns`, which have no item in common; int32."""
    found = np.zeros(rows.num_rows, np.int32)
    for lists in map(rows.column, columns):
        if lists.null_count < len(lists):
            found += common_count(lists, recommended)
    return found


def unseen(
    ask: Callable[[pa.RecordBatch, int], pa.RecordBatch] | None,
    rows: pa.RecordBatch,
    outputs: pa.RecordBatch,
    *,
    older: str,
    k: int,
) -> pa.RecordBatch:
    """The `outputs` of a model that is not told of the items in column `older`, without these.

    Users who lose something are asked for again, `ask(rows, so many)`, until `k` are left or the model has no more.
    `ask` is None for a model that takes no k: its lists get shorter. What it answers has lists without nulls.
    """
    beyond, asked = rows.column(older), k
    if beyond.null_count == len(beyond):
        return outputs
    waiting = np.flatnonzero(common_count(beyond, outputs.column(ITEM_IDS)))
    answer = outputs.take(pa.array(waiting))
    while len(waiting):
        fresh = _without(answer, beyond.take(pa.array(waiting)), k)
        outputs = _replaced(outputs, waiting, fresh)
        left = (_lengths(fresh) < k) & (_lengths(answer) >= asked)
        waiting, asked = waiting[left], asked * _MORE
        if ask is None or not len(waiting):
            break
        answer = ask(rows.take(pa.array(waiting)), asked)
    return outputs


def _without(outputs: pa.RecordBatch, older: pa.Array, k: int) -> pa.RecordBatch:
    """Row by row the first `k` items that are not in `older`, with their scores."""
    ids, scores = outputs.column(ITEM_IDS), outputs.column(SCORES)
    owner = _owners(ids)
    codes = codes_of(pa.concat_arrays([ids.flatten(), older.flatten()]))
    pairs = np.concatenate([owner, _owners(older)]) * (codes.max(initial=0) + 1) + codes
    kept = ~np.isin(pairs[: len(owner)], pairs[len(owner) :])
    lengths = np.bincount(owner, minlength=len(ids))
    kept_before = np.concatenate([[0], np.cumsum(kept)])
    rank = kept_before[:-1] - kept_before[np.cumsum(lengths) - lengths][owner]
    kept &= rank < k
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owner[kept], minlength=len(ids)))]).astype(np.int32)
    lists = {
        name: pa.ListArray.from_arrays(pa.array(offsets), values.flatten().filter(pa.array(kept)), type=values.type)
        for name, values in ((ITEM_IDS, ids), (SCORES, scores))
    }
    columns = [lists.get(name, outputs.column(name)) for name in outputs.schema.names]
    return pa.RecordBatch.from_arrays(columns, schema=outputs.schema)


def _replaced(outputs: pa.RecordBatch, places: npt.NDArray[np.int64], fresh: pa.RecordBatch) -> pa.RecordBatch:
    """`outputs` with the rows of `fresh` at `places`."""
    order = np.arange(outputs.num_rows)
    order[places] = outputs.num_rows + np.arange(len(places))
    return pa.Table.from_batches([outputs, fresh]).take(pa.array(order)).combine_chunks().to_batches()[0]


def _lengths(outputs: pa.RecordBatch) -> npt.NDArray[np.int64]:
    return outputs.column(ITEM_IDS).value_lengths().to_numpy()  # type: ignore[no-any-return]


def _owners(lists: pa.Array) -> npt.NDArray[np.int64]:
    """The row that each entry belongs to; a null list has none."""
    lengths = lists.value_lengths().fill_null(0).to_numpy()
    return np.repeat(np.arange(len(lists), dtype=np.int64), lengths)
