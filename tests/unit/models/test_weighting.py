"""What an event says, against the rule written out event by event."""

import numpy as np
import pytest
import scipy.sparse as sp

from scoreline.models.histories import Histories
from scoreline.models.weighting import Weighting, decayed, history_strength, strength

WEIGHTS = np.array([-1.0, 0.0, 0.5, 3.0], np.float32)


@pytest.mark.parametrize(
    ("weighting", "expected"),
    [("binary", [1, 1, 1, 1]), ("linear", [-1, 0, 0.5, 3]), ("log", [0, 0, np.log(1.5), np.log(4)])],
)
def test_a_weight_says_as_much_as_the_weighting_has_it(weighting: Weighting, expected: list[float]) -> None:
    np.testing.assert_allclose(strength(WEIGHTS, min_weight=None, weighting=weighting), expected, rtol=1e-6)
    liked = strength(WEIGHTS, min_weight=0.5, weighting=weighting)
    np.testing.assert_allclose(liked, [0, 0, *expected[2:]], rtol=1e-6)


def histories(*lengths: int) -> Histories:
    offsets = np.cumsum([0, *lengths])
    return Histories(offsets, np.zeros(offsets[-1], np.int32), np.ones(offsets[-1], np.float32))


def test_an_event_counts_half_as_much_for_every_half_life_of_events_after_it() -> None:
    found = history_strength(histories(3, 0, 1), min_weight=None, weighting="binary", half_life=1.0)
    assert found.tolist() == [0.25, 0.5, 1.0, 1.0]
    alike = history_strength(histories(3), min_weight=None, weighting="binary", half_life=None)
    assert alike.tolist() == [1.0, 1.0, 1.0]


def test_events_beyond_the_table_count_as_its_last() -> None:
    found = history_strength(histories(5000), min_weight=None, weighting="binary", half_life=1000.0)
    assert len(set(found[:905].tolist())) == 1
    assert (np.diff(found[904:]) > 0).all()


def test_entries_of_a_matrix_fade_by_their_age_in_days() -> None:
    matrix = sp.csr_matrix(np.array([[4.0, 0.0], [0.0, 4.0]]))
    ages = np.array([0, 20], np.float32)
    assert decayed(matrix, ages, 10.0).toarray().tolist() == [[4, 0], [0, 1]]
    assert decayed(matrix, None, 10.0) is matrix
    assert decayed(matrix, ages, None) is matrix
