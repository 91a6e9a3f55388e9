"""What events add to a score: the sums are the scores, for each kind of model of ours."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pytest
import scipy.sparse as sp

from scoreline.models.artifacts import ESTIMATORS
from scoreline.models.estimator import Estimator
from scoreline.models.histories import Histories
from scoreline.models.imported_factors import ImportedFactors
from scoreline.models.item_neighbours import ItemNeighbours
from scoreline.models.latent_factors import LatentFactors
from scoreline.models.popularity import Popularity
from unit.models.fitted import ITEMS, matrix

ROUNDED = 2.0**-24  # a float32 is off by at most so much of itself
HISTORY = Histories(np.array([0, 5]), np.array([3, 9, -1, 3, 17], np.int32), np.array([1.5, 4, 2, 0.25, 3], np.float32))
MODELS = {
    "neighbours": ItemNeighbours(),
    "neighbours, linear": ItemNeighbours(weighting="linear", history_half_life=None, neighbours=6),
    "neighbours, liked ones": ItemNeighbours(min_weight=0.2, weighting="log"),
    "factors": LatentFactors(factors=8),
    "factors, linear": LatentFactors(factors=8, weighting="linear", history_half_life=None),
    "implicit": ImportedFactors(objective="implicit", regularization=0.3, alpha=2.0),
    "spark, implicit": ImportedFactors(objective="spark_implicit", regularization=0.1, alpha=3.0),
    "spark, explicit": ImportedFactors(objective="spark_explicit", regularization=0.1),
}


def fitted(model: Estimator, weights: sp.csr_matrix) -> Estimator:
    """Fitted; factors from elsewhere are those of a decomposition."""
    if isinstance(model, ImportedFactors):
        _, values, components = np.linalg.svd(weights.toarray().astype(np.float64), full_matrices=False)
        return model.with_factors(components[:8].T * np.sqrt(values[:8]))
    return model.fit(weights)


def require_sums(model: Estimator, histories: Histories, *, k: int) -> int:
    """Each score of each list is the sum of what the events add; returns how many of them were looked at."""
    lists, looked = model.recommend(histories, k=k), 0
    for user, (first, last) in enumerate(pairwise(lists.offsets)):
        own, scores = histories.slice(user, user + 1), lists.scores[first:last].astype(np.float64)
        parts = model.contributions(own, lists.items[first:last])
        assert parts.shape == (last - first, len(own.items))
        made = scores > 0 if isinstance(model, ItemNeighbours) else np.ones(len(scores), np.bool_)
        assert not parts[~made].any()  # a list is completed with what no event has led to
        # a user's vector is summed up in float32, an event after the other
        within = ROUNDED * (1 if isinstance(model, ItemNeighbours) else len(own.items) + 8)
        size = np.abs(parts).sum(axis=1)
        assert (np.abs(parts.sum(axis=1) - scores)[made] <= within * size[made]).all()
        looked += int(made.sum())
    return looked


@pytest.mark.parametrize("name", MODELS)
def test_what_the_events_add_is_the_score(name: str) -> None:
    model = fitted(MODELS[name], matrix())
    assert require_sums(model, HISTORY, k=ITEMS) >= 5
    parts = model.contributions(HISTORY, np.arange(ITEMS))
    assert not parts[:, 2].any()  # an item that the model does not know
    assert parts[:, [0, 1, 4]].any(axis=0).all()


def test_an_event_that_is_not_liked_adds_nothing() -> None:
    model = fitted(ItemNeighbours(min_weight=0.3), matrix())
    parts = model.contributions(HISTORY, np.arange(ITEMS))
    assert parts.any(axis=0).tolist() == [True, True, False, False, True]


def test_popularity_is_made_of_no_event() -> None:
    model = Popularity().fit(matrix())
    assert model.contributions(HISTORY, np.array([4, 5])).tolist() == [[0.0] * 5] * 2


@pytest.mark.parametrize("kind", ESTIMATORS)
def test_no_item_and_no_event_are_no_special_case(kind: str) -> None:
    model = fitted(ESTIMATORS[kind](), matrix())
    nothing = Histories(np.zeros(2, np.int64), np.zeros(0, np.int32), np.zeros(0, np.float32))
    assert model.contributions(nothing, np.array([1, 2])).shape == (2, 0)
    assert model.contributions(HISTORY, np.zeros(0, np.int32)).shape == (0, 5)


def ratings(data: Path, name: str) -> sp.csr_matrix:
    """Users x items of ratings of a real data set."""
    if name == "ml-latest-small":
        table = pa.csv.read_csv(data / name / "ratings.csv")
        columns = [table[column].to_numpy() for column in ("userId", "movieId", "rating")]
    else:
        lines = (data / name / "ratings.dat").read_text(encoding="utf-8").splitlines()
        columns = [np.array(column, np.float64) for column in list(zip(*(s.split("::") for s in lines), strict=True))]
    users, items = (np.unique(column, return_inverse=True)[1] for column in columns[:2])
    return sp.csr_matrix((columns[2].astype(np.float32), (users, items)))


def histories_of(weights: sp.csr_matrix, users: np.ndarray) -> Histories:
    part = weights[users]
    return Histories(part.indptr.astype(np.int64), part.indices.astype(np.int32), part.data)


@pytest.mark.parametrize("name", ["ml-latest-small", "movietweetings-100k"])
@pytest.mark.parametrize(
    "model",
    [ItemNeighbours(), LatentFactors(factors=32), ImportedFactors(objective="implicit", regularization=5.0, alpha=2.0)],
    ids=lambda model: model.name,
)
def test_sums_are_scores_on_real_histories(data: Path, name: str, model: Estimator) -> None:
    weights = ratings(data, name)
    if isinstance(model, ImportedFactors):
        model.with_factors(LatentFactors(factors=32).fit(weights).items_.vectors)
    else:
        model.fit(weights)
    users = np.random.default_rng(1).choice(weights.shape[0], 200, replace=False)
    assert require_sums(model, histories_of(weights, users), k=20) > 3_000
