"""Item-to-item model: recommends what is watched together with what the user liked."""

from collections.abc import Iterator
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from pydantic import Field

from .estimator import Arrays, Estimator
from .histories import Histories
from .parameters import HalfLife, HistoryHalfLife, MinWeight, Parameters
from .popularity import Popularity, completed
from .search.neighbours import best_neighbours
from .topk import TopK, best_per_user
from .weighting import WEIGHTING, Weighting, decayed, history_strength, strength

__all__ = ["ItemNeighbours", "ItemNeighboursParameters"]

_PAIRS_AT_ONCE = 1 << 22  # bounds the memory of a block of the co-occurrence matrix


class ItemNeighboursParameters(Parameters):
    """What may be said under `model.train.params` for `item_neighbours`."""

    neighbours: int = Field(default=100, ge=1, le=10_000, description="how many are kept per item")
    shrinkage: float = Field(default=1.0, ge=0, le=1e9, description="pulls similarities down that few users vouch for")
    popularity_exponent: float = Field(
        default=0.3, ge=0, le=1, description="0.5 is the cosine, less recommends more of what many watch"
    )
    min_weight: MinWeight = None
    weighting: Weighting = Field(default="binary", description=WEIGHTING)
    half_life_days: HalfLife = None
    history_half_life: HistoryHalfLife = 5.0


class ItemNeighbours(Estimator):
    """The nearest items of each item by shrunk cosine; a history is scored by the sum over what it liked.

    similarity(i, j) = x_i · y_j / (‖x_i‖ ‖x_j‖^(2 · popularity_exponent) + shrinkage). x_i are the users'
    strengths of item i divided by the square root of each user's number of likes, so that users who watch
    everything say less; y_j is x_j, halved for every `half_life_days` that an event is old.
    Sources: Deshpande & Karypis, Item-Based Top-N Recommendation Algorithms, TOIS 2004; the exponent:
    Aiolli, Efficient Top-N Recommendation for Very Large Scale Binary Rated Datasets, RecSys 2013.
    The parameters: `ItemNeighboursParameters`.
    """

    name = "item_neighbours"
    parameters = ItemNeighboursParameters

    neighbours_: npt.NDArray[np.int32]
    similarities_: npt.NDArray[np.float32]
    popularity_: Popularity

    def __init__(
        self,
        *,
        neighbours: int = 100,
        shrinkage: float = 1.0,
        popularity_exponent: float = 0.3,
        min_weight: float | None = None,
        weighting: Weighting = "binary",
        half_life_days: float | None = None,
        history_half_life: float | None = 5.0,
    ) -> None:
        self.neighbours = neighbours
        self.shrinkage = shrinkage
        self.popularity_exponent = popularity_exponent
        self.min_weight = min_weight
        self.weighting = weighting
        self.half_life_days = half_life_days
        self.history_half_life = history_half_life

    def fit(self, matrix: sp.csr_matrix, ages: npt.NDArray[np.float32] | None = None) -> Self:
        """Learn from `matrix`, users x items of weights. Memory: the result and a block of co-occurrences."""
        self.require_valid()
        liked = self._liked(matrix)
        recent = decayed(liked, ages, self.half_life_days)
        count = liked.shape[1]
        norms = np.sqrt(np.asarray(liked.multiply(liked).sum(axis=0), dtype=np.float64).ravel())
        columns = liked.T.tocsr()
        width = min(self.neighbours, max(count - 1, 1))
        self.neighbours_ = np.full((count, width), count, dtype=np.int32)
        self.similarities_ = np.zeros((count, width), dtype=np.float32)
        for first, last in _blocks(columns, liked):
            nearest = self._nearest(columns[first:last] @ recent, first, norms, width)
            rows = np.repeat(np.arange(first, last), nearest.lengths)
            places = np.arange(len(rows)) - np.repeat(nearest.offsets[:-1], nearest.lengths)
            self.neighbours_[rows, places] = nearest.items
            self.similarities_[rows, places] = nearest.scores
        self.popularity_ = Popularity().fit(matrix)
        return self

    def _liked(self, matrix: sp.csr_matrix) -> sp.csr_matrix:
        liked = matrix.astype(np.float64)
        strengths = strength(matrix.data, min_weight=self.min_weight, weighting=self.weighting)
        liked.data = strengths.astype(np.float64)
        likes = np.add.reduceat(np.append(liked.data != 0, 0), liked.indptr[:-1], dtype=np.int64)
        liked.data /= np.sqrt(np.repeat(np.maximum(likes, 1), np.diff(liked.indptr)))
        return liked

    def _nearest(self, products: sp.csr_matrix, first: int, norms: npt.NDArray[np.float64], width: int) -> TopK:
        """The nearest items of some rows of the co-occurrence matrix, without the item itself."""
        products.sort_indices()
        rows = np.repeat(np.arange(products.shape[0]), np.diff(products.indptr))
        popular = norms ** (2 * self.popularity_exponent)
        scores = products.data / (norms[rows + first] * popular[products.indices] + self.shrinkage)
        kept = np.flatnonzero((products.indices != rows + first) & (scores > 0))
        others = products.indices[kept].astype(np.int32)
        return best_per_user(rows[kept], others, scores[kept], user_count=products.shape[0], k=width)

    def arrays(self) -> Arrays:
        """What to save."""
        own = {"neighbours": self.neighbours_, "similarities": self.similarities_}
        return {**own, **self.popularity_.arrays()}

    @classmethod
    def from_arrays(cls, arrays: Arrays, **params: Any) -> Self:
        """The fitted estimator that `arrays()` described; `params` as given to the constructor."""
        model = cls(**params)
        model.neighbours_, model.similarities_ = arrays["neighbours"], arrays["similarities"]
        model.popularity_ = Popularity.from_arrays(arrays)
        return model

    def recommend(
        self,
        histories: Histories,
        *,
        k: int,
        exclude_seen: bool = True,
        eligible: npt.NDArray[np.bool_] | None = None,
    ) -> TopK:
        """The `k` best items for each user, completed with popular ones where fewer are related.

        Scores of related items are positive. Those of added ones are negative and say how popular they are: minus the
        place among all items by number of users, as a share. Lists are sorted by score, ties by item.
        A user to whom no item is related (no liked or known item, or all related ones excluded) gets no list.
        """
        excluded_offsets, excluded_items = histories.excluded(exclude_seen)
        related = best_neighbours(
            self.neighbours_,
            self.similarities_,
            offsets=histories.offsets,
            items=histories.items,
            strengths=self._strengths(histories),
            excluded_offsets=excluded_offsets,
            excluded_items=excluded_items,
            k=k,
            eligible=eligible,
        )
        return completed(
            related,
            self.popularity_.order_,
            histories,
            where=related.lengths > 0,
            k=k,
            exclude_seen=exclude_seen,
            eligible=eligible,
        )

    def contributions(self, history: Histories, items: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """Strength times similarity, as they are added up, of the events that have the item among their neighbours."""
        known = np.where(history.items < 0, 0, history.items)
        strengths = np.where(history.items < 0, np.float32(0), self._strengths(history))
        near, products = self.neighbours_[known], self.similarities_[known] * strengths[:, None]
        parts = np.zeros((len(items), len(known)))
        for row, item in zip(parts, items, strict=True):
            np.where(near == item, products, 0).sum(axis=1, out=row)
        return parts

    def _strengths(self, histories: Histories) -> npt.NDArray[np.float32]:
        return history_strength(
            histories, min_weight=self.min_weight, weighting=self.weighting, half_life=self.history_half_life
        )


def _blocks(columns: sp.csr_matrix, liked: sp.csr_matrix) -> Iterator[tuple[int, int]]:
    """Ranges of items whose rows of the co-occurrence matrix have a bounded number of multiplications."""
    per_user = np.diff(liked.indptr)
    work = np.concatenate([[0], np.cumsum(columns.astype(bool) @ per_user)])
    first, count = 0, columns.shape[0]
    while first < count:
        last = int(np.searchsorted(work, work[first] + _PAIRS_AT_ONCE, side="right")) - 1
        last = min(max(last, first + 1), count)
        yield first, last
        first = last
