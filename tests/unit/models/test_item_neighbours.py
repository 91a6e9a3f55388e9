import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st

from scoreline.models import item_neighbours
from scoreline.models.histories import Histories
from scoreline.models.item_neighbours import ItemNeighbours
from scoreline.models.search import neighbours as neighbour_search
from scoreline.models.search.neighbours import best_neighbours
from unit.models.brute_force import as_lists, flat, in_order, offsets_of


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
    cells=st.sampled_from([1, 150, 1 << 16]),
)
def test_lists_are_those_of_plain_sums(
    *, seed: int, items: int, k: int, share: float | None, ties: bool, cells: int
) -> None:
    rng = np.random.default_rng(seed)
    neighbours = rng.integers(0, items + 1, (items, 4)).astype(np.int32)
    similarities = rng.integers(0, 3, (items, 4)) / 4 if ties else rng.random((items, 4))
    similarities = similarities.astype(np.float32)
    rows = [rng.integers(-1, items, rng.integers(0, 12)).astype(np.int32) for _ in range(11)]
    weights = [rng.choice([0.0, 1.0, 0.3, -1.0], len(row)).astype(np.float32) for row in rows]
    eligible = None if share is None else rng.random(items) < share
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(neighbour_search, "_CELLS_AT_ONCE", cells)
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


def test_long_history_is_added_up_alike_in_any_company() -> None:
    rng = np.random.default_rng(3)
    matrix = sp.random(200, 90, density=0.3, random_state=rng, format="csr", dtype=np.float32)
    model = ItemNeighbours(neighbours=20).fit(matrix)
    rows = [rng.integers(0, 90, size).astype(np.int32) for size in (3, 10_000, 50, 4096, 0, 7)]
    weights = rng.random(len(flat(rows))).astype(np.float32)
    histories = Histories(offsets_of(rows), flat(rows), weights)
    whole = model.recommend(histories, k=10, exclude_seen=False)
    for user in range(6):
        alone = model.recommend(histories.slice(user, user + 1), k=10, exclude_seen=False)
        own = whole.take(np.array([user]))
        assert alone.items.tolist() == own.items.tolist()
        assert alone.scores.tolist() == own.scores.tolist()


@pytest.mark.parametrize("pairs", [1, 1 << 22])
def test_fit_keeps_the_nearest_by_shrunk_cosine(pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(item_neighbours, "_PAIRS_AT_ONCE", pairs)
    rng = np.random.default_rng(4)
    dense = (rng.random((40, 15)) < 0.3).astype(np.float32)
    dense[:, 3] = 0  # nobody watched it
    model = ItemNeighbours(neighbours=5, shrinkage=2.0, popularity_exponent=0.5).fit(sp.csr_matrix(dense))
    liked = dense / np.sqrt(np.maximum(dense.sum(axis=1, keepdims=True), 1))
    norms = np.linalg.norm(liked, axis=0)
    cosine = liked.T @ liked / (np.outer(norms, norms) + 2.0)
    np.fill_diagonal(cosine, -1)
    for item in range(15):
        best = [j for j in np.lexsort((np.arange(15), -cosine[item].round(9)))[:5] if cosine[item, j] > 0]
        found = model.neighbours_[item]
        assert found[found < 15].tolist() == best
        np.testing.assert_allclose(model.similarities_[item][: len(best)], cosine[item, best], rtol=1e-5)
    assert (model.neighbours_[3] == 15).all()


def test_few_related_items_are_completed_with_popular_ones() -> None:
    dense = np.zeros((8, 6), np.float32)
    dense[:4, :2] = 1
    dense[2:, 4] = 1
    dense[7, 5] = 1
    model = ItemNeighbours(shrinkage=0.0).fit(sp.csr_matrix(dense))
    histories = Histories(np.array([0, 1, 2, 2]), np.array([0, 3], np.int32), np.ones(2, np.float32))
    lists = model.recommend(histories, k=4)
    assert as_lists(lists) == [[1, 4, 5, 2], [], []]
    # below every related item, by the place among the popular ones: the fourth and the fifth of six
    assert lists.scores[2:].tolist() == np.array([-4 / 6, -5 / 6], np.float32).tolist()
    assert in_order(lists)


def test_events_below_the_minimum_are_seen_but_not_liked() -> None:
    dense = np.array([[5, 5, 0], [5, 5, 1], [0, 5, 5]], np.float32)
    model = ItemNeighbours(min_weight=3.0, shrinkage=0.0).fit(sp.csr_matrix(dense))
    histories = Histories(np.array([0, 2]), np.array([0, 1], np.int32), np.array([5, 1], np.float32))
    assert as_lists(model.recommend(histories, k=3)) == [] or 1 not in model.recommend(histories, k=3).items


def test_arrays_bring_the_model_back() -> None:
    rng = np.random.default_rng(5)
    model = ItemNeighbours(neighbours=3).fit(sp.random(30, 12, density=0.3, random_state=rng, format="csr"))
    again = ItemNeighbours.from_arrays(model.arrays(), **model.get_params())
    histories = Histories(np.array([0, 2]), np.array([0, 1], np.int32), np.ones(2, np.float32))
    assert as_lists(again.recommend(histories, k=5)) == as_lists(model.recommend(histories, k=5))
