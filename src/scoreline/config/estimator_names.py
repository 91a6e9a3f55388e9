"""The estimators that `model.train.estimator` may name; apart, since the command line offers them without a model."""

from typing import Literal

EstimatorName = Literal["item_neighbours", "latent_factors", "popularity"]
