"""How much an event of a given weight says about what a user likes."""

from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["Weighting", "strength"]

Weighting = Literal["binary", "linear", "log"]


def strength(
    weights: npt.NDArray[np.float32], *, min_weight: float | None, weighting: Weighting
) -> npt.NDArray[np.float32]:
    """float32 per event: 0 below `min_weight` (seen, but not liked), else by `weighting`.

    binary: 1. linear: the weight. log: log(1 + weight), which wants weights above -1.

    >>> strength(np.array([0.5, 3.0], np.float32), min_weight=1.0, weighting="binary").tolist()
    [0.0, 1.0]
    """
    if weighting == "binary":
        values = np.ones_like(weights)
    elif weighting == "linear":
        values = weights
    else:
        values = np.log1p(np.maximum(weights, 0))
    return values if min_weight is None else np.where(weights >= min_weight, values, np.float32(0))
