"""Brute force: the lists that the table has to hold, from the model's arrays and plain loops."""

from collections.abc import Container
from itertools import chain, islice
from typing import Any

import numpy as np

from scoreline.context import Context
from scoreline.models.artifacts import FittedModel


def published(made: Context) -> dict[Any, list[Any]]:
    """user_id -> item ids, as the table shows them."""
    rows = made.tables.table("recommendations").read().select("user_id", "recommendations").collect()
    return {row["user_id"]: [item["item_id"] for item in row["recommendations"]] for row in rows}


def histories(made: Context) -> dict[Any, tuple[list[Any], list[float]]]:
    rows = made.tables.table("user_history").read().select("user_id", "item_ids", "weights").collect()
    return {row["user_id"]: (row["item_ids"], row["weights"]) for row in rows}


def expected(
    made: Context,
    model: FittedModel,
    *,
    k: int,
    blocked: frozenset[Any] = frozenset(),
    users: Container[Any] | None = None,
) -> dict[Any, list[Any]]:
    """For each user the k best unseen items by score as published, ties by id; then by popularity."""
    catalogue = model.catalogue.ids.to_pylist()
    place = {item: index for index, item in enumerate(catalogue)}
    popular = popularity_order(model)
    return {
        user: _best(items, catalogue, place, model.estimator, popular, k, blocked)
        for user, (items, _) in histories(made).items()
        if users is None or user in users
    }


def popularity_order(model: FittedModel) -> list[int]:
    counts = np.asarray(model.popularity.popularity_, dtype=np.float64)
    return sorted(range(len(counts)), key=lambda index: (-counts[index], index))


def _best(
    items: Any, catalogue: Any, place: Any, estimator: Any, popular: Any, k: int, blocked: frozenset[Any]
) -> list[Any]:
    similar = estimator.similarities_.astype(np.float64)
    sums = np.zeros(len(catalogue) + 1)  # one more for the padding of the neighbours
    for after, item in zip(reversed(range(len(items))), items, strict=True):
        if item in place:
            half_life = estimator.history_half_life or np.inf
            faded = np.float64(np.float32(2.0 ** (-after / half_life)))
            sums[estimator.neighbours_[place[item]]] += faded * similar[place[item]]
    scores = sums.astype(np.float32)
    forbidden = {place[i] for i in [*items, *blocked] if i in place}
    touched = [i for i in np.flatnonzero(scores[:-1] > 0) if i not in forbidden]
    best = sorted(touched, key=lambda i: (-scores[i], i))[:k]
    rest = (i for i in popular if i not in forbidden and i not in best)
    return [catalogue[i] for i in islice(chain(best, rest), k)]
