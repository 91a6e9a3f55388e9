"""Item factors in the order in which the search goes through them, and their exact scores."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ...errors import InputError
from ..estimator import Arrays

__all__ = ["NormSortedItems"]

_LARGEST_NORM = 2.0**60  # products with a user vector scaled to 1 stay far from overflow
_RESCORED_AT_ONCE = 2048  # 64 factors in float64: a megabyte, about a core's second-level cache


@dataclass(frozen=True)
class NormSortedItems:
    """Item factors by descending norm: made once when the model is saved, memory-mapped when it is loaded.

    vectors:  float32[n, f], equal norms by ascending item.
    norms:    float64[n], upper bounds of the rows' Euclidean norms, descending.
    items:    int32[n], the item of each row; `places` is its inverse.
    """

    vectors: npt.NDArray[np.float32]
    norms: npt.NDArray[np.float64]
    items: npt.NDArray[np.int32]
    places: npt.NDArray[np.int32]

    @classmethod
    def from_factors(cls, factors: npt.NDArray[np.floating]) -> "NormSortedItems":
        """Sort `factors` (one row per item). `InputError` for NaN, infinite or absurdly large ones."""
        vectors = np.asarray(factors, dtype=np.float32)
        norms = np.sqrt(np.square(vectors, dtype=np.float64).sum(axis=1)) * (1 + 1e-12)
        wrong = int(np.sum(~(norms < _LARGEST_NORM)))
        if wrong:
            raise InputError(
                f"{wrong} of {len(norms)} items have factors that are NaN, infinite or larger than 2^60: "
                f"the model did not converge, train it with more regularisation"
            )
        items = np.argsort(-norms, kind="stable").astype(np.int32)
        places = np.empty_like(items)
        places[items] = np.arange(len(items), dtype=np.int32)
        return cls(np.ascontiguousarray(vectors[items]), norms[items], items, places)

    @classmethod
    def from_arrays(cls, arrays: Arrays) -> "NormSortedItems":
        """What `arrays()` described, without a copy."""
        return cls(arrays["item_vectors"], arrays["item_norms"], arrays["item_search_order"], arrays["item_places"])

    def arrays(self) -> Arrays:
        """What to save."""
        return {
            "item_vectors": self.vectors,
            "item_norms": self.norms,
            "item_search_order": self.items,
            "item_places": self.places,
        }

    def __len__(self) -> int:
        """Number of items."""
        return len(self.items)

    def scores(
        self,
        vectors: npt.NDArray[np.float32],
        *,
        users: npt.NDArray[np.integer],
        places: npt.NDArray[np.integer],
    ) -> npt.NDArray[np.float64]:
        """Score of each pair of a row of `vectors` and a place, as a float64 dot product.

        Products of two float32 are exact in float64; einsum sums those of a pair in an order that depends on
        nothing but the number of factors, so a pair's score has the same bits in every batch.
        """
        rank = vectors.shape[1]
        at_once = min(_RESCORED_AT_ONCE, len(users))
        narrow, of_items, of_users = np.empty((at_once, rank), np.float32), *np.empty((2, at_once, rank))
        wide, scores = vectors.astype(np.float64), np.empty(len(users))
        for start in range(0, len(users), at_once or 1):
            part = slice(start, start + at_once)
            count = len(users[part])
            # `take` fills memory that is there already, if it need not check what it is given
            np.take(self.vectors, places[part], axis=0, out=narrow[:count], mode="clip")
            np.take(wide, users[part], axis=0, out=of_users[:count], mode="clip")
            of_items[:count] = narrow[:count]
            np.einsum("ij,ij->i", of_items[:count], of_users[:count], out=scores[part])
        return scores
