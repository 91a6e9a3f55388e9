"""The least that MLflow's server can do: one answer, always the same, whatever was posted."""

from typing import Any

import mlflow

ANSWER = {
    "transaction_id": "t-1",
    "fraud_probability": 0.01,
    "decision": "allow",
    "reasons": [],
    "model_version": "constant/1",
    "features_as_of": "2026-01-01T00:00:00+00:00",
}


class Constant(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[Any]) -> list[dict[str, Any]]:
        return [ANSWER]


mlflow.models.set_model(Constant())
