"""Models compared as they would have stood at one moment: fitted on what was before it, tested on what came after."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from scoreline.errors import InputError
from scoreline.models.artifacts import ESTIMATORS, FittedModel
from scoreline.models.estimator import Arrays, Estimator
from scoreline.models.parameters import check
from scoreline.models.popularity import Popularity
from scoreline.training.evaluation import Evaluation, evaluate
from scoreline.training.interactions import Interactions

__all__ = ["RECENCY", "Recipe", "Split", "candidates", "evaluated", "make_estimator"]

RECENCY = "history_half_life"


@dataclass(frozen=True)
class Recipe:
    """What a model is made by: an estimator's name and all of its parameters."""

    estimator: str
    params: dict[str, Any]

    @classmethod
    def of(cls, estimator: Estimator) -> Self:
        return cls(estimator.name, estimator.get_params())

    @property
    def key(self) -> str:
        """Equal for equal recipes."""
        return json.dumps([self.estimator, self.params], sort_keys=True)

    @property
    def fitted_key(self) -> str:
        """Equal for recipes that fit to the same arrays: recency counts only when a history is scored."""
        return Recipe(self.estimator, {name: value for name, value in self.params.items() if name != RECENCY}).key


def make_estimator(name: str, params: dict[str, Any]) -> Estimator:
    """An estimator that is not fitted yet. Raises `InputError` for a name or a parameter there is not."""
    trainable = [known for known, kind in ESTIMATORS.items() if kind.fit is not Estimator.fit]
    if name not in trainable:
        raise InputError(f"there is no estimator {name}: choose one of {', '.join(trainable)}")
    check(name, ESTIMATORS[name].parameters, params)
    return ESTIMATORS[name](**params)


@dataclass(frozen=True)
class Split:
    """Events before and after the cut, and what production may recommend.

    eligible: bool per item of the catalogue; None for all of them.
    """

    train: Interactions
    test: Interactions
    exclude_seen: bool = True
    eligible: npt.NDArray[np.bool_] | None = None


def evaluated(split: Split, recipes: Sequence[Recipe]) -> list[Evaluation]:
    """The figures of each recipe, fitted on the same events and tested on the same users; equal ones only once."""
    matrix, ages = split.train.matrix(), split.train.ages()
    popularity = Popularity().fit(matrix)
    fitted: dict[str, Arrays] = {}
    found: dict[str, Evaluation] = {}
    for recipe in recipes:
        if recipe.key in found:
            continue
        estimator = make_estimator(recipe.estimator, recipe.params)
        if recipe.fitted_key not in fitted:
            fitted[recipe.fitted_key] = estimator.fit(matrix, ages).arrays()
        same = type(estimator).from_arrays(fitted[recipe.fitted_key], **estimator.get_params())
        model = FittedModel(split.train.catalogue, same, popularity)
        found[recipe.key] = evaluate(
            model, split.train, split.test, exclude_seen=split.exclude_seen, eligible=split.eligible
        )
    return [found[recipe.key] for recipe in recipes]


def candidates(name: str, params: Mapping[str, Any], *, ordered: bool) -> list[Recipe]:
    """The recipes that `params` leave open: where they say nothing about recency, with the default and without.

    ordered: whether the events' times say anything about an order; if not, recency means nothing and is off.
    """
    default = Recipe.of(make_estimator(name, dict(params)))
    if RECENCY in params or default.params.get(RECENCY) is None:
        return [default]
    off = Recipe(name, {**default.params, RECENCY: None})
    return [default, off] if ordered else [off]
