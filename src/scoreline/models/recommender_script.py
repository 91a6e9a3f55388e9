"""What MLflow runs to make the model when it is loaded (models from code): no object is pickled."""

from mlflow.models import set_model

from scoreline.models.recommender import Recommender

set_model(Recommender())
