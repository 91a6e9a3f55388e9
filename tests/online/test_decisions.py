import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from scoreline_fraud.serving.decisions import Band, Bands, decide

BANDS = Bands(
    bands=(Band(below=100, review=0.5, deny=0.9), Band(below=1000, review=0.3, deny=0.8), Band(review=0.1, deny=0.6))
)


@pytest.mark.parametrize(
    ("probability", "amount", "decision"),
    [
        (0.49, 99.99, "allow"),
        (0.5, 99.99, "review"),
        (0.9, 99.99, "deny"),
        (0.31, 100.0, "review"),
        (0.6, 1000.0, "deny"),
    ],
)
def test_thresholds_depend_on_the_amount(probability: float, amount: float, decision: str) -> None:
    assert decide(probability, amount, BANDS)[0] == decision


@pytest.mark.parametrize("score", [math.nan, math.inf, -math.inf, -0.01, 1.01])
def test_what_is_no_probability_is_reviewed(score: float) -> None:
    decision, reasons = decide(score, 1.0, BANDS)
    assert decision == "review"
    assert reasons


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1e6))
def test_more_suspicion_is_never_more_lenient(one: float, other: float, amount: float) -> None:
    order = ["allow", "review", "deny"]
    low, high = sorted((one, other))
    assert order.index(decide(low, amount, BANDS)[0]) <= order.index(decide(high, amount, BANDS)[0])


@pytest.mark.parametrize(
    "bands",
    [
        (),
        (Band(below=100, review=0.1, deny=0.2),),
        (Band(review=0.1, deny=0.2), Band(review=0.1, deny=0.2)),
        (Band(below=100, review=0.1, deny=0.2), Band(below=50, review=0.1, deny=0.2), Band(review=0.1, deny=0.2)),
    ],
)
def test_bands_cover_every_amount_once(bands: tuple[Band, ...]) -> None:
    with pytest.raises(ValidationError):
        Bands(bands=bands)


def test_review_above_deny_is_refused() -> None:
    with pytest.raises(ValidationError, match="must not be above deny"):
        Band(review=0.9, deny=0.5)
