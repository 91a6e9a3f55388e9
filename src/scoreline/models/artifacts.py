"""A fitted model as a folder: `meta.json` and one .npy file per array, memory-mapped when it is loaded."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ..errors import InputError
from .estimator import Estimator
from .imported_factors import ImportedFactors
from .item_index import ItemIndex
from .item_neighbours import ItemNeighbours
from .latent_factors import LatentFactors
from .popularity import Popularity

__all__ = ["ESTIMATORS", "NAME", "FittedModel", "load", "save"]

NAME = "model"  # of the folder among the artifacts of an MLflow model
_FORMAT = 1
_META = "meta.json"


ESTIMATORS: dict[str, type[Estimator]] = {
    kind.name: kind for kind in (Popularity, ItemNeighbours, LatentFactors, ImportedFactors)
}


@dataclass(frozen=True)
class FittedModel:
    """A model, the catalogue its indexes mean, and the popularity list for users it says nothing about."""

    catalogue: ItemIndex
    estimator: Estimator
    popularity: Popularity

    @property
    def name(self) -> str:
        """The estimator's key in `ESTIMATORS`."""
        return self.estimator.name


def save(model: FittedModel, folder: Path) -> None:
    """Write `model` into `folder`, which is made if need be. No pickle."""
    folder.mkdir(parents=True, exist_ok=True)
    shared = {**model.catalogue.arrays(), **model.popularity.arrays()}
    own = model.estimator.arrays()
    if other := sorted(name for name in shared.keys() & own.keys() if not np.array_equal(shared[name], own[name])):
        raise ValueError(f"{model.name}: arrays() has another {', '.join(other)} than every model keeps by that name")
    arrays = {**shared, **own}
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    meta = {
        "format": _FORMAT,
        "estimator": model.name,
        "params": model.estimator.get_params(),
        "items": len(model.catalogue),
        "item_id": "long" if model.catalogue.is_long else "string",
    }
    (folder / _META).write_text(json.dumps(meta, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def load(folder: Path) -> FittedModel:
    """The model in `folder`; its arrays stay on disk and are shared by every process that maps them."""
    try:
        meta = json.loads((folder / _META).read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{folder / _META} is missing or is no JSON: this is no scoreline model") from error
    if meta.get("format") != _FORMAT or meta.get("estimator") not in ESTIMATORS:
        raise InputError(
            f"{folder} has format {meta.get('format')!r}, estimator {meta.get('estimator')!r}; this version "
            f"reads format {_FORMAT} with {', '.join(ESTIMATORS)}: train the model again, or use its version"
        )
    arrays = {path.stem: _map(path) for path in folder.glob("*.npy")}
    estimator = ESTIMATORS[meta["estimator"]].from_arrays(arrays, **meta["params"])
    return FittedModel(ItemIndex.from_arrays(arrays), estimator, Popularity.from_arrays(arrays))


def _map(path: Path) -> npt.NDArray[Any]:
    """An array on disk as a plain read-only ndarray: memmap's subclass costs microseconds in every slice."""
    array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    return array.view(np.ndarray)
