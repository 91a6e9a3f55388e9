"""Score a user once more as the workers do, whole and without each event of the history; nothing here is published."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from scoreline.engine.worker_errors import from_worker
from scoreline.errors import RunFailed, WorkerEnded, WorkerFailed, told
from scoreline.operations.explanation import Difference, Recomputed
from scoreline.scoring.node import Shipment
from scoreline.scoring.pool import forget_pools, pool_for
from scoreline.scoring.task import OLDER, ScoringTask
from scoreline.tables.names import RECOMMENDATIONS, SINCE_FIRST

__all__ = ["ALIGNED", "MOST_EVENTS", "Listed", "Worker", "compared", "without_each"]

MOST_EVENTS = 1_000  # of a history are left out one by one, the newest
ALIGNED = ("item_ids", "weights", "event_times", SINCE_FIRST)  # the lists of a history that have an entry an event
_FEW = 10  # rows that fail are looked at one by one; more say no more


@dataclass(frozen=True)
class Listed:
    """What the model gave for one row; `code` says how it failed, None if it did not."""

    items: tuple[Any, ...] = ()
    scores: tuple[float, ...] = ()
    source: str | None = None
    code: str | None = None
    message: str = ""

    @classmethod
    def of(cls, row: Mapping[str, Any]) -> "Listed":
        items = row[RECOMMENDATIONS] or []
        return cls(
            tuple(item["item_id"] for item in items),
            tuple(item["score"] for item in items),
            row["source"],
            row.get("code"),
            row.get("message") or "",
        )

    @property
    def by_item(self) -> dict[Any, float]:
        return dict(zip(self.items, self.scores, strict=True))


class Worker:
    """A worker process, begun when this is made if the model is ours; what a model does to it touches nobody else."""

    def __init__(self) -> None:
        pool_for(None, 1)

    def lists(self, task: ScoringTask, rows: pa.Table) -> list[Listed]:
        """What the model gives for rows of `user_history`, in one batch. Raises InputError or RunFailed."""
        guarded = replace(task, guard=replace(task.guard, sandbox=True, failures=_FEW))
        batch = rows.select(list(task.columns)).combine_chunks().to_batches()[0]
        job = (Shipment(task.model_path, None), guarded)
        try:
            answers = list(pool_for(task.model_path, 1).scored(job, iter([batch])))
        except WorkerFailed as error:
            raise from_worker("the model could not be asked", error) from None
        except WorkerEnded:
            raise RunFailed("the model ended its process, or did not load within scoring.batch_timeout") from None
        except OSError as error:
            forget_pools()
            raise RunFailed(f"the process that starts workers is gone ({told(error)}): ask again") from None
        return [Listed.of(row) for answer in answers for row in answer.to_pylist()]


def compared(published: Listed, now: Listed, *, other_rules: bool, where: str = "published") -> Recomputed:
    """Whether the list is the published one, or that of `where`: items, places and the bits of the scores."""
    if now.code is not None:
        return Recomputed("failed", f"Computed again the model gives no list: {now.code}, {now.message}")
    rules = " The rules have changed since that run; this is by those of today." if other_rules else ""
    length = max(len(published.items), len(now.items))
    both = [[(*pair,) for pair in zip(one.items, one.scores, strict=True)] for one in (published, now)]
    padded = [pairs + [(None, None)] * (length - len(pairs)) for pairs in both]
    different = tuple(
        Difference(rank, *old, *new)
        for rank, (old, new) in enumerate(zip(*padded, strict=True), start=1)
        if old[0] != new[0] or _bits(old[1]) != _bits(new[1])
    )
    if not different and published.source == now.source:
        return Recomputed("identical", f"The list computed again is the {where} one, bit for bit.{rules}")
    if not different:
        said = f"Computed again the same list is of source {now.source}, and {published.source} is {where}."
    elif all(one.published_item == one.item for one in different):
        most = max(abs((one.score or 0) - (one.published_score or 0)) for one in different)
        said = (
            f"The list computed again has the same items; at {len(different)} places the score is another, by "
            f"{most:.2g} at most."
        )
    else:
        said = f"The list computed again is another at {len(different)} of {length} places."
    return Recomputed("differs", said + rules, different)


def _bits(score: float | None) -> bytes | None:
    return None if score is None else np.float32(score).tobytes()


def without_each(history: pa.Table) -> pa.Table:
    """The history whole, then without each of its newest MOST_EVENTS events, the oldest of these first.

    The item of an event that is left out stays among what was seen, so that it takes no place of a list.
    """
    count = len(history["item_ids"][0])
    left_out = range(max(0, count - MOST_EVENTS), count)
    columns = {name: _repeated(history[name], len(left_out)) for name in history.column_names}
    for name in ALIGNED:
        if name in columns and history[name][0].is_valid:
            columns[name] = _reduced(history[name].combine_chunks(), left_out)
    items, older = history["item_ids"][0].as_py(), history[OLDER][0].as_py() or []
    columns[OLDER] = pa.array([[*older, items[at]] for at in left_out], history.schema.field(OLDER).type)
    if "event_count" in columns:
        columns["event_count"] = pa.array([count - 1] * len(left_out), history.schema.field("event_count").type)
    if "last_event_at" in columns and "event_times" in columns:
        columns["last_event_at"] = pa.array(
            [times[-1] if len(times) else None for times in columns["event_times"]],
            history.schema.field("last_event_at").type,
        )
    return pa.concat_tables([history, pa.table(columns, schema=history.schema)])


def _repeated(column: pa.ChunkedArray, times: int) -> pa.Array:
    return column.combine_chunks().take(pa.array(np.zeros(times, np.int64)))


def _reduced(column: pa.Array, left_out: Sequence[int]) -> pa.Array:
    """Lists of all entries of the one list of `column` but one."""
    values = column.flatten()
    kept: npt.NDArray[np.bool_] = np.ones((len(left_out), len(values)), np.bool_)
    kept[np.arange(len(left_out)), list(left_out)] = False
    offsets = pa.array(np.arange(len(left_out) + 1) * (len(values) - 1), pa.int32())
    return pa.ListArray.from_arrays(offsets, values.take(pa.array(np.nonzero(kept)[1])), type=column.type)
