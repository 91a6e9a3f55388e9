"""The truth that the search is held to: every score in float64, rounded as published, every eligible item sorted."""

from itertools import pairwise

import numpy as np

from scoreline.models.topk import TopK


def best_of_all(
    scores: np.ndarray,
    *,
    seen: list[np.ndarray],
    k: int,
    eligible: np.ndarray | None = None,
) -> list[list[int]]:
    """Items by descending score, ties by item, without seen and ineligible ones."""
    lists = []
    for row, own in zip(scores, seen, strict=True):
        order = np.lexsort((np.arange(len(row)), -row))
        forbidden = np.zeros(len(row), dtype=bool) if eligible is None else ~eligible
        forbidden[own[own >= 0]] = True
        lists.append(order[~forbidden[order]][:k].tolist())
    return lists


def exact_products(users: np.ndarray, items: np.ndarray) -> np.ndarray:
    """float32[users, items]: float64 dot products summed factor by factor (equal items have equal scores), rounded."""
    exact = np.stack([(items.astype(np.float64) * user).sum(axis=1) for user in users.astype(np.float64)])
    return exact.astype(np.float32)


def offsets_of(rows: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([[0], np.cumsum([len(row) for row in rows])]).astype(np.int64)


def flat(rows: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0, np.int32), *rows]).astype(np.int32)


def in_order(lists: TopK) -> bool:
    """Whether each list is sorted by what it shows: score descending, then item."""
    pairs = [
        list(zip((-lists.scores[a:b]).tolist(), lists.items[a:b].tolist(), strict=True))
        for a, b in pairwise(lists.offsets)
    ]
    return all(own == sorted(own) for own in pairs)


def as_lists(lists: TopK) -> list[list[int]]:
    return [lists.items[a:b].tolist() for a, b in pairwise(lists.offsets)]
