"""The users of a run whose rows a page looks at, and all of them counted: read as a stream, few are kept."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scoreline.operations.report.facts import Failures
from scoreline.tables.names import BUCKET, USER_ID

_CODES = 5


@dataclass
class Tally:
    """All rows of a run, counted: by bucket (those with a result), by source, and failures by code with an example."""

    buckets: Counter[int] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    examples: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def scored(self) -> int:
        return self.buckets.total()

    def add(self, rows: pa.RecordBatch) -> None:
        """Of published rows `bucket, source`."""
        _count(self.buckets, rows[BUCKET])
        _count(self.sources, rows["source"])

    def add_failures(self, rows: pa.RecordBatch) -> None:
        """Of failed rows `user_id, code, message`."""
        for user, code, message in zip(*(rows[name].to_pylist() for name in (USER_ID, "code", "message")), strict=True):
            self.codes[code or ""] += 1
            self.examples.setdefault(code or "", (str(user), message or ""))

    def failures(self) -> tuple[Failures, ...]:
        """The most frequent codes, each with the first user met."""
        return tuple(Failures(code, users, *self.examples[code]) for code, users in self.codes.most_common(_CODES))


def chosen_buckets(counts: Counter[int], wanted: int) -> list[int]:
    """Buckets with about `wanted` users together, spread over all of them; at least one, if there is any."""
    buckets = sorted(counts)
    if not buckets:
        return []
    many = max(1, round(len(buckets) * wanted / max(counts.total(), 1)))
    step = max(1, len(buckets) // many)
    return buckets[::step][:many]


def few(batches: Iterable[pa.RecordBatch], schema: pa.Schema, most: int) -> pa.Table:
    """At most `most` rows of a stream, by a hash of `user_id` and in its order: the same for rows in any order."""
    kept = schema.empty_table()
    for batch in batches:
        kept = pa.concat_tables([kept, pa.Table.from_batches([batch], schema)])
        if kept.num_rows > 2 * most:
            kept = _lowest(kept, most)
    return _lowest(kept, most).sort_by(USER_ID)


def of_users(batches: Iterable[pa.RecordBatch], schema: pa.Schema, users: pa.Array) -> pa.Table:
    """The rows of a stream whose user is one of `users`, one row for each."""
    kept = [batch.filter(pc.is_in(batch[USER_ID], value_set=users)) for batch in batches]
    rows = pa.Table.from_batches([batch for batch in kept if batch.num_rows], schema)
    first = pc.index_in(pc.unique(rows[USER_ID]), value_set=rows[USER_ID].combine_chunks())
    return rows.take(first)


def drawn(users: Sequence[Any], number: int, seed: str) -> list[Any]:
    """So many of `users`, the same for the same seed and users."""
    dice = np.random.default_rng(list(seed.encode()))
    chosen = dice.choice(len(users), size=min(number, len(users)), replace=False)
    return [users[place] for place in sorted(chosen)]


def _lowest(rows: pa.Table, most: int) -> pa.Table:
    if rows.num_rows <= most:
        return rows
    order = np.argsort(_hashed(rows[USER_ID]), kind="stable")[:most]
    return rows.take(pa.array(np.sort(order)))


def _hashed(users: pa.ChunkedArray) -> npt.NDArray[np.uint64]:
    from pandas.util import hash_array

    values = users.to_numpy()
    return hash_array(values.astype(object) if values.dtype.kind not in "iu" else values)


def _count(into: Counter[Any], column: pa.Array) -> None:
    for row in pc.value_counts(column).to_pylist():
        into[row["values"]] += row["counts"]
