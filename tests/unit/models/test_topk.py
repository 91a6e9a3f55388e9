"""Lists in their final order, against a sort of everything."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scoreline.models.topk import TopK, best_per_user, empty_topk, kth_at_least, kth_largest
from unit.models.brute_force import as_lists


def candidates(counts: list[int], *, levels: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """So many candidates of each user, with scores of few `levels`, so that there are ties."""
    users = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    items = np.concatenate([np.zeros(0, np.int32), *(np.arange(n, dtype=np.int32) * 2 for n in counts)])
    scores = np.random.default_rng(seed).integers(0, levels, len(users)).astype(np.float32)
    return users, items.astype(np.int32), scores


@settings(max_examples=60, deadline=None)
@given(
    counts=st.lists(st.sampled_from([0, 1, 3, 40, 700]), min_size=1, max_size=6),
    k=st.sampled_from([1, 5, 50]),
    levels=st.sampled_from([1, 4, 10_000]),
)
def test_the_best_are_those_of_a_sort(counts: list[int], k: int, levels: int) -> None:
    users, items, scores = candidates(counts, levels=levels)
    found = best_per_user(users, items, scores, user_count=len(counts), k=k)
    for user, (start, end) in enumerate(zip(found.offsets, found.offsets[1:], strict=False)):
        own = users == user
        order = np.lexsort((items[own], -scores[own]))[:k]
        assert found.items[start:end].tolist() == items[own][order].tolist()
        assert found.scores[start:end].tolist() == scores[own][order].tolist()


@pytest.mark.parametrize("shuffled", [False, True])
@pytest.mark.parametrize("k", [1, 4])
def test_the_kth_is_that_of_a_sort_or_nothing(k: int, shuffled: bool) -> None:
    counts = [0, 3, 4, 40, 700]
    users, _, scores = candidates(counts, levels=100)
    order = np.random.default_rng(2).permutation(len(users)) if shuffled else np.arange(len(users))
    found = kth_largest(users[order], scores[order], counts=np.array(counts), k=k)
    sorted_ = [np.sort(scores[users == user])[::-1] for user in range(len(counts))]
    assert found.tolist() == [row[k - 1] if len(row) >= k else -np.inf for row in sorted_]


@pytest.mark.parametrize("width", [3, 20, 5000])
def test_the_bound_leaves_k_of_a_row_at_least(width: int) -> None:
    scores = np.random.default_rng(3).standard_normal((4, width))
    bound = kth_at_least(scores, 5)
    exact = np.sort(scores, axis=1)[:, -5] if width >= 5 else np.full(4, -np.inf)
    assert (bound <= exact).all()
    assert width < 5 or (bound > -np.inf).all()


def lists(*rows: list[int]) -> TopK:
    flat = np.array([item for row in rows for item in row], np.int32)
    return TopK(np.cumsum([0, *map(len, rows)]), flat, -flat.astype(np.float32))


def test_lists_are_taken_joined_and_followed_user_by_user() -> None:
    some, more = lists([1, 2], [], [3]), lists([7], [8, 9], [])
    assert as_lists(some.take(np.array([2, 0, 2]))) == [[3], [1, 2], [3]]
    assert as_lists(TopK.concatenate([some, more])) == [[1, 2], [], [3], [7], [8, 9], []]
    both = some.followed_by(more)
    assert as_lists(both) == [[1, 2, 7], [8, 9], [3]]
    assert both.scores.tolist() == [-1, -2, -7, -8, -9, -3]
    assert (len(empty_topk(2)), as_lists(TopK.concatenate([]))) == (2, [])
