"""Exact top-K of item-to-item models against sums in plain Python."""

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scoreline.models.search import neighbours as neighbour_search
from scoreline.models.search.neighbours import best_neighbours
from unit.models.brute_force import as_lists, flat, offsets_of


def slow_lists(
    neighbours: np.ndarray,
    similarities: np.ndarray,
    rows: list,
    weights: list,
    *,
    k: int,
    eligible: np.ndarray | None,
) -> tuple[list[list[int]], list[list[float]]]:
    """Sums in plain Python, in the order of the history."""
    lists, scores = [], []
    for items, strengths in zip(rows, weights, strict=True):
        total: dict[int, float] = {}
        for item, strength in zip(items, strengths, strict=True):
            if item >= 0:
                for other, similarity in zip(neighbours[item].tolist(), similarities[item], strict=True):
                    total[other] = total.get(other, 0.0) + float(np.float32(similarity) * np.float32(strength))
        allowed = {
            item: float(np.float32(score))
            for item, score in total.items()
            if item < len(neighbours) and item not in items and score > 0 and (eligible is None or eligible[item])
        }
        best = sorted(allowed, key=lambda item: (-allowed[item], item))[:k]
        lists.append(best)
        scores.append([allowed[item] for item in best])
    return lists, scores


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    items=st.sampled_from([1, 5, 60]),
    k=st.sampled_from([1, 5, 100]),
    share=st.sampled_from([None, 0.0, 0.4]),
    ties=st.booleans(),
    events=st.sampled_from([13, 40, 4096]),
)
def test_lists_are_those_of_plain_sums(
    *, seed: int, items: int, k: int, share: float | None, ties: bool, events: int
) -> None:
    rng = np.random.default_rng(seed)
    neighbours = rng.integers(0, items + 1, (items, 4)).astype(np.int32)
    similarities = rng.integers(0, 3, (items, 4)) / 4 if ties else rng.random((items, 4))
    similarities = np.where(neighbours == items, 0, similarities).astype(np.float32)
    rows = [rng.integers(-1, items, rng.integers(0, 12)).astype(np.int32) for _ in range(11)]
    weights = [rng.choice([0.0, 1.0, 0.3, -1.0], len(row)).astype(np.float32) for row in rows]
    eligible = None if share is None else rng.random(items) < share
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbour_search, "_EVENTS_AT_ONCE", events)
        found = best_neighbours(
            neighbours,
            similarities,
            offsets=offsets_of(rows),
            items=flat(rows),
            strengths=np.concatenate(weights),
            excluded_offsets=offsets_of(rows),
            excluded_items=flat(rows),
            k=k,
            eligible=eligible,
        )
    lists, scores = slow_lists(neighbours, similarities, rows, weights, k=k, eligible=eligible)
    assert as_lists(found) == lists
    assert found.scores.tolist() == [score for row in scores for score in row]


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), users=st.integers(0, 5), width=st.integers(1, 9))
def test_rows_are_added_up_as_by_the_product_of_two_sparse_matrices(*, seed: int, users: int, width: int) -> None:
    """Ours calls what SciPy's `@` calls, which is not in its documentation."""
    rng = np.random.default_rng(seed)
    starts = np.cumsum(np.append(0, rng.integers(0, 7, 12)))
    columns = rng.integers(0, width, starts[-1]).astype(np.int32)
    values = rng.normal(size=starts[-1])
    offsets = np.cumsum(np.append(0, rng.integers(0, 5, users)))
    mine = rng.integers(0, 12, offsets[-1])
    found = neighbour_search._product(mine, offsets, columns, values, starts, width=width)
    whose = sp.csr_array((np.ones(len(mine)), mine, offsets), shape=(users, 12))
    expected = whose @ sp.csr_array((values, columns, starts), shape=(12, width))
    assert found.toarray().tolist() == expected.toarray().tolist()


def test_sums_that_are_published_as_one_number_are_ties_of_which_the_smallest_ids_come() -> None:
    """Whoever sorts what the table shows has the list again: the first two of four items that float64 tells apart."""
    neighbours = np.tile(np.array([[1, 2, 3, 4]], np.int32), (6, 1))
    similarities = np.zeros((6, 4), np.float32)
    similarities[0], similarities[5] = 1, np.array([1, 2, 3, 0]) * 2.0**-40
    found = best_neighbours(
        neighbours,
        similarities,
        offsets=np.array([0, 2]),
        items=np.array([0, 5], np.int32),
        strengths=np.ones(2, np.float32),
        excluded_offsets=np.array([0, 0]),
        excluded_items=np.zeros(0, np.int32),
        k=2,
        eligible=None,
    )
    assert (as_lists(found), found.scores.tolist()) == ([[1, 2]], [1, 1])
