"""From a probability and an amount to allow, review or deny. Nothing here knows the model or does any I/O."""

import math
from collections.abc import Sequence
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator

from scoreline_fraud.serving.transactions import Decision

__all__ = ["Band", "Bands", "decide", "strictest"]

_SEVERITY: dict[Decision, int] = {"allow": 0, "review": 1, "deny": 2}

Probability = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


class Band(BaseModel):
    """Thresholds for amounts below `below` (the last band has none)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    below: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    review: Probability
    deny: Probability

    @model_validator(mode="after")
    def _in_order(self) -> "Band":
        if self.review > self.deny:
            raise ValueError(f"review ({self.review}) must not be above deny ({self.deny})")
        return self


class Bands(BaseModel):
    """Bands by ascending amount; the last one is open-ended, so that every amount has thresholds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    bands: tuple[Band, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _cover_every_amount(self) -> "Bands":
        *bounded, last = [band.below for band in self.bands]
        if last is not None or None in bounded:
            raise ValueError("exactly the last band has no `below`")
        limits = [limit for limit in bounded if limit is not None]
        if limits != sorted(set(limits)):
            raise ValueError("`below` must rise from band to band")
        return self

    def of(self, amount: float) -> Band:
        """The band of an amount."""
        for band in self.bands:
            if band.below is None or amount < band.below:
                return band
        raise AssertionError("the last band is open-ended")


def decide(probability: float, amount: float, bands: Bands) -> tuple[Decision, tuple[str, ...]]:
    """The decision and its reasons; a score that is no probability is never an allow.

    >>> bands = Bands(bands=(Band(below=100, review=0.5, deny=0.9), Band(review=0.2, deny=0.8)))
    >>> decide(0.4, 20.0, bands), decide(0.4, 500.0, bands), decide(math.nan, 1.0, bands)
    (('allow', ()), ('review', ('score_review',)), ('review', ('score_not_finite',)))
    """
    if not 0.0 <= probability <= 1.0:  # also false for NaN
        return "review", ("score_not_finite",) if not math.isfinite(probability) else ("score_out_of_range",)
    band = bands.of(amount)
    if probability >= band.deny:
        return "deny", ("score_deny",)
    if probability >= band.review:
        return "review", ("score_review",)
    return "allow", ()


def strictest(decisions: Sequence[Decision]) -> Decision:
    """The most careful of several decisions.

    >>> strictest(["allow", "deny", "review"])
    'deny'
    """
    return max(decisions, key=_SEVERITY.__getitem__)
