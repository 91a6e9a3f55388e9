"""What MLflow logs as the model's code (models-from-code): the file it runs in order to get the model."""

from mlflow.models import set_model

from scoreline_fraud.serving.model import FraudModel

set_model(FraudModel())
