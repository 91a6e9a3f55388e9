"""The rows that a destination is sent. One that its database cannot hold is left out and counted; the rest is shown.

A user who goes is a row without a list whose source is GONE. So becomes a user whose list cannot be held: an old list
would belong to another version. An id that cannot be held has no row in the database, and gets none.
"""

import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from scoreline.config.sources import LONGEST_ID
from scoreline.tables.names import RECOMMENDATIONS, USER_ID

GONE = ""
COUNTS = "replaced long, removed long, lines long, left_out string"


@dataclass(frozen=True)
class Limits:
    """What a database cannot hold, beside ids with a NUL or of more than LONGEST_ID characters, which are too much for
    the keys of most."""

    pads: bool = False  # it takes `a` and `a ` for the same id
    empty_user: bool = True  # it can hold an empty id
    row_bytes: int | None = None


@dataclass(frozen=True)
class Sent:
    """Users replaced and removed, lines written, and for each reason the users left out."""

    replaced: int = 0
    removed: int = 0
    lines: int = 0
    left_out: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: "Sent") -> "Sent":
        left_out = Counter(self.left_out) + Counter(other.left_out)
        return Sent(
            self.replaced + other.replaced, self.removed + other.removed, self.lines + other.lines, dict(left_out)
        )

    def batch(self) -> pa.RecordBatch:
        """One row of COUNTS, as a worker reports it."""
        values = (self.replaced, self.removed, self.lines, json.dumps(self.left_out))
        names = ("replaced", "removed", "lines", "left_out")
        return pa.RecordBatch.from_pydict({name: [value] for name, value in zip(names, values, strict=True)})


def summed(counts: pa.Table) -> Sent:
    """All rows of COUNTS together."""
    total = Sent()
    for row in counts.to_pylist():
        total += Sent(row["replaced"], row["removed"], row["lines"], json.loads(row["left_out"]))
    return total


def with_gone(lists: DataFrame, gone: DataFrame) -> DataFrame:
    """`user_id, recommendations, source` of everyone who is replaced or goes."""
    nothing = F.lit(None).cast(lists.schema[RECOMMENDATIONS].dataType)
    leaving = gone.select(USER_ID, nothing.alias(RECOMMENDATIONS), F.lit(GONE).alias("source"))
    return lists.select(USER_ID, RECOMMENDATIONS, "source").unionByName(leaving)


def fitted(rows: pa.RecordBatch, limits: Limits) -> tuple[pa.RecordBatch, Sent]:
    """The rows of `user_id, recommendations, source` that can be held, and their counts, without `lines`."""
    users, lists, sources = (rows.column(name) for name in (USER_ID, RECOMMENDATIONS, "source"))
    leaving = np.asarray(pc.equal(sources, GONE))
    odd_users = _first_reasons(_odd_users(users, limits), rows.num_rows)
    odd_lists = _first_reasons(_odd_lists(users, lists, limits), rows.num_rows)
    no_row, no_list = odd_users != "", (odd_users == "") & (odd_lists != "")
    reasons = np.where(no_row, odd_users, odd_lists)[(no_row | no_list) & ~leaving]
    counted = Sent(
        replaced=int((~leaving & ~no_row & ~no_list).sum()),
        removed=int((leaving & ~no_row).sum()),
        left_out={str(reason): int(n) for reason, n in zip(*np.unique(reasons, return_counts=True), strict=True)},
    )
    if not (no_row | no_list).any():
        return rows, counted
    kept = rows.filter(pa.array(~no_row & ~no_list))
    emptied = users.filter(pa.array(no_list))
    columns = [emptied, pa.nulls(len(emptied), lists.type), pa.array([GONE] * len(emptied), sources.type)]
    both = pa.Table.from_batches([kept, pa.RecordBatch.from_arrays(columns, schema=rows.schema)])
    return pa.RecordBatch.from_arrays([column.combine_chunks() for column in both.columns], schema=rows.schema), counted


def _odd_users(users: pa.Array, limits: Limits) -> dict[str, np.ndarray]:
    odd = _odd_ids(users, "user id")
    if pa.types.is_string(users.type) or pa.types.is_large_string(users.type):
        if limits.pads:
            odd["user id ends with a space, which this database does not tell from one without"] = _true(
                pc.ends_with(users, " ")
            )
        if not limits.empty_user:
            odd["user id is empty"] = _true(pc.equal(users, ""))
    return odd


def _odd_lists(users: pa.Array, lists: pa.Array, limits: Limits) -> dict[str, np.ndarray]:
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    owner = np.repeat(np.arange(len(lists)), lengths)
    items = lists.flatten()
    item_ids, scores = (pc.struct_field(items, name) for name in ("item_id", "score"))
    unusable = ~_true(pc.is_finite(scores)) | np.asarray(pc.is_null(item_ids))
    odd = {**_odd_ids(item_ids, "item id"), "list has an item without an id or a finite score": unusable}
    found = {reason: np.bincount(owner[mask], minlength=len(lists)) > 0 for reason, mask in odd.items()}
    if limits.row_bytes is not None:
        weight = np.bincount(owner, weights=_bytes(item_ids) + 24, minlength=len(lists)) + _bytes(users) + 100
        found[f"list is larger than {limits.row_bytes // 1024} KB"] = weight > limits.row_bytes
    return found


def _odd_ids(ids: pa.Array, what: str) -> dict[str, np.ndarray]:
    if not (pa.types.is_string(ids.type) or pa.types.is_large_string(ids.type)):
        return {}
    return {
        f"{what} is longer than {LONGEST_ID} characters": _true(pc.greater(pc.utf8_length(ids), LONGEST_ID)),
        f"{what} has a NUL character": _true(pc.match_substring(ids, "\0")),
    }


def _bytes(ids: pa.Array) -> np.ndarray:
    """At most so many bytes; a number of DynamoDB has 21."""
    if pa.types.is_integer(ids.type):
        return np.full(len(ids), 21)
    return np.asarray(pc.fill_null(pc.binary_length(ids), 0).to_numpy(zero_copy_only=False))


def _true(mask: pa.Array) -> np.ndarray:
    return np.asarray(pc.fill_null(mask, False).to_numpy(zero_copy_only=False), dtype=bool)


def _first_reasons(odd: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    """For each row the first reason that holds, empty if none does."""
    found = np.full(rows, "", dtype=object)
    for reason, mask in reversed(list(odd.items())):
        found[mask] = reason
    return found
