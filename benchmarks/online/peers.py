"""The same service behind other servers: the same checks, look-up, features, thresholds and answers (`Scorer`).

What differs is the server and what turns 18 features into a probability: scikit-learn on a DataFrame, as it was
trained, or ONNX runtime.
"""

import os
from pathlib import Path
from typing import Any

import numpy as np

from scoreline_fraud.serving.features import FEATURES, Floats
from scoreline_fraud.serving.rules import rules_of
from scoreline_fraud.serving.scorer import Scorer
from scoreline_fraud.serving.snapshot import SnapshotSource

FOLDER = Path(os.environ.get("PEERS_FOLDER", "."))


class PandasKernel:
    """The estimator as it was trained: on a DataFrame with named columns."""

    def __init__(self) -> None:
        import joblib

        self.estimator: Any = joblib.load(FOLDER / "estimator.joblib")

    def probabilities(self, features: Floats) -> Floats:
        import pandas as pd

        return np.asarray(self.estimator.predict_proba(pd.DataFrame(features, columns=list(FEATURES)))[:, 1])


class GraphKernel:
    """The same logistic regression as a graph in single precision."""

    def __init__(self) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(FOLDER / "model.onnx", options, providers=["CPUExecutionProvider"])

    def probabilities(self, features: Floats) -> Floats:
        return np.asarray(self.session.run(None, {"features": features.astype(np.float32)})[0].ravel())


def service(kernel: Any) -> Scorer:
    """What every peer does with the rows of a request."""
    rules = rules_of({"limits": {"max_clock_difference_s": None}})
    return Scorer(kernel, SnapshotSource(FOLDER / "current.sqlite"), rules, model_version="peer/1")


def _fastapi(kernel: Any) -> Any:
    """In FastAPI's thread pool, as its documentation says for work that computes."""
    from fastapi import FastAPI
    from pydantic import BaseModel

    app, scorer = FastAPI(), service(kernel)

    class Posted(BaseModel):
        inputs: list[Any]

    @app.post("/invocations")
    def score(posted: Posted) -> dict[str, Any]:
        return {"predictions": scorer.answers(posted.inputs)}

    return app


def fastapi_pandas() -> Any:
    return _fastapi(PandasKernel())


def fastapi_onnx() -> Any:
    return _fastapi(GraphKernel())


def fastapi_onnx_async() -> Any:
    """On the event loop itself: the least that FastAPI can do."""
    from fastapi import FastAPI
    from pydantic import BaseModel

    app, scorer = FastAPI(), service(GraphKernel())

    class Posted(BaseModel):
        inputs: list[Any]

    @app.post("/invocations")
    async def score(posted: Posted) -> dict[str, Any]:
        return {"predictions": scorer.answers(posted.inputs)}

    return app


def flask_pandas() -> Any:
    from flask import Flask, jsonify, request

    app, scorer = Flask("peer"), service(PandasKernel())

    @app.post("/invocations")
    def score() -> Any:
        return jsonify(predictions=scorer.answers(request.get_json()["inputs"]))

    return app
