import numpy as np
import pytest

from scoreline.errors import InputError
from scoreline.models.histories import Histories
from scoreline.models.imported_factors import ImportedFactors, Objective

ITEMS = np.random.default_rng(0).normal(size=(12, 4)).astype(np.float32)
HISTORY = Histories(np.array([0, 3, 3, 4]), np.array([2, 5, -1, 7], np.int32), np.array([3, 1, 9, 2], np.float32))


def by_hand(objective: Objective, places: list[int], weights: list[float], *, ridge: float, alpha: float) -> np.ndarray:
    """The normal equations of one user, term by term, as the libraries document them."""
    exact = ITEMS.astype(np.float64)
    if objective == "spark_explicit":
        left, right = ridge * len(places) * np.eye(4), np.zeros(4)
    else:
        events = len(places) if objective == "spark_implicit" else 1
        left, right = exact.T @ exact + ridge * events * np.eye(4), np.zeros(4)
    for place, weight in zip(places, weights, strict=True):
        vector = exact[place]
        if objective == "spark_explicit":
            left, right = left + np.outer(vector, vector), right + weight * vector
        else:
            extra = alpha * weight - (objective == "implicit")
            target = alpha * weight + (objective == "spark_implicit")
            left, right = left + extra * np.outer(vector, vector), right + target * vector
    return np.linalg.solve(left, right)


@pytest.mark.parametrize("objective", ["implicit", "spark_implicit", "spark_explicit"])
def test_user_is_the_least_squares_solution_of_the_library(objective: Objective) -> None:
    model = ImportedFactors(objective=objective, regularization=0.3, alpha=2.0).with_factors(ITEMS)
    users = model.users(HISTORY)
    np.testing.assert_allclose(users[0], by_hand(objective, [2, 5], [3, 1], ridge=0.3, alpha=2.0), rtol=1e-5)
    np.testing.assert_allclose(users[2], by_hand(objective, [7], [2], ridge=0.3, alpha=2.0), rtol=1e-5)
    assert not users[1].any()


def test_lists_are_of_unseen_items_by_inner_product() -> None:
    model = ImportedFactors(regularization=0.1).with_factors(ITEMS)
    lists = model.recommend(HISTORY, k=3)
    scores = ITEMS.astype(np.float64) @ model.users(HISTORY)[0].astype(np.float64)
    scores[[2, 5]] = -np.inf
    assert lists.items[:3].tolist() == np.argsort(-scores)[:3].tolist()
    assert lists.lengths.tolist() == [3, 0, 3]


def test_arrays_bring_the_model_back() -> None:
    model = ImportedFactors(objective="spark_implicit", regularization=0.1).with_factors(ITEMS)
    again = ImportedFactors.from_arrays(model.arrays(), **model.get_params())
    assert np.array_equal(again.users(HISTORY), model.users(HISTORY))


def test_no_regularisation_is_refused() -> None:
    with pytest.raises(InputError, match="regularization is 0"):
        ImportedFactors(regularization=0.0).with_factors(ITEMS)
