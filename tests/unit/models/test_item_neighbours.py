import numpy as np
import pytest
import scipy.sparse as sp

from scoreline.models import item_neighbours
from scoreline.models.histories import Histories
from scoreline.models.item_neighbours import ItemNeighbours
from unit.models.brute_force import as_lists, flat, in_order, offsets_of


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
