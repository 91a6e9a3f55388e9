"""Where a request's time goes, inside one process: `python benchmarks/online/inside.py` after `online_bench.py`."""

import asyncio
import gc
import json
import os
import sys
import time
import timeit
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import pandas as pd

from scoreline_fraud.features.windows import TransactionLog
from scoreline_fraud.serving.application import limited
from scoreline_fraud.serving.kernels import TreesKernel
from scoreline_fraud.serving.transactions import parse
from scoreline_fraud.training import compiling, estimators
from scoreline_fraud.training.simulate import simulate

OURS = "this project"


def microseconds(call: Callable[[], object], times: int = 500) -> float:
    """CPU, the least of five rounds: what else the machine does counts little."""
    return min(timeit.repeat(call, timer=time.process_time, number=times, repeat=5)) / times * 1e6


def main(folder: Path) -> None:
    warnings.simplefilter("ignore")
    os.environ |= {"MLFLOW_TRACKING_URI": f"sqlite:///{folder}/mlflow.db", "PEERS_FOLDER": str(folder)}
    import mlflow
    from mlflow.pyfunc import scoring_server

    import peers

    rules = {"features": {"snapshot": str(folder / "current.sqlite")}, "limits": {"max_clock_difference_s": None}}
    model = mlflow.pyfunc.load_model("models:/ours_logistic_regression@champion", model_config=rules)
    scorer = model.unwrap_python_model().scorer
    snapshot = scorer.source.current()
    rows = simulate(
        cards=2000, terminals=4000, days=45, start=pd.Timestamp.now(tz="UTC").floor("D") - pd.Timedelta(days=44)
    )
    last = rows.iloc[-1]
    row = {name: last[name] for name in ("transaction_id", "card_id", "terminal_id", "amount")}
    row["occurred_at"] = last["occurred_at"].isoformat()
    body = json.dumps({"inputs": [row]}).encode()
    schema = model.metadata.get_input_schema()
    steps: dict[str, Callable[[], object]] = {
        "check one row": lambda: parse(row),
        "look up card and terminal": lambda: (snapshot.card(row["card_id"]), snapshot.terminal(row["terminal_id"])),
        "the model, all of it, 1 row": lambda: scorer.answers([row]),
        "+ MLflow's pyfunc": lambda: model.predict([row]),
        "+ MLflow's JSON in and out": lambda: scoring_server.invocations(body, "application/json", model, schema),
    }
    for name, call in steps.items():
        print(f"{name:<32} {microseconds(call):8.1f} µs")
    print(f"{'the model, a row of 100':<32} {microseconds(lambda: scorer.answers([row] * 100), 50) / 100:8.1f} µs")
    constant = mlflow.pyfunc.load_model("models:/peer_constant/1")
    apps = {
        OURS: limited(scoring_server.init(model), 60),
        "  a model that returns a constant": limited(scoring_server.init(constant), 60),
        "  without any time limit": _without_middleware(scoring_server.init(model)),
        "  under MLflow's time limit": scoring_server.init(model),
        "FastAPI + pandas": peers.fastapi_pandas(),
        "FastAPI + ONNX, thread pool": peers.fastapi_onnx(),
        "FastAPI + ONNX, event loop": peers.fastapi_onnx_async(),
    }
    gc.collect()
    gc.freeze()
    rounds = [{name: asgi(app, body) for name, app in apps.items()} for _ in range(15)]
    print("\nThe whole application without sockets (ASGI call), CPU, least of 15 rounds in turn:")
    for name in apps:
        least = min(found[name] for found in rounds)
        ratio = median(found[name] / found[OURS] for found in rounds)
        print(f"{name:<34} {least:8.0f} µs, of ours (median) {ratio:.2f}×")
    kernels(rows)


def _without_middleware(app: Any) -> Any:
    app.user_middleware.clear()
    return app


def asgi(app: Any, body: bytes, times: int = 100) -> float:
    """CPU of a call of the application, without sockets."""
    scope = {"type": "http", "http_version": "1.1", "method": "POST", "path": "/invocations",
             "raw_path": b"/invocations", "query_string": b"", "headers": [(b"content-type", b"application/json")],
             "client": ("127.0.0.1", 1),
             "server": ("127.0.0.1", 2), "scheme": "http", "root_path": "", "asgi": {"version": "3.0"}}  # fmt: skip

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        assert message.get("status", 200) == 200

    async def calls() -> float:
        for _ in range(20):
            await app(dict(scope), receive, send)
        began = time.process_time()
        for _ in range(times):
            await app(dict(scope), receive, send)
        return (time.process_time() - began) / times * 1e6

    return asyncio.run(calls())


def kernels(rows: pd.DataFrame) -> None:
    start = rows["occurred_at"].max().floor("D") - pd.Timedelta(days=21)
    data = estimators.split(TransactionLog(rows), train_from=start)
    sample = data.test_features
    for name in estimators.ESTIMATORS:
        estimator = estimators.fit(name, data)
        expected = estimator.predict_proba(sample)[:, 1]
        found = compiling._numpy_kernel(estimator)
        graph = compiling._onnx_kernel(found) if isinstance(found, TreesKernel) else None
        for kernel in (found, graph):
            if kernel is not None:
                off = compiling.difference(kernel, expected, sample)
                one = microseconds(lambda kernel=kernel: kernel.probabilities(sample[:1]), 200)  # type: ignore[misc]
                print(f"{name} {type(kernel).__name__}: {one:.1f} µs a row, off by {off:.0e}")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "data/bench-online").absolute())
