"""Why an item is not in a user's list: of the reasons that hold the first, in the order of a run."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa

from scoreline.models.artifacts import FittedModel
from scoreline.operations.explanation import WhyNot, WhyNotReason
from scoreline.operations.pinned_row import PinnedRow
from scoreline.operations.recompute import Listed
from scoreline.scoring.task import OLDER
from scoreline.tables.reading import records

__all__ = ["reason_of"]


def reason_of(
    item: Any,
    titles: Mapping[Any, str],
    *,
    published: Listed,
    pinned: PinnedRow,
    model: FittedModel | None,
    deep: Listed,
    asked: int | None,
) -> WhyNot:
    """The reason. `titles`: of what the table `items` has. `model`: one of ours, None of another.

    deep: the list of `asked` items that the model gives by the same rules; of the usual length where `asked` is None,
    because the model takes no `k`.
    """
    title = titles.get(item)
    last = published.scores[-1] if published.scores else None
    if item in published.items:
        rank = published.items.index(item) + 1
        score = published.scores[rank - 1]
        return WhyNot(item, title, "listed", f"it is in the list, at place {rank} with {score:.4g}.", rank, score, last)
    known = _by_rules(item, titles, pinned) or (None if model is None else _unknown(item, titles, model))
    return known or _outscored(item, titles, published, deep, asked=asked, last=last)


def _by_rules(item: Any, titles: Mapping[Any, str], pinned: PinnedRow) -> WhyNot | None:
    """Seen, or forbidden; None for an item that may come."""
    if pinned.history is None or pinned.rules is None:
        return WhyNot(item, titles.get(item), "cannot_say", "what the list was made from is not there any more.")
    rules, row = pinned.rules, records(pinned.history)[0]
    seen: list[Any] = row["item_ids"] or []
    reason: WhyNotReason
    if rules.exclude_seen and item in seen:
        reason, said = "seen", f"the user has seen it, last on {row['event_times'][seen.index(item)]:%Y-%m-%d}."
    elif rules.exclude_seen and item in (row[OLDER] or []):
        reason, said = "seen", "the user has seen it, longer ago than all events that a model is shown."
    elif rules.blocked is not None and item in rules.blocked.to_pylist():
        reason, said = "blocked", "scoring.blocked_items has it."
    elif rules.allowed is not None and item not in rules.allowed.to_pylist():
        reason, said = "not_allowed", "scoring.allowed_items has other items only."
    else:
        return None
    return WhyNot(item, titles.get(item), reason, said)


def _unknown(item: Any, titles: Mapping[Any, str], model: FittedModel) -> WhyNot | None:
    index = int(model.catalogue.index_of(pa.array([item], model.catalogue.type))[0])
    title = titles.get(item)
    if index < 0 and item not in titles:
        return WhyNot(item, title, "unknown", "neither the model nor the table items knows it. Is the id right?")
    if index < 0 or not model.popularity.popularity_[index]:
        said = "the model was trained without an event of it; one that is trained when there are some may list it."
        return WhyNot(item, title, "not_in_training", said)
    return None


def _outscored(
    item: Any, titles: Mapping[Any, str], published: Listed, deep: Listed, *, asked: int | None, last: float | None
) -> WhyNot:
    title = titles.get(item)
    if deep.code is not None:
        said = f"the model does not say: asked for a longer list it gives none ({deep.code}, {deep.message})."
        return WhyNot(item, title, "cannot_say", said)
    if item not in deep.items:
        return WhyNot(item, title, *_beyond(len(deep.items), asked), last_score=last)
    rank, score = deep.items.index(item) + 1, deep.by_item[item]
    if deep.source == "fallback":
        said = (
            "the history says nothing to the model, so the list has what is most popular; it is at place "
            f"{rank:,} of that, with {score:.4g}."
        )
        return WhyNot(item, title, "no_signal", said, rank, score, last)
    said = f"outscored: place {rank:,} with {score:.4g}"
    if published.items:
        lowest = published.items[-1]
        said += f"; the last one listed, {titles.get(lowest) or lowest}, has {last:.4g}"
    return WhyNot(item, title, "outscored", f"{said}.", rank, score, last)


def _beyond(given: int, asked: int | None) -> tuple[WhyNotReason, str]:
    if asked is None:
        return "cannot_say", f"the model takes no param k: what comes behind its {given:,} items nobody can ask."
    if given < asked:
        said = f"the model gives {given:,} items for this history and no more: it does not know it, or leaves it out."
        return "unknown", said
    return "outscored", f"outscored: it is not among the first {given:,}."
