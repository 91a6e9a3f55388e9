"""The same model behind other servers, as people write them: each takes a row of 18 features and looks nothing up."""

import os
from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(os.environ.get("PEERS_FOLDER", "."))


def _estimator() -> Any:
    import joblib

    return joblib.load(FOLDER / "estimator.joblib")


def _row_type() -> Any:
    from pydantic import ConfigDict, create_model

    fields: dict[str, Any] = dict.fromkeys((FOLDER / "features.txt").read_text().split(), (float, ...))
    return create_model("Row", __config__=ConfigDict(extra="forbid"), **fields)


def _decision(probability: float) -> dict[str, Any]:
    decision = "deny" if probability >= 0.9 else "review" if probability >= 0.5 else "allow"
    return {"fraud_probability": probability, "decision": decision}


def fastapi_pandas() -> Any:
    import pandas as pd
    from fastapi import FastAPI

    app, estimator, row_type = FastAPI(), _estimator(), _row_type()

    @app.post("/invocations")
    def score(rows: list[row_type]) -> dict[str, Any]:
        frame = pd.DataFrame([row.model_dump() for row in rows])
        return {"predictions": [_decision(float(p)) for p in estimator.predict_proba(frame)[:, 1]]}

    return app


def _onnx_scorer() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(FOLDER / "model.onnx", options, providers=["CPUExecutionProvider"])
    names = (FOLDER / "features.txt").read_text().split()

    def score(rows: list[Any]) -> dict[str, Any]:
        matrix = np.array([[getattr(row, name) for name in names] for row in rows], dtype=np.float32)
        return {"predictions": [_decision(float(p)) for p in session.run(None, {"features": matrix})[0].ravel()]}

    return score


def fastapi_onnx() -> Any:
    """In FastAPI's thread pool, as its documentation says for work that computes."""
    from fastapi import FastAPI

    app, scorer, row_type = FastAPI(), _onnx_scorer(), _row_type()

    @app.post("/invocations")
    def score(rows: list[row_type]) -> dict[str, Any]:
        return scorer(rows)

    return app


def fastapi_onnx_async() -> Any:
    """On the event loop itself: the least that Python can do."""
    from fastapi import FastAPI

    app, scorer, row_type = FastAPI(), _onnx_scorer(), _row_type()

    @app.post("/invocations")
    async def score(rows: list[row_type]) -> dict[str, Any]:
        return scorer(rows)

    return app


def flask_pandas() -> Any:
    import pandas as pd
    from flask import Flask, jsonify, request

    app, estimator = Flask("peer"), _estimator()

    @app.post("/invocations")
    def score() -> Any:
        frame = pd.DataFrame(request.get_json())
        return jsonify(predictions=[_decision(float(p)) for p in estimator.predict_proba(frame)[:, 1]])

    return app
