"""How much an event says about what a user likes: by its weight, and by how long ago it was."""

from functools import lru_cache
from typing import Literal, assert_never

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from .histories import Histories

__all__ = ["WEIGHTING", "Weighting", "decayed", "history_strength", "strength"]

Weighting = Literal["binary", "linear", "log"]
WEIGHTING = "binary: every liked event counts 1; linear: by its weight; log: by log(1 + weight), negative ones as 0"
Floats = npt.NDArray[np.float32]

_LONGEST = 4096  # events before the newest; those further back count as this one


def strength(weights: Floats, *, min_weight: float | None, weighting: Weighting) -> Floats:
    """float32 per event: 0 below `min_weight` (seen, but not liked), else by `weighting`.

    binary: 1. linear: the weight. log: log(1 + weight), negative weights as 0.

    >>> strength(np.array([0.5, 3.0], np.float32), min_weight=1.0, weighting="binary").tolist()
    [0.0, 1.0]
    """
    if weighting == "binary":
        values = np.ones_like(weights)
    elif weighting == "linear":
        values = weights
    elif weighting == "log":
        values = np.log1p(np.maximum(weights, 0))
    else:
        assert_never(weighting)
    return values if min_weight is None else np.where(weights >= min_weight, values, np.float32(0))


def history_strength(
    histories: Histories, *, min_weight: float | None, weighting: Weighting, half_life: float | None
) -> Floats:
    """`strength` of each event of a batch, halved for every `half_life` events that came after it.

    A history has its newest event last, as in `user_history`. None: all events count alike.
    """
    values = strength(histories.weights, min_weight=min_weight, weighting=weighting)
    if half_life is None:
        return values
    after = np.repeat(histories.offsets[1:] - 1, np.diff(histories.offsets)) - np.arange(len(values))
    faded: Floats = values * _halving(half_life)[np.minimum(after, _LONGEST - 1)]
    return faded


def decayed(matrix: sp.csr_matrix, ages: Floats | None, half_life_days: float | None) -> sp.csr_matrix:
    """`matrix` with entries halved for every `half_life_days` of age; ages in days, entry by entry."""
    if ages is None or half_life_days is None:
        return matrix
    data = matrix.data * np.exp2(-ages / half_life_days)
    return sp.csr_matrix((data, matrix.indices, matrix.indptr), matrix.shape)


@lru_cache
def _halving(half_life: float) -> Floats:
    """float32[_LONGEST]: a table, so that a factor has the same bits whatever the batch looks like."""
    return np.exp2(-np.arange(_LONGEST) / half_life).astype(np.float32)
