import numpy as np
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scoreline.models.histories import Histories
from scoreline.models.popularity import Popularity, by_popularity, completed
from scoreline.models.topk import TopK
from unit.models.brute_force import as_lists, best_of_all, flat, offsets_of


def make_histories(rng: np.random.Generator, users: int, items: int) -> tuple[Histories, list[np.ndarray]]:
    share = rng.choice([0.0, 0.1, 0.5, 1.0], users)
    rows = [rng.permutation(np.flatnonzero(rng.random(items + 1) < p) - 1).astype(np.int32) for p in share]
    rows[0] = np.concatenate([rows[0], rows[0]])  # the same item twice
    return Histories(offsets_of(rows), flat(rows), np.ones(len(flat(rows)), np.float32)), rows


@settings(max_examples=200, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), k=st.sampled_from([0, 1, 5, 100]), share=st.sampled_from([None, 0.0, 0.4]))
def test_lists_are_the_most_popular_unseen_items(seed: int, k: int, share: float | None) -> None:
    rng = np.random.default_rng(seed)
    matrix = sp.random(30, 25, density=0.2, random_state=rng, format="csr")
    histories, seen = make_histories(rng, 9, 25)
    eligible = None if share is None else rng.random(25) < share
    model = Popularity().fit(matrix)
    lists = model.recommend(histories, k=k, eligible=eligible)
    counts = np.asarray((matrix != 0).sum(axis=0)).ravel()
    assert as_lists(lists) == best_of_all(np.tile(counts, (9, 1)), seen=seen, k=k, eligible=eligible)
    assert lists.scores.tolist() == counts[lists.items].tolist()


def test_counts_that_are_published_as_one_number_are_ties_by_item() -> None:
    """Scores are float32: 16,777,217 users and one fewer are the same score."""
    counts = np.array([2**24, 2**24 + 1, 2**24 + 2])
    scores, order = by_popularity(counts)
    assert (scores.tolist(), order.tolist()) == ([2.0**24, 2.0**24, 2.0**24 + 2], [2, 0, 1])


def test_seen_items_may_come_again_when_asked_for() -> None:
    model = Popularity().fit(sp.csr_matrix(np.array([[1, 1, 0], [0, 1, 1], [0, 1, 1]])))
    histories = Histories(np.array([0, 1]), np.array([1], np.int32), np.ones(1, np.float32))
    assert as_lists(model.recommend(histories, k=2, exclude_seen=False)) == [[1, 2]]
    assert as_lists(model.recommend(histories, k=2)) == [[2, 0]]


def test_short_lists_are_completed_and_empty_ones_are_not() -> None:
    order = np.array([3, 2, 1, 0], np.int32)
    histories = Histories(np.array([0, 1, 2, 3]), np.array([3, 3, 3], np.int32), np.ones(3, np.float32))
    lists = TopK(np.array([0, 1, 1, 3]), np.array([2, 0, 1], np.int32), np.array([5, 4, 3], np.float32))
    where = lists.lengths > 0
    full = completed(lists, order, histories, where=where, k=2, exclude_seen=True, eligible=None)
    assert as_lists(full) == [[2, 1], [], [0, 1]]
    assert full.scores.tolist() == [5, -0.75, 4, 3]  # the third of four


def test_arrays_bring_the_model_back() -> None:
    model = Popularity().fit(sp.csr_matrix(np.array([[1, 1, 0], [0, 1, 1]])))
    again = Popularity.from_arrays(model.arrays())
    assert again.order_.tolist() == [1, 0, 2]
