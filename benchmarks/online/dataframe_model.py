"""The usual pyfunc: a DataFrame in, a DataFrame out."""

from typing import Any

import mlflow
import pandas as pd


class DataFrameModel(mlflow.pyfunc.PythonModel):
    def load_context(self, context: Any) -> None:
        import joblib

        self.estimator = joblib.load(context.artifacts["estimator"])

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        found = self.estimator.predict_proba(model_input)[:, 1]
        return pd.DataFrame({"fraud_probability": found, "decision": ["allow" if p < 0.5 else "deny" for p in found]})


mlflow.models.set_model(DataFrameModel())
