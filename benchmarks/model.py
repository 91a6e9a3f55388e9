"""The workload's factors as one of this project's models."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pyarrow as pa

from scoreline.models.artifacts import FittedModel
from scoreline.models.item_index import ItemIndex
from scoreline.models.latent_factors import LatentFactors
from scoreline.models.popularity import Popularity
from scoreline.models.search.norm_sorted import NormSortedItems


def recommender(items: np.ndarray) -> FittedModel:
    """Fold a history in as the sum of its items' factors; item id = row + 1."""
    model = LatentFactors(factors=items.shape[1], history_half_life=None)
    model.items_ = NormSortedItems.from_factors(items)
    popularity = Popularity()
    popularity.popularity_ = np.arange(len(items), 0, -1, dtype=np.float32)
    popularity.order_ = np.arange(len(items), dtype=np.int32)
    return FittedModel(ItemIndex.from_ids(pa.array(np.arange(1, len(items) + 1))), model, popularity)


@contextmanager
def quietly_tracked(folder: Path, uri: str | None = None) -> Iterator[None]:
    """MLflow with its store in `folder` (or at `uri`) and without its chatter."""
    import mlflow

    from scoreline.registry.client import quiet_mlflow

    folder.mkdir(parents=True, exist_ok=True)
    with quiet_mlflow():
        mlflow.set_tracking_uri(uri or f"sqlite:///{folder / 'mlflow.db'}")
        if mlflow.get_experiment_by_name("bench models") is None:
            mlflow.create_experiment("bench models", artifact_location=str(folder / "artifacts"))
        mlflow.set_experiment("bench models")
        yield
