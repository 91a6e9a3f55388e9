"""What every shipped estimator is: scikit-learn's conventions without importing scikit-learn.

That import costs each Python worker 1.8 CPU seconds (measured after mlflow's own), and scoring needs nothing
of it. `sklearn.base.clone` works on these classes, because it asks for no more than `get_params`.
"""

import inspect
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from .histories import Histories
from .parameters import Parameters, check
from .topk import TopK

__all__ = ["Arrays", "Estimator"]

Arrays = dict[str, npt.NDArray[Any]]  # what a fitted estimator is saved as; each keeps the type it has


class Estimator:
    """Constructor arguments are attributes of the same name; what `fit` learns ends in an underscore.

    name: what a configuration calls it. parameters: what the constructor's arguments may be. As in scikit-learn the
    constructor takes anything; `fit` checks, and raises `InputError`.
    """

    name: ClassVar[str]
    parameters: ClassVar[type[Parameters]] = Parameters

    def require_valid(self) -> None:
        """Raise `InputError` for an argument of the constructor that is outside of what it may be."""
        check(self.name, self.parameters, self.get_params())

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """The constructor's arguments by name."""
        return {name: getattr(self, name) for name in inspect.signature(type(self)).parameters}

    def set_params(self, **params: Any) -> Self:
        """Change constructor arguments; raises ValueError, as scikit-learn does, for one there is not."""
        for name, value in params.items():
            if name not in self.get_params():
                raise ValueError(f"{name} is no parameter of {self!r}")
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        """The call that made it."""
        given = ", ".join(f"{name}={value!r}" for name, value in self.get_params().items())
        return f"{type(self).__name__}({given})"

    def fit(self, matrix: sp.csr_matrix, ages: npt.NDArray[np.float32] | None = None) -> Self:
        """Learn from `matrix`, users x items of weights; ages: days before now of each stored entry."""
        raise NotImplementedError

    def arrays(self) -> Arrays:
        """What to save, name by name."""
        raise NotImplementedError

    @classmethod
    def from_arrays(cls, arrays: Arrays, **params: Any) -> Self:
        """The fitted estimator that `arrays()` described; `params` as given to the constructor."""
        raise NotImplementedError

    def recommend(
        self,
        histories: Histories,
        *,
        k: int,
        exclude_seen: bool = True,
        eligible: npt.NDArray[np.bool_] | None = None,
    ) -> TopK:
        """The `k` best items for each user, fewer only if there are no more that are eligible and unseen.

        A user about whom the model knows nothing gets an empty list. eligible: bool per item, None for all.
        """
        raise NotImplementedError

    def contributions(self, history: Histories, items: npt.NDArray[np.integer]) -> npt.NDArray[np.float64]:
        """float64[items, events]: what each event of one user's history adds to the score of each of the `items`.

        Their sum is the score that `recommend` gives, but for the rounding of float32. All are zero for an item whose
        score is not made of the history: of popularity, and of what a list is completed with.
        """
        raise NotImplementedError
