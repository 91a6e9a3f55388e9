"""Histories as one long list of events on the driver, and the temporal split of it."""

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import scipy.sparse as sp

from scoreline.errors import InputError
from scoreline.models.histories import Histories
from scoreline.models.item_index import ItemIndex
from scoreline.typed import typed

__all__ = ["Interactions", "SplitBy"]

SplitBy = Literal["time", "user"]


@dataclass(frozen=True)
class Interactions:
    """Events sorted by user, in the order of the history; memory is 20 bytes an event.

    users, items: int32 indexes. weights: float32. times: int64, microseconds since 1970 in UTC; each item of a user
    stands once, with its newest time. user_ids: one per user; None: the number of the row. firsts: the time of the
    first event of the item; None: no item was met twice.
    """

    catalogue: ItemIndex
    user_count: int
    users: npt.NDArray[np.int32]
    items: npt.NDArray[np.int32]
    weights: npt.NDArray[np.float32]
    times: npt.NDArray[np.int64]
    user_ids: pa.ChunkedArray | None = None
    firsts: npt.NDArray[np.int64] | None = None

    @classmethod
    def from_histories(cls, table: pa.Table) -> "Interactions":
        """From columns `item_ids`, `weights` and `event_times` (lists of timestamps); a row per user.

        Also `user_id`, and `since_first_us` (see `schema.user_history`), if they are there.

        Raises `InputError` if a column is missing, an id or time is null, or there is no event at all.
        """
        missing = [name for name in ("item_ids", "weights", "event_times") if name not in table.column_names]
        if missing:
            raise InputError(f"histories have no column {missing[0]}; there are {', '.join(table.column_names)}")
        catalogue = ItemIndex.from_ids(table["item_ids"].combine_chunks().flatten())
        if not len(catalogue):
            raise InputError(f"there is no event to learn from: ingest some first ({typed('ingest --events FILE')})")
        histories = Histories.from_arrow(table["item_ids"], table["weights"], catalogue)
        times = table["event_times"].combine_chunks().flatten()
        if len(times) != len(histories.items) or times.null_count or (histories.items < 0).any():
            raise InputError(
                f"histories have {len(histories.items)} item_ids and {len(times)} event_times "
                f"({times.null_count} of them null, {int(np.sum(histories.items < 0))} ids null): each event "
                f"needs one of both, ingest the events again"
            )
        micros = pc.cast(times, pa.timestamp("us", times.type.tz)).cast(pa.int64()).to_numpy()
        user_ids = table["user_id"] if "user_id" in table.column_names else None
        firsts = _firsts(table, histories, micros)
        parts = (histories.users, histories.items, histories.weights, micros)
        return cls(catalogue, table.num_rows, *parts, user_ids, firsts)

    def __len__(self) -> int:
        """Number of events."""
        return len(self.items)

    def where(self, keep: npt.NDArray[np.bool_]) -> "Interactions":
        """These events only, of the same users and items."""
        return self.take(np.flatnonzero(keep))

    def take(self, events: npt.NDArray[np.int64]) -> "Interactions":
        """These events, in this order, of the same users and items."""
        parts = (self.users[events], self.items[events], self.weights[events], self.times[events])
        firsts = None if self.firsts is None else self.firsts[events]
        return Interactions(self.catalogue, self.user_count, *parts, self.user_ids, firsts)

    def histories(self) -> Histories:
        """One history per user, empty for users without an event."""
        offsets = np.searchsorted(self.users, np.arange(self.user_count + 1)).astype(np.int64)
        return Histories(offsets, self.items, self.weights)

    def matrix(self) -> sp.csr_matrix:
        """Users x items of weights; explicit zeros stay events."""
        histories = self.histories()
        shape = (self.user_count, len(self.catalogue))
        return sp.csr_matrix((self.weights, self.items, histories.offsets), shape)

    def ages(self) -> npt.NDArray[np.float32]:
        """Days before the newest event, in the order of the matrix's entries."""
        micros: npt.NDArray[np.int64] = self.times.max(initial=0) - self.times
        return (micros / 86_400e6).astype(np.float32)

    def cut(
        self, late: npt.NDArray[np.bool_], by: SplitBy, *, again: bool = False
    ) -> "tuple[Interactions, Interactions]":
        """What was known before the cut, and the `late` events after it.

        An item that its user had met before the cut and met again after it was known: it stands before the cut with its
        first time, the weight being that of the newest event, since those between are not kept. It is no news after it
        either, but where items may be recommended `again`.
        """
        if self.firsts is None or not late.any():
            return self.where(~late), self.where(late)
        opened = np.full(self.user_count, self.times[late].min() if by == "time" else np.iinfo(np.int64).max)
        if by == "user":
            np.minimum.at(opened, self.users[late], self.times[late])
        known = late & (self.firsts < opened[self.users])
        then = replace(self, times=np.where(known, self.firsts, self.times)).where(~late | known)
        ordered = then.take(np.lexsort((np.arange(len(then)), then.times, then.users)))
        return ordered, self.where(late if again else late & ~known)

    def tied(self) -> float:
        """The share of neighbours in a history that have the same time: 1 if times say nothing about an order."""
        neighbours = self.users[1:] == self.users[:-1]
        same: npt.NDArray[np.bool_] = self.times[1:] == self.times[:-1]
        return float(same[neighbours].mean()) if neighbours.any() else 1.0

    def held_out(self, by: SplitBy, share: float, *, seed: int = 0) -> npt.NDArray[np.bool_]:
        """Which events are for testing: the last `share` of all (`time`) or of each user's (`user`), rounded down.

        `time` cuts at one moment, as in production: nothing that happened later is learned from. `user` keeps at
        least one event of each user for training; what others did later may be learned from. Events of one moment
        have no order: where the cut goes through them, `seed` decides by a hash of user and item. Source: Meng et
        al., Exploring Data Splitting Strategies for the Evaluation of Recommendation Models, RecSys 2020.
        """
        if by == "time":
            return self._last(int(np.floor(len(self) * share + 1e-9)), seed)
        order = np.lexsort((self._lots(np.arange(len(self)), seed), self.times, self.users))
        counts = np.bincount(self.users, minlength=self.user_count)
        ends = np.cumsum(counts)
        from_end = np.empty(len(self), dtype=np.int64)
        from_end[order] = ends[self.users] - np.arange(len(self))  # 1 for a user's last event
        tested = np.minimum(np.floor(counts * share + 1e-9), counts - 1)
        last: npt.NDArray[np.bool_] = from_end <= tested[self.users]
        return last

    def _last(self, count: int, seed: int) -> npt.NDArray[np.bool_]:
        if count == 0:
            return np.zeros(len(self), dtype=np.bool_)
        moment = np.partition(self.times, -count)[-count]
        late: npt.NDArray[np.bool_] = self.times > moment
        ties = np.flatnonzero(self.times == moment)
        missing = count - int(late.sum())
        late[ties[np.argsort(self._lots(ties, seed), kind="stable")[len(ties) - missing :]]] = True
        return late

    def _lots(self, events: npt.NDArray[np.int64], seed: int) -> npt.NDArray[np.uint64]:
        """A number drawn for each event from the seed and its ids, whatever the order of users and of items."""
        users = _hashed(np.arange(self.user_count) if self.user_ids is None else _values(self.user_ids))
        items = _hashed(_values(self.catalogue.ids))
        odd = np.uint64(0x9E3779B97F4A7C15)  # of splitmix64: spreads whatever is multiplied by it
        return _hashed((users[self.users[events]] * odd + items[self.items[events]]) * odd + np.uint64(seed))


def _firsts(table: pa.Table, histories: Histories, times: npt.NDArray[np.int64]) -> npt.NDArray[np.int64] | None:
    """The time of the first event of each entry; None where all items of all users were met once."""
    if "since_first_us" not in table.column_names:
        return None
    spans = table["since_first_us"].combine_chunks()
    if spans.null_count == len(spans):
        return None
    given = np.repeat(spans.is_valid().to_numpy(zero_copy_only=False), np.diff(histories.offsets))
    values = spans.flatten().to_numpy(zero_copy_only=False)
    if given.sum() != len(values):
        raise InputError(
            f"histories have {len(values)} since_first_us for {given.sum()} items: ingest the events again"
        )
    firsts = times.copy()
    firsts[given] -= values
    return firsts


def _values(ids: pa.Array | pa.ChunkedArray) -> npt.NDArray[Any]:
    return np.asarray(ids.to_numpy(zero_copy_only=False) if isinstance(ids, pa.Array) else ids.to_numpy())


def _hashed(values: npt.NDArray[Any]) -> npt.NDArray[np.uint64]:
    """uint64 each: the same on every machine and in every process."""
    found: npt.NDArray[np.uint64] = pd.util.hash_array(values, categorize=False)
    return found
