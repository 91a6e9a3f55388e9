"""BentoML's service of the same model; runs in its own environment."""

import os
from pathlib import Path
from typing import Any

import bentoml
import joblib
import pandas as pd


@bentoml.service(workers=1, traffic={"timeout": 10})
class Fraud:
    def __init__(self) -> None:
        self.estimator = joblib.load(Path(os.environ["PEERS_FOLDER"]) / "estimator.joblib")

    @bentoml.api(route="/invocations")
    def score(self, rows: list[dict[str, float]]) -> list[dict[str, Any]]:
        found = self.estimator.predict_proba(pd.DataFrame(rows))[:, 1]
        return [{"fraud_probability": float(p), "decision": "allow" if p < 0.5 else "deny"} for p in found]
