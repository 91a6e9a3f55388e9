"""What the events of a history have to do with the scores: as the model adds them up, or by leaving each out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa

from scoreline.models.artifacts import FittedModel
from scoreline.models.histories import Histories
from scoreline.operations.explanation import Method
from scoreline.operations.recompute import MOST_EVENTS, Listed, Worker, without_each
from scoreline.scoring.task import OLDER, ScoringTask

__all__ = ["DEEPEST", "Causes", "differences", "longer", "sums"]

DEEPEST = 10_000  # the longest list that scoring.k asks any model for
_DEEPER = 10  # times as long are the lists in which a score is looked for
_ROUNDED = 1e-4  # of all that is added up: what differs by more is no matter of rounding

Adds = list[tuple[int, float | None]]


@dataclass(frozen=True)
class Causes:
    """What each event of the history adds to the score of an item.

    adds: by item, events by their place in the history, largest first; those that add nothing are left out, and None is
    first: without the event the item is not listed. places: among all items by number of users, of those that are
    listed for that and not for the history.
    """

    method: Method | None = None
    adds: Mapping[Any, Adds] = field(default_factory=dict)
    places: Mapping[Any, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def sums(model: FittedModel, history: pa.Table, published: Listed, wanted: Sequence[Any]) -> Causes | None:
    """The parts of each score, exactly as one of our models adds them up; None if they do not make the score."""
    one = Histories.from_arrow(history["item_ids"], history["weights"], model.catalogue, history[OLDER])
    items = model.catalogue.index_of(pa.array(wanted, model.catalogue.type))
    if (items < 0).any():
        return None
    parts = model.estimator.contributions(one, items)
    scores = np.array([published.by_item[item] for item in wanted])
    popular = np.full(len(wanted), published.source == "fallback") | (~parts.any(axis=1) & (scores != 0))
    off = np.abs(parts.sum(axis=1) - scores) > _ROUNDED * np.abs(parts).sum(axis=1)
    if (off & ~popular).any():  # logged by another version of ours, whose sum was another
        return None
    place = {int(item): at for at, item in enumerate(model.popularity.order_, start=1)} if popular.any() else {}
    made = [(item, _ordered(enumerate(row.tolist()))) for item, row in zip(wanted, parts, strict=True)]
    return Causes(
        "sum",
        dict(one for one, is_popular in zip(made, popular, strict=True) if not is_popular),
        {item: place[int(at)] for item, at, is_popular in zip(wanted, items, popular, strict=True) if is_popular},
    )


def differences(worker: Worker, task: ScoringTask, history: pa.Table, wanted: Sequence[Any]) -> Causes:
    """By how much each score falls without an event: of any model, by one batch of the history without each of them.

    An event without which the model says nothing, or does not list the item any more, counts as None.
    """
    deeper = longer(task, min(DEEPEST, _DEEPER * task.k)) or task
    whole, *others = worker.lists(deeper, without_each(history))
    if whole.code is not None:
        return Causes(notes=(f"What made the scores cannot be said: the model fails with {whole.code}.",))
    count = len(history["item_ids"][0].as_py() or [])
    events = range(count - len(others), count)
    adds = {
        item: _ordered(
            (at, _fall(whole, other, item)) for at, other in zip(events, others, strict=True) if other.code is None
        )
        for item in wanted
        if item in whole.by_item
    }
    notes = []
    if failed := [other.code for other in others if other.code is not None]:
        notes.append(f"Without {len(failed):,} of the {count:,} events the model gives no list ({failed[0]}).")
    if len(others) < count:
        notes.append(f"Only the newest {MOST_EVENTS:,} of {count:,} events were left out one by one.")
    return Causes("without_each", adds, notes=tuple(notes))


def longer(task: ScoringTask, k: int) -> ScoringTask | None:
    """The task with lists of `k` items; None for a model that takes no such param."""
    return replace(task, k=k, params={**task.params, "k": k}) if "k" in task.params else None


def _fall(whole: Listed, other: Listed, item: Any) -> float | None:
    if other.source != whole.source or item not in other.by_item:
        return None
    return whole.by_item[item] - other.by_item[item]


def _ordered(adds: Any) -> Adds:
    found = [(at, value) for at, value in adds if value is None or value]
    return sorted(found, key=lambda pair: (pair[1] is not None, -(pair[1] or 0), -pair[0]))
