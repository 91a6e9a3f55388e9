"""Are a peer's lists right? Each is compared with float64 brute force over all items.

A list is `right` (the same items in the same order, scores rounded to float32, ties by item id), `rounding` (as good
at each place to 1e-5 of the score: float32 swapped neighbours), or wrong: `seen` (an item that the user has seen),
`short` (fewer items than there are, or a repeated one), `other` (worse items), `missing` (no list at all).
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import scipy.sparse as sp

VERDICTS = ("right", "rounding", "seen", "short", "other", "missing")
WRONG = ("seen", "short", "other", "missing")
_CLOSE = 1e-5
_BLOCK = 256

Lists = Mapping[int, np.ndarray]


def verdicts(users: np.ndarray, items: np.ndarray, seen: sp.csr_matrix, lists: Lists, *, k: int) -> dict[str, int]:
    """Count the verdicts on the lists of all `users` (float64 users x rank); `lists` has item rows by user row.

    seen: users x items; what a user has in it may not be recommended.
    """
    counts = dict.fromkeys(VERDICTS, 0)
    for first in range(0, len(users), _BLOCK):
        scores = users[first : first + _BLOCK] @ items.T
        for row, own in enumerate(scores):
            user = first + row
            taken = seen.indices[seen.indptr[user] : seen.indptr[user + 1]]
            counts[verdict(own, taken, lists.get(user), k=k)] += 1
    return counts


def verdict(scores: np.ndarray, seen: np.ndarray, found: np.ndarray | None, *, k: int) -> str:
    """The verdict on one list of item rows, given the user's float64 scores of all items."""
    if found is None or len(found) == 0:
        return "missing"
    if np.isin(found, seen).any():
        return "seen"
    allowed = scores.astype(np.float32)  # what is published: two that round to the same are a tie
    allowed[seen] = -np.inf
    best = _best(allowed, min(k, len(scores) - len(seen)))
    if np.array_equal(best, found):
        return "right"
    if len(found) != len(best) or len(np.unique(found)) < len(found):
        return "short"
    wanted = allowed[best]
    close = np.abs(allowed[found] - wanted) <= _CLOSE * np.abs(wanted)
    return "rounding" if close.all() else "other"


def _best(scores: np.ndarray, k: int) -> np.ndarray:
    if k < 1:
        return np.empty(0, np.int64)
    lowest = np.partition(scores, len(scores) - k)[len(scores) - k]
    best = np.flatnonzero(scores >= lowest)
    return best[np.lexsort((best, -scores[best]))][:k]


def read_lists(folder: Path, *, users: int) -> dict[int, np.ndarray]:
    """Item rows by user row of the first `users`, from Parquet files below `folder`.

    Three layouts: `user_id, item_ids` (a list); `user_id, recommendations` (a list of structs whose first field is
    the item); `user_id, item_id, score` (a row per item). Ids are rows + 1.
    """
    # the data files of a Delta table that was written once are the table
    files = [str(path) for path in sorted(folder.rglob("*.parquet")) if "_delta_log" not in path.parts]
    found = ds.dataset(files, format="parquet")
    wanted = [
        name for name in found.schema.names if name in ("user_id", "item_ids", "recommendations", "item_id", "score")
    ]
    table = found.to_table(columns=wanted, filter=pc.field("user_id") <= users).combine_chunks()
    if "item_id" in table.schema.names:
        return _grouped(table)
    column = table.column("item_ids" if "item_ids" in table.schema.names else "recommendations").combine_chunks()
    values = column.flatten()
    if pa.types.is_struct(values.type):
        values = values.flatten()[0]
    lengths = pc.fill_null(column.value_lengths(), 0).to_numpy()
    rows = np.split(values.to_numpy().astype(np.int64) - 1, np.cumsum(lengths)[:-1])
    return dict(zip((table.column("user_id").to_numpy() - 1).tolist(), rows, strict=True))


def _grouped(table: pa.Table) -> dict[int, np.ndarray]:
    ordered = table.sort_by([("user_id", "ascending"), ("score", "descending"), ("item_id", "ascending")])
    users, starts = np.unique(ordered.column("user_id").to_numpy(), return_index=True)
    items = np.split(ordered.column("item_id").to_numpy().astype(np.int64) - 1, starts[1:])
    return dict(zip((users - 1).tolist(), items, strict=True))


def check_job(workload: Path, lists: Path, *, users: int, k: int) -> dict[str, int]:
    """Verdicts on a whole job's lists of the first `users` users."""
    seen = sp.load_npz(workload / "events.npz")[:users]
    items = np.load(workload / "als_items.npy").astype(np.float64)
    return verdicts(seen.astype(np.float64) @ items, items, seen, read_lists(lists, users=users), k=k)
