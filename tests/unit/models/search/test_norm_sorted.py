"""Item factors in the order of the search."""

import numpy as np
import pytest

from scoreline.errors import InputError
from scoreline.models.search.norm_sorted import NormSortedItems


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e30])
def test_factors_that_are_no_numbers_are_refused(value: float) -> None:
    factors = np.ones((3, 2), dtype=np.float32)
    factors[1, 1] = value
    with pytest.raises(InputError, match="1 of 3 items have factors that are NaN"):
        NormSortedItems.from_factors(factors)


def test_large_items_come_first_and_equal_ones_by_their_number() -> None:
    factors = np.array([[1, 0], [0, 3], [0, 1], [3, 0], [0, 0]], dtype=np.float32)
    items = NormSortedItems.from_factors(factors)
    assert items.items.tolist() == [1, 3, 0, 2, 4]
    assert items.places[items.items].tolist() == [0, 1, 2, 3, 4]
    assert (items.vectors == factors[items.items]).all()
    assert (items.norms[:-1] > [3, 3, 1, 1][: len(items.norms) - 1]).all()  # bounds from above


def test_the_score_of_a_pair_is_its_exact_product_whatever_else_is_asked() -> None:
    dice = np.random.default_rng(1)
    items = NormSortedItems.from_factors(dice.standard_normal((50, 7)).astype(np.float32))
    users = dice.standard_normal((9, 7)).astype(np.float32)
    asked, places = dice.integers(0, 9, 5000), dice.integers(0, 50, 5000)
    scores = items.scores(users, users=asked, places=places)
    exact = (users[asked].astype(np.float64) * items.vectors[places].astype(np.float64)).sum(axis=1)
    np.testing.assert_allclose(scores, exact, rtol=1e-12, atol=1e-12)
    alone = items.scores(users, users=asked[4000:4001], places=places[4000:4001])
    assert alone[0] == scores[4000]
    assert len(items.scores(users, users=asked[:0], places=places[:0])) == 0


def test_arrays_bring_it_back() -> None:
    items = NormSortedItems.from_factors(np.eye(3, dtype=np.float32))
    again = NormSortedItems.from_arrays(items.arrays())
    assert all((again.arrays()[name] == array).all() for name, array in items.arrays().items())
