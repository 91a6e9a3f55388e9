import subprocess
import sys
from typing import get_args

import pytest
from sklearn.base import clone

from scoreline.config.model import EstimatorName
from scoreline.models.artifacts import ESTIMATORS
from scoreline.models.estimator import Estimator
from scoreline.models.item_neighbours import ItemNeighbours
from unit.models.fitted import matrix


@pytest.mark.parametrize("kind", ESTIMATORS.values())
def test_scikit_learn_can_clone_it(kind: type[Estimator]) -> None:
    model = kind()
    assert clone(model).get_params() == model.get_params()


def test_params_can_be_set_and_are_shown() -> None:
    model = ItemNeighbours(neighbours=7).set_params(shrinkage=3.0)
    assert (model.neighbours, model.shrinkage) == (7, 3.0)
    assert repr(model).startswith("ItemNeighbours(neighbours=7, shrinkage=3.0")
    with pytest.raises(ValueError, match="k is no parameter"):
        model.set_params(k=3)


@pytest.mark.parametrize("name", get_args(EstimatorName))
def test_fit_returns_the_estimator_and_is_repeatable(name: str) -> None:
    model = ESTIMATORS[name]()
    assert model.fit(matrix()) is model
    again = clone(model).fit(matrix())
    for key, array in model.arrays().items():
        assert (again.arrays()[key] == array).all(), key


def test_scoring_imports_no_scikit_learn_and_no_mlflow() -> None:
    code = "import sys, scoreline.models.scoring; print([m for m in ('sklearn', 'mlflow') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
