"""A small world for the online path: payments, their features, a model in MLflow, a server if one is asked for."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from scoreline_fraud.demo import export_snapshot
from scoreline_fraud.features.windows import TransactionLog
from scoreline_fraud.serving.kernels import Kernel
from scoreline_fraud.serving.rules import ServingRules, rules_of
from scoreline_fraud.serving.scorer import Scorer
from scoreline_fraud.serving.snapshot import SnapshotSource
from scoreline_fraud.training.compiling import fast_kernel
from scoreline_fraud.training.estimators import Split, fit, split
from scoreline_fraud.training.simulate import simulate

TODAY = pd.Timestamp("2026-03-10", tz="UTC")


@dataclass(frozen=True)
class World:
    """What the tests share; nothing in it is changed."""

    folder: Path
    rows: pd.DataFrame
    log: TransactionLog
    data: Split
    estimator: Any
    kernel: Kernel

    @property
    def snapshot(self) -> Path:
        return self.folder / "current.sqlite"


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("world")
    rows = simulate(cards=300, terminals=400, days=50, start=TODAY - pd.Timedelta(days=49))
    log = TransactionLog(rows)
    export_snapshot(log, TODAY, folder)
    data = split(log, train_from=TODAY - pd.Timedelta(days=21))
    estimator = fit("logistic_regression", data)
    return World(folder, rows, log, data, estimator, fast_kernel(estimator, data.test_features))


@pytest.fixture(scope="session")
def payment(world: World) -> Callable[..., dict[str, Any]]:
    """A payment that is fine; only what matters is spelled out."""
    known = world.rows.iloc[0]

    def build(**changes: Any) -> dict[str, Any]:
        usual = {
            "transaction_id": "t-1",
            "card_id": known["card_id"],
            "terminal_id": known["terminal_id"],
            "amount": 20.0,
            "occurred_at": (TODAY + pd.Timedelta(hours=12)).isoformat(),
        }
        return {key: value for key, value in (usual | changes).items() if value is not ...}

    return build


@pytest.fixture
def scorer(world: World) -> Callable[..., Scorer]:
    def build(rules: dict[str, Any] | None = None, **changes: Any) -> Scorer:
        followed = rules_of({"limits": {"max_clock_difference_s": None}} | (rules or {}))
        usual: dict[str, Any] = {
            "kernel": world.kernel,
            "source": SnapshotSource(world.snapshot),
            "model_version": "m/1",
        }
        return Scorer(rules=followed, **(usual | changes))

    return build


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True)
class Registry:
    """An MLflow registry of the test's own."""

    uri: str
    log: Callable[..., str]
    again: Callable[[], str]
    """One more version of the first model, made the champion: the same files under another number, in no time."""


@pytest.fixture(scope="session")
def registry(world: World) -> Iterator[Registry]:
    import mlflow

    from scoreline_fraud.training.log_model import log_fraud_model

    before = mlflow.get_tracking_uri()
    uri = f"sqlite:///{world.folder}/mlflow.db"
    mlflow.set_tracking_uri(uri)
    mlflow.create_experiment("fraud", artifact_location=(world.folder / "artifacts").as_uri())
    mlflow.set_experiment("fraud")

    def log(estimator: Any = None, alias: str | None = "champion") -> str:
        return log_fraud_model(
            estimator or world.estimator, world.data.test_features, name="card_fraud", rules=ServingRules(), alias=alias
        )

    def again() -> str:
        client = mlflow.MlflowClient()
        first = client.get_model_version("card_fraud", "1")
        made = client.create_model_version("card_fraud", first.source, run_id=first.run_id, model_id=first.model_id)
        client.set_registered_model_alias("card_fraud", "champion", made.version)
        return str(made.version)

    log()
    yield Registry(uri, log, again)
    mlflow.set_tracking_uri(before)


@pytest.fixture(scope="session")
def one_server(world: World, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    rules = {"metrics": {"port": free_port()}}
    with serving(world, registry, tmp_path_factory.mktemp("live"), workers=2, rules=rules) as server:
        yield server


@pytest.fixture
def live(one_server: Live) -> Live:
    """The one server of the tests, two workers; started again if a test stopped it."""
    if one_server.server.returncode() is not None:
        one_server.server.start()
        one_server.server.wait_until_ready()
    return one_server


@dataclass(frozen=True)
class Live:
    """A server that answers."""

    url: str
    server: Any
    snapshot: Path
    payment: Callable[..., dict[str, Any]]


@contextmanager
def serving(
    world: World,
    registry: Registry,
    folder: Path,
    *,
    workers: int = 1,
    rules: dict[str, Any] | None = None,
    **server: Any,
) -> Iterator[Live]:
    """A server of the champion; it gets four minutes to start, for a machine may be busy with other tests."""
    from scoreline_fraud.server.server import Server
    from scoreline_fraud.server.settings import ServerSettings, ServingSettings

    today = pd.Timestamp.now(tz="UTC").floor("D")
    # The world's payments, moved so that they end tonight.
    rows = world.rows.assign(occurred_at=world.rows["occurred_at"] + (today - TODAY))
    export_snapshot(TransactionLog(rows), today, folder)
    known = rows.iloc[0]
    settings = ServingSettings(
        model="models:/card_fraud@champion",
        tracking_uri=registry.uri,
        state_dir=folder / "state",
        server=ServerSettings(port=free_port(), workers=workers, **({"start_timeout_s": 240} | server)),
        rules=rules_of({"features": {"snapshot": folder / "current.sqlite", "recheck_s": 0.1}} | (rules or {})),
    )
    running = Server(settings, {key: value for key, value in os.environ.items() if key != "PYTHONPATH"})

    def payment(**changes: Any) -> dict[str, Any]:
        usual = {
            "transaction_id": "t-1",
            "card_id": known["card_id"],
            "terminal_id": known["terminal_id"],
            "amount": 20.0,
            "occurred_at": datetime.now(UTC).isoformat(timespec="seconds"),
        }
        return usual | changes

    try:
        running.start()
        running.wait_until_ready()
        url = f"http://127.0.0.1:{settings.server.port}/invocations"
        yield Live(url, running, folder / "current.sqlite", payment)
    finally:
        running.stop()


__all__ = ["TODAY", "Live", "Registry", "World", "free_port", "serving"]
