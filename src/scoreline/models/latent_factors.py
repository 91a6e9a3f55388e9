"""Latent-factor model: a history is folded into the factors of its items, so fresh events count at once."""

from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field

from .estimator import Arrays, Estimator
from .histories import Histories
from .parameters import HalfLife, HistoryHalfLife, MinWeight, Parameters
from .search.factors import best_items
from .search.norm_sorted import NormSortedItems
from .topk import TopK
from .weighting import WEIGHTING, Weighting, decayed, history_strength, strength

__all__ = ["LatentFactors", "LatentFactorsParameters"]


class LatentFactorsParameters(Parameters):
    """What may be said under `model.train.params` for `latent_factors`."""

    factors: int = Field(default=64, ge=1, le=4_096, description="the rank")
    popularity_exponent: float = Field(
        default=0.4,
        ge=0,
        le=2,
        description="columns are scaled by ‖column‖^(exponent - 1): 1 is PureSVD, less recommends less of what "
        "everybody watches",
    )
    min_weight: MinWeight = None
    weighting: Weighting = Field(default="binary", description=WEIGHTING)
    half_life_days: HalfLife = None
    history_half_life: HistoryHalfLife = 10.0
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="of the randomised decomposition")


class LatentFactors(Estimator):
    """Truncated SVD of the users x items matrix with its columns scaled by a power of the items' popularity.

    A user is the sum over the history of strength · fold_scale · item factors, the score of an item their
    inner product with its factors. Source: Cremonesi et al., PureSVD, RecSys 2010; the exponent:
    Nikolakopoulos et al., EigenRec, KAIS 2019.
    The parameters: `LatentFactorsParameters`.
    """

    name = "latent_factors"
    parameters = LatentFactorsParameters

    items_: NormSortedItems

    def __init__(
        self,
        *,
        factors: int = 64,
        popularity_exponent: float = 0.4,
        min_weight: float | None = None,
        weighting: Weighting = "binary",
        half_life_days: float | None = None,
        history_half_life: float | None = 10.0,
        seed: int = 0,
    ) -> None:
        self.factors = factors
        self.popularity_exponent = popularity_exponent
        self.min_weight = min_weight
        self.weighting = weighting
        self.half_life_days = half_life_days
        self.history_half_life = history_half_life
        self.seed = seed

    def fit(self, matrix: sp.csr_matrix, ages: npt.NDArray[np.float32] | None = None) -> Self:
        """Learn from `matrix`, users x items of weights; randomised SVD from `seed`, memory as the matrix."""
        from sklearn.utils.extmath import randomized_svd

        self.require_valid()
        liked = matrix.astype(np.float64)
        strengths = strength(matrix.data, min_weight=self.min_weight, weighting=self.weighting)
        liked.data = strengths.astype(np.float64)
        norms = np.sqrt(np.asarray(liked.multiply(liked).sum(axis=0)).ravel())
        scale = np.zeros_like(norms)
        np.power(norms, self.popularity_exponent - 1, where=norms > 0, out=scale)
        rank = min(self.factors, *liked.shape)
        recent = decayed(liked, ages, self.half_life_days) @ sp.diags(scale)
        _, _, components = randomized_svd(recent, rank, n_iter=5, random_state=self.seed)
        self.items_ = NormSortedItems.from_factors(components.T)
        return self

    def arrays(self) -> Arrays:
        """What to save."""
        return self.items_.arrays()

    @classmethod
    def from_arrays(cls, arrays: Arrays, **params: Any) -> Self:
        """The fitted estimator that `arrays()` described; `params` as given to the constructor."""
        model = cls(**params)
        model.items_ = NormSortedItems.from_arrays(arrays)
        return model

    def users(self, histories: Histories) -> npt.NDArray[np.float32]:
        """float32[users, factors]: each history folded in, event by event in order; zero without a signal."""
        weights, places = self._folded(histories)
        shape = (len(histories), len(self.items_))
        folded: npt.NDArray[np.float32] = (
            sp.csr_matrix((weights, places, histories.offsets), shape) @ self.items_.vectors
        )
        return folded

    def _folded(self, histories: Histories) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int32]]:
        """Of each event its strength, 0 of an unknown item, and where the item's factors are."""
        strengths = history_strength(
            histories,
            min_weight=self.min_weight,
            weighting=self.weighting,
            half_life=self.history_half_life,
        )
        known = histories.items >= 0
        # Rows of the search order: popular items have large factors, so this reads the warm end of the array.
        places = self.items_.places[np.where(known, histories.items, 0)]
        return np.where(known, strengths, np.float32(0)), places

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
        """Strength times the inner product of the two items: a user is a sum, so a score is one, too."""
        weights, places = self._folded(history)
        events = self.items_.vectors[places].astype(np.float64) * weights[:, None]
        parts: npt.NDArray[np.float64] = self.items_.vectors[self.items_.places[items]].astype(np.float64) @ events.T
        return parts
