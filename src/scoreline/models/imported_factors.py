"""Factors trained elsewhere, scored like our own: implicit's and Spark's alternating least squares."""

from typing import Any, Literal, Self

import numpy as np
import numpy.typing as npt
from pydantic import Field

from .estimator import Arrays, Estimator
from .histories import Histories
from .parameters import Parameters
from .search.factors import best_items
from .search.norm_sorted import NormSortedItems
from .topk import TopK

__all__ = ["ImportedFactors"]

_USERS_AT_ONCE = 256

Objective = Literal["implicit", "spark_implicit", "spark_explicit"]


class ImportedFactorsParameters(Parameters):
    """What the half-step of alternating least squares needs to know; as it was where the factors were trained."""

    objective: Objective = Field(default="implicit", description="whose equation is solved")
    regularization: float = Field(default=0.01, gt=0, le=1e9, description="λ")
    alpha: float = Field(default=1.0, ge=0, le=1e9, description="how much a weight says")


class ImportedFactors(Estimator):
    """Item factors from elsewhere; a user is the regularised least-squares solution for its history.

    That is the half-step of alternating least squares that the other library would do for this user, so a
    history that it was trained on gives (up to rounding and convergence) its own user factors.

    objective: whose equation. implicit: (YᵀY + λI + Σ (αw - 1) y yᵀ) u = Σ αw y. spark_implicit: αw and
    1 + αw instead, and λ times the number n of events. spark_explicit: (Σ y yᵀ + λnI) u = Σ w y.
    """

    name = "imported_factors"
    parameters = ImportedFactorsParameters
    items_: NormSortedItems
    gram_: npt.NDArray[np.float64]

    def __init__(self, *, objective: Objective = "implicit", regularization: float = 0.01, alpha: float = 1.0) -> None:
        self.objective = objective
        self.regularization = regularization
        self.alpha = alpha

    def with_factors(self, factors: npt.NDArray[np.floating]) -> Self:
        """Take over `factors`, one row per item of the catalogue; a row of zeros for an item without any."""
        self.require_valid()
        self.items_ = NormSortedItems.from_factors(factors)
        exact = np.asarray(factors, dtype=np.float64)
        self.gram_ = exact.T @ exact
        return self

    def arrays(self) -> Arrays:
        """What to save."""
        return {"gram": self.gram_, **self.items_.arrays()}

    @classmethod
    def from_arrays(cls, arrays: Arrays, **params: Any) -> Self:
        """The model that `arrays()` described; `params` as given to the constructor."""
        model = cls(**params)
        model.items_, model.gram_ = NormSortedItems.from_arrays(arrays), arrays["gram"]
        return model

    def users(self, histories: Histories) -> npt.NDArray[np.float32]:
        """float32[users, factors]: each user solved on its own; zero for a user without a known item."""
        rank = self.items_.vectors.shape[1]
        solved = np.zeros((len(histories), rank), dtype=np.float32)
        for first in range(0, len(histories), _USERS_AT_ONCE):
            part = histories.slice(first, min(first + _USERS_AT_ONCE, len(histories)))
            left = np.empty((len(part), rank, rank))
            right = np.empty((len(part), rank))
            for user in range(len(part)):
                left[user], vectors, target = self._equation(part, user)
                right[user] = vectors.T @ target
            solved[first : first + len(part)] = np.linalg.solve(left, right[:, :, None])[:, :, 0]
        return solved

    def _equation(
        self, histories: Histories, user: int
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """One user's normal equations, in float64: the left side, and the vectors and targets that make the right."""
        own = slice(histories.offsets[user], histories.offsets[user + 1])
        known = histories.items[own] >= 0
        vectors = self.items_.vectors[self.items_.places[histories.items[own][known]]].astype(np.float64)
        confidence = self.alpha * histories.weights[own][known].astype(np.float64)
        left = np.zeros_like(self.gram_) if self.objective == "spark_explicit" else self.gram_.copy()
        if self.objective == "implicit":
            extra, target, ridge = np.abs(confidence) - 1, np.maximum(confidence, 0), self.regularization
        elif self.objective == "spark_implicit":
            extra, target = np.abs(confidence), np.where(confidence > 0, 1 + confidence, 0)
            ridge = self.regularization * max(1, int(np.sum(confidence > 0)))
        else:
            weights = histories.weights[own][known].astype(np.float64)
            extra, target, ridge = np.ones_like(weights), weights, self.regularization * max(1, len(weights))
        left += (vectors * extra[:, None]).T @ vectors
        left[np.diag_indices_from(left)] += ridge
        return left, vectors, target

    def recommend(
        self,
        histories: Histories,
        *,
        k: int,
        exclude_seen: bool = True,
        eligible: npt.NDArray[np.bool_] | None = None,
    ) -> TopK:
        """The `k` best items for each user, all eligible ones if fewer; no list without a signal."""
        seen_offsets, seen_items = histories.excluded(exclude_seen)
        return best_items(
            self.items_,
            self.users(histories),
            seen_offsets=seen_offsets,
            seen_items=seen_items,
            k=k,
            eligible=eligible,
        )

    def contributions(self, history: Histories, items: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """What each event puts on the right side of the user's equation, carried through to the items' scores.

        The left side knows all events, so this is no answer to what the score would be without one of them. Source: Hu,
        Koren & Volinsky, ICDM 2008, section 5; `implicit.als` does the same in `explain`.
        """
        left, vectors, target = self._equation(history, 0)
        wanted = self.items_.vectors[self.items_.places[items]].astype(np.float64)
        parts = np.zeros((len(items), len(history.items)))
        parts[:, history.items >= 0] = np.linalg.solve(left, wanted.T).T @ vectors.T * target
        return parts
