"""`make bench-online`: the same model behind MLflow as we serve it and behind its peers, in one run.

CPU per request is what the server's processes used (user and system), so that the load generator on the same machine
does not count. Prints Markdown; `--quick` for a look.
"""

import argparse
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import joblib
import numpy as np
import pandas as pd

from online.load import Load, load
from scoreline_fraud.demo import export_snapshot, posted
from scoreline_fraud.features.windows import TransactionLog, training_matrix
from scoreline_fraud.server.fetching import fetch_model
from scoreline_fraud.server.settings import ServerSettings, ServingSettings, environment
from scoreline_fraud.serving.application import serving_command
from scoreline_fraud.serving.features import FEATURES
from scoreline_fraud.serving.rules import ServingRules, rules_of
from scoreline_fraud.training.estimators import fit, split
from scoreline_fraud.training.log_model import log_fraud_model
from scoreline_fraud.training.simulate import simulate

HERE = Path(__file__).parent
OURS = "this project (lookup included)"
ONE_THREAD = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


@dataclass(frozen=True)
class Bench:
    """What all servers share."""

    folder: Path
    bodies: dict[str, list[bytes]]

    @property
    def tracking_uri(self) -> str:
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def snapshot(self) -> Path:
        return self.folder / "current.sqlite"


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--folder", type=Path, default=Path("data/bench-online"))
    options.add_argument("--seconds", type=float, default=3)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--quick", action="store_true", help="2 seconds, one round, no BentoML")
    options.add_argument("--parts", default="peers,scale,models,overload")
    options.add_argument("--only", default="", help="peers whose name contains this (and ourselves)")
    options.add_argument("--without-bentoml", action="store_true")
    chosen = options.parse_args()
    if chosen.quick:
        chosen.seconds, chosen.rounds, chosen.without_bentoml = 2.0, 1, True
    bench = prepare(chosen.folder.absolute())
    parts = chosen.parts.split(",")
    if "peers" in parts:
        peers(bench, seconds=chosen.seconds, rounds=chosen.rounds, bentoml=not chosen.without_bentoml, only=chosen.only)
    if "scale" in parts:
        scale(bench, seconds=chosen.seconds)
    if "models" in parts:
        models(bench, seconds=chosen.seconds)
    if "overload" in parts:
        overload(bench, seconds=chosen.seconds)


def prepare(folder: Path) -> Bench:
    """Train once, log the model in each way, write what the peers load."""
    import mlflow

    warnings.simplefilter("ignore")
    shutil.rmtree(folder / "artifacts", ignore_errors=True)
    (folder / "mlflow.db").unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    today = pd.Timestamp.now(tz="UTC").floor("D")
    rows = simulate(cards=2000, terminals=4000, days=45, start=today - pd.Timedelta(days=44))
    log = TransactionLog(rows)
    export_snapshot(log, today, folder)
    data = split(log, train_from=today - pd.Timedelta(days=21))
    last_day = rows[rows["occurred_at"] >= today].head(1000)
    sample = pd.DataFrame(training_matrix(log, last_day), columns=list(FEATURES))

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.create_experiment("bench", artifact_location=(folder / "artifacts").as_uri())
    mlflow.set_experiment("bench")
    for name in ("logistic_regression", "random_forest", "gradient_boosting"):
        log_fraud_model(
            fit(name, data), data.test_features, name=f"ours_{name}", rules=ServingRules(), alias="champion"
        )
    estimator = fit("logistic_regression", data)
    joblib.dump(estimator, folder / "estimator.joblib")
    (folder / "features.txt").write_text("\n".join(FEATURES))
    (folder / "model.onnx").write_bytes(_linear_graph(estimator))
    signature = mlflow.models.infer_signature(sample.head(), np.array([0, 1]))
    mlflow.sklearn.log_model(
        estimator, name="sklearn", signature=signature, serialization_format="cloudpickle",
        registered_model_name="peer_sklearn", pip_requirements=[],
    )  # fmt: skip
    mlflow.pyfunc.log_model(
        name="pyfunc", python_model=str(HERE / "online" / "dataframe_model.py"), signature=None,
        artifacts={"estimator": str(folder / "estimator.joblib")}, registered_model_name="peer_pyfunc",
        input_example=sample.head(1), pip_requirements=[],
    )  # fmt: skip
    mlflow.pyfunc.log_model(
        name="constant", python_model=str(HERE / "online" / "constant_model.py"), input_example=[{}],
        registered_model_name="peer_constant", pip_requirements=[],
    )  # fmt: skip
    records = sample.to_dict("records")
    bodies = {
        "ours": [json.dumps({"inputs": [row]}).encode() for row in posted(log, last_day)],
        "frame": [json.dumps({"dataframe_records": [row]}).encode() for row in records],
    }
    return Bench(folder, bodies)


def _linear_graph(estimator: Any) -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    scaler, model = estimator[0], estimator[-1]
    weights = (model.coef_[0] / scaler.scale_).astype(np.float32)
    bias = np.array([model.intercept_[0] - scaler.mean_ @ (model.coef_[0] / scaler.scale_)], dtype=np.float32)
    nodes = [helper.make_node("Gemm", ["features", "w", "b"], ["z"]), helper.make_node("Sigmoid", ["z"], ["p"])]
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, [None, len(weights)])],
        [helper.make_tensor_value_info("p", TensorProto.FLOAT, [None, 1])],
        [numpy_helper.from_array(weights[:, None], "w"), numpy_helper.from_array(bias, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9).SerializeToString()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], env: dict[str, str], port: int, body: bytes) -> Iterator[int]:
    """A server in its own process group, stopped at the end; yields the group."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    everything = {**os.environ, **ONE_THREAD, "PATH": path, "PYTHONWARNINGS": "ignore", **env}
    log = open(os.devnull, "wb") if "BENCH_LOG" not in os.environ else open(os.environ["BENCH_LOG"], "ab")  # noqa: SIM115, PTH123
    process = subprocess.Popen(command, env=everything, stdout=log, stderr=log, start_new_session=True)
    try:
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"}
        )
        deadline = time.monotonic() + 180
        while True:
            try:
                answered = urllib.request.urlopen(request, timeout=5).read()
                if b"internal_error" in answered or b'fraud_probability":null' in answered.replace(b" ", b""):
                    raise SystemExit(f"{command[:4]} does not score: {answered!r}")
                break
            except OSError as error:
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit(f"{command[:4]} did not start: {error}") from error
                time.sleep(0.2)
        yield process.pid
    finally:
        family = [pid for pid, _ in _members(process.pid)]
        process.terminate()
        time.sleep(2)
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()
        log.close()


def _members(root: int) -> Iterator[tuple[int, list[str]]]:
    """The server's processes: its group, and all descendants (BentoML's workers have groups of their own)."""
    found: dict[int, list[str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            found[int(stat.parent.name)] = stat.read_text().rsplit(")", 1)[1].split()
        except OSError:
            continue
    family = {root} | {pid for pid, fields in found.items() if int(fields[2]) == root}
    while grown := {pid for pid, fields in found.items() if int(fields[1]) in family} - family:
        family |= grown
    return iter([(pid, found[pid]) for pid in family if pid in found])


def cpu_seconds(group: int) -> float:
    ticks = sum(int(fields[11]) + int(fields[12]) for _, fields in _members(group))
    return ticks / os.sysconf("SC_CLK_TCK")


def memory_mb(group: int) -> float:
    """Proportional set size: shared pages counted once."""
    total = 0
    for pid, _ in _members(group):
        try:
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
        except OSError:
            continue
        total += next(int(line.split()[1]) for line in rollup.splitlines() if line.startswith("Pss:"))
    return total / 1024


@dataclass(frozen=True)
class Figure:
    cpu_ms: float
    found: Load
    memory: float


def measure(
    group: int, port: int, bodies: list[bytes], *, connections: int, seconds: float, headers: str = ""
) -> Figure:
    at = 0

    def next_body() -> bytes:
        nonlocal at
        at += 1
        return bodies[at % len(bodies)]

    before = cpu_seconds(group)
    found = load(port, next_body, connections=connections, seconds=seconds)
    return Figure((cpu_seconds(group) - before) / max(found.requests, 1) * 1000, found, memory_mb(group))


Start = Callable[[Bench, int], tuple[list[str], dict[str, str]]]


def scoreline_serve(model: str, *, by_mlflow: bool = False, workers: int = 1, limit: int = 1000) -> Start:
    """Our model as `scoreline serve` runs it, or by `mlflow models serve` with the same settings."""

    def start(bench: Bench, port: int) -> tuple[list[str], dict[str, str]]:
        settings = ServingSettings(
            model=f"models:/{model}@champion",
            tracking_uri=bench.tracking_uri,
            server=ServerSettings(port=port, workers=workers, limit_concurrency=limit),
            rules=rules_of({"features": {"snapshot": bench.snapshot}, "limits": {"max_clock_difference_s": None}}),
        )
        if by_mlflow:
            return _mlflow_models_serve(settings.model), environment(settings)
        folder = fetch_model(settings.model, into=bench.folder / "fetched", tracking_uri=bench.tracking_uri).folder
        command, model_path = serving_command(folder)
        return command, {**environment(settings), **model_path}

    return start


def mlflow_serve(model: str, *, tuned: bool = False) -> Start:
    """A peer's model by `mlflow models serve`, with MLflow's defaults or with our settings."""

    def start(bench: Bench, port: int) -> tuple[list[str], dict[str, str]]:
        settings = ServingSettings(
            model=f"models:/{model}", tracking_uri=bench.tracking_uri, server=ServerSettings(port=port, workers=1)
        )
        env = environment(settings)
        if not tuned:
            env = {key: value for key, value in env.items() if key.startswith("MLFLOW_")}
        return _mlflow_models_serve(settings.model), {**env, "SERVING_MODEL_CONFIG": "{}"}

    return start


def _mlflow_models_serve(uri: str) -> list[str]:
    return [sys.executable, "-m", "mlflow", "models", "serve", "-m", uri, "--env-manager", "local"]


def uvicorn(factory: str) -> Start:
    def start(bench: Bench, port: int) -> tuple[list[str], dict[str, str]]:
        command = [sys.executable, "-m", "uvicorn", "--factory", f"peers:{factory}", "--app-dir", str(HERE / "online"),
                   "--port", str(port), "--no-access-log", "--log-level", "warning"]  # fmt: skip
        return command, {"PEERS_FOLDER": str(bench.folder)}

    return start


def gunicorn(bench: Bench, port: int) -> tuple[list[str], dict[str, str]]:
    command = [sys.executable, "-m", "gunicorn", "peers:flask_pandas()", "--chdir", str(HERE / "online"), "-w", "1",
               "--threads", "4", "-k", "gthread", "--keep-alive", "60", "-b", f"127.0.0.1:{port}"]  # fmt: skip
    return command, {"PEERS_FOLDER": str(bench.folder)}


def bentoml(bench: Bench, port: int) -> tuple[list[str], dict[str, str]]:
    venv = bench.folder / "bentoml-venv"
    if not (venv / "bin" / "bentoml").exists():
        import importlib.metadata as installed

        subprocess.run([sys.executable, "-m", "venv", str(venv)], check=True)
        same = [f"{name}=={installed.version(name)}" for name in ("pandas", "scikit-learn", "numpy")]
        subprocess.run([str(venv / "bin" / "pip"), "install", "-q", "bentoml", *same], check=True)
    command = [str(venv / "bin" / "bentoml"), "serve", "bento_peer:Fraud", "--working-dir", str(HERE / "online"),
               "--port", str(port), "--host", "127.0.0.1"]  # fmt: skip
    return command, {
        "PEERS_FOLDER": str(bench.folder),
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(bench.folder),
        "PYTHONPATH": str(HERE.parent / "src"),
    }


def peers(bench: Bench, *, seconds: float, rounds: int, bentoml: bool, only: str = "") -> None:
    """CPU per request of the same logistic regression, one worker, one row: all servers up, measured in turn."""
    servers: dict[str, tuple[Start, str, float | None]] = {
        OURS: (scoreline_serve("ours_logistic_regression"), "ours", None),
        "this project by `mlflow models serve`": (
            scoreline_serve("ours_logistic_regression", by_mlflow=True),
            "ours",
            None,
        ),
        "mlflow, sklearn flavor": (mlflow_serve("peer_sklearn/1"), "frame", 6),
        "mlflow, DataFrame pyfunc": (mlflow_serve("peer_pyfunc/1"), "frame", 6),
        "mlflow, a model that returns a constant": (mlflow_serve("peer_constant/1", tuned=True), "ours", None),
        "FastAPI + pandas": (uvicorn("fastapi_pandas"), "ours", 3),
        "Flask + gunicorn + pandas": (gunicorn, "ours", 2),
        "FastAPI + ONNX, thread pool": (uvicorn("fastapi_onnx"), "ours", 0.5),
        "FastAPI + ONNX, event loop": (uvicorn("fastapi_onnx_async"), "ours", 0.5),
    }
    if bentoml:
        servers["BentoML + pandas"] = (globals()["bentoml"], "ours", 4)
    servers = {name: each for name, each in servers.items() if only in name or name == OURS}
    figures: dict[str, dict[int, list[Figure]]] = {name: {1: [], 16: []} for name in servers}
    with ExitStack() as stack:
        up = {}
        for name, (start, kind, _) in servers.items():
            port = free_port()
            command, env = start(bench, port)
            up[name] = (
                stack.enter_context(running(command, env, port, bench.bodies[kind][0])),
                port,
                bench.bodies[kind],
            )
            measure(*up[name], connections=4, seconds=min(seconds, 2))
            print(f"  {name} is up", file=sys.stderr)
        for _ in range(rounds):
            for connections in (1, 16):
                for name, server in up.items():
                    figures[name][connections].append(measure(*server, connections=connections, seconds=seconds))
    ours = figures[OURS]
    print(f"\nMedians of {rounds} rounds; CPU ms a request and p50 / p99 in ms over 1 and 16 connections:\n")
    print("| server | CPU, 1 | CPU, 16 | of ours, 1 | of ours, 16 | aim | p50 / p99, 1 | p50 / p99, 16 | memory MB |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- | --- |")
    for name, found in figures.items():
        aim = servers[name][2]
        cells = [f"{median(figure.cpu_ms for figure in found[n]):.2f}" for n in (1, 16)]
        for n in (1, 16):  # round by round, so that what else the machine does hits both
            cells.append(f"{median(t.cpu_ms / o.cpu_ms for t, o in zip(found[n], ours[n], strict=True)):.1f}×")
        cells.append("" if aim is None else f"{aim:g}×")
        for n in (1, 16):
            p50, p99 = (median(figure.found.percentile(share) for figure in found[n]) for share in (0.5, 0.99))
            cells.append(f"{p50:.1f} / {p99:.1f}")
        print(f"| {name} | {' | '.join(cells)} | {found[16][-1].memory:.0f} |")


def scale(bench: Bench, *, seconds: float) -> None:
    """Latency and throughput over connections and workers."""
    print("\n| workers | connections | requests/s | p50 ms | p99 ms | CPU ms a request | memory MB |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for workers in (1, 2):
        port = free_port()
        start = scoreline_serve("ours_logistic_regression", workers=workers)
        command, env = start(bench, port)
        with running(command, env, port, bench.bodies["ours"][0]) as group:
            time.sleep(5)  # the second worker
            measure(group, port, bench.bodies["ours"], connections=8, seconds=min(seconds, 2))
            for connections in (1, 16, 64):
                found = measure(group, port, bench.bodies["ours"], connections=connections, seconds=seconds)
                _row(f"{workers} | {connections}", found)


def models(bench: Bench, *, seconds: float) -> None:
    """The other estimators."""
    print("\n| estimator, 1 worker, 1 connection | requests/s | p50 ms | p99 ms | CPU ms a request | memory MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for name in ("logistic_regression", "random_forest", "gradient_boosting"):
        port = free_port()
        command, env = scoreline_serve(f"ours_{name}")(bench, port)
        with running(command, env, port, bench.bodies["ours"][0]) as group:
            measure(group, port, bench.bodies["ours"], connections=4, seconds=min(seconds, 2))
            _row(name, measure(group, port, bench.bodies["ours"], connections=1, seconds=seconds))


def _row(label: str, found: Figure) -> None:
    rate = found.found.statuses[200] / found.found.seconds
    print(
        f"| {label} | {rate:,.0f} | {found.found.percentile(0.5):.1f} | {found.found.percentile(0.99):.1f} | "
        f"{found.cpu_ms:.2f} | {found.memory:.0f} |"
    )


def overload(bench: Bench, *, seconds: float) -> None:
    """More callers than places: the excess gets 503 at once, the accepted keep their latency, nothing hangs.

    Alone, uvicorn refuses above `limit_concurrency` connections; behind nginx, nginx does above `limit_conn` requests.
    """
    print("\n| 1 worker, 16 places | callers | 200/s | 503/s | failed | p50 / p99 ms of the 200 | of the 503 |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    port = free_port()
    start = scoreline_serve("ours_logistic_regression", limit=64)
    with running(*start(bench, port), port, bench.bodies["ours"][0]) as group:
        measure(group, port, bench.bodies["ours"], connections=8, seconds=min(seconds, 2))
        with nginx(bench, port) as front:
            for callers in (8, 16, 64, 256):
                _overload_row("behind nginx", callers, load_of(bench, front, callers, seconds))
    alone = scoreline_serve("ours_logistic_regression", limit=16)
    with running(*alone(bench, port), port, bench.bodies["ours"][0]) as group:
        measure(group, port, bench.bodies["ours"], connections=8, seconds=min(seconds, 2))
        for callers in (8, 64, 256):
            _overload_row("uvicorn alone", callers, load_of(bench, port, callers, seconds))


def load_of(bench: Bench, port: int, callers: int, seconds: float) -> Load:
    """Callers who wait a tenth of a second on average after a 503, as a client with jitter does."""
    bodies = iter(bench.bodies["ours"] * 1000)
    key = "X-Api-Key: bench\r\n"
    return load(port, lambda: next(bodies), connections=callers, seconds=seconds, headers=key, pause_s=0.1, warm_s=1)


def _overload_row(label: str, callers: int, found: Load) -> None:
    rates = [f"{found.statuses[status] / found.seconds:,.0f}" for status in (200, 503)]
    times = [f"{found.percentile(0.5, status):.1f} / {found.percentile(0.99, status):.1f}" for status in (200, 503)]
    if not found.statuses[503]:
        times[1] = ""
    print(f"| {label} | {callers} | {' | '.join(rates)} | {found.errors} | {' | '.join(times)} |")


@contextmanager
def nginx(bench: Bench, upstream: int) -> Iterator[int]:
    """conf/serving/nginx.conf for one worker, without TLS (the load generator's share would be larger than nginx's)."""
    port, folder = free_port(), bench.folder / "nginx"
    (folder / "temp").mkdir(parents=True, exist_ok=True)
    (folder / "api_keys.conf").write_text('"bench" "bench";\n')
    text = (HERE.parent / "conf/serving/nginx.conf").read_text()
    for old, new in (
        ("127.0.0.1:8443 ssl", f"127.0.0.1:{port}"),
        ("127.0.0.1:5001", f"127.0.0.1:{upstream}"),
        ("in_flight 32", "in_flight 16"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    lines = [line for line in text.splitlines() if not line.strip().startswith("ssl_")]
    (folder / "nginx.conf").write_text("\n".join(["daemon off;", "master_process off;", *lines]))
    binary = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if binary is None:
        raise SystemExit("the part `overload` needs nginx (apt-get install nginx)")
    process = subprocess.Popen([binary, "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        time.sleep(1)
        yield port
    finally:
        process.terminate()
        process.wait()


if __name__ == "__main__":
    main()
