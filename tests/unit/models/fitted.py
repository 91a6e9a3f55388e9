"""Small fitted models."""

import numpy as np
import pyarrow as pa
import scipy.sparse as sp

from scoreline.models.artifacts import ESTIMATORS, FittedModel
from scoreline.models.item_index import ItemIndex
from scoreline.models.popularity import Popularity

USERS, ITEMS = 60, 24


def matrix(seed: int = 0) -> sp.csr_matrix:
    rng = np.random.default_rng(seed)
    return sp.random(USERS, ITEMS, density=0.3, random_state=rng, format="csr", dtype=np.float32)


def catalogue(key: str = "long") -> ItemIndex:
    """Items 100, 101, ... or "0100", "0101", ..."""
    numbers = range(100, 100 + ITEMS)
    return ItemIndex.from_ids(pa.array([f"{n:04d}" for n in numbers] if key == "string" else list(numbers)))


def fitted_model(estimator: str = "item_neighbours", key: str = "long", **params: object) -> FittedModel:
    weights = matrix()
    model = ESTIMATORS[estimator](**params).fit(weights)
    return FittedModel(catalogue(key), model, Popularity().fit(weights))
