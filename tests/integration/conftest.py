"""A registry with models, made once: versions 1 and 2 of `films`, item neighbours with other neighbourhoods."""

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import scipy.sparse as sp
from pyspark.sql import SparkSession

from builders import context, write_events
from scoreline.context import Context
from scoreline.ingest.ingest import ingest_events
from scoreline.models.artifacts import FittedModel
from scoreline.models.item_index import ItemIndex
from scoreline.models.item_neighbours import ItemNeighbours
from scoreline.models.mlflow_model import log_recommender
from scoreline.pipeline.run import run
from scoreline.registry.client import quiet_mlflow

USERS, ITEMS = 60, 40


@dataclass(frozen=True)
class Registry:
    """Where the models are, and what is in them."""

    uri: str
    folder: Path
    films: dict[str, FittedModel]


def events_of(users: int = USERS, seed: int = 1) -> list[tuple[int, int, int, int]]:
    """Users like items near their own number, so that neighbourhoods mean something."""
    dice = np.random.default_rng(seed)
    rows = []
    for user in range(1, users + 1):
        liked = np.unique((user + dice.normal(0, 4, 8)).round().astype(int) % ITEMS) + 1
        rows += [
            (user, int(item), int(dice.integers(1, 6)), 1_700_000_000 + int(dice.integers(0, 10**6))) for item in liked
        ]
    return rows


def fitted(neighbours: int) -> FittedModel:
    rows = events_of()
    users, items = [r[0] - 1 for r in rows], [r[1] - 1 for r in rows]
    matrix = sp.csr_matrix(([r[2] for r in rows], (users, items)), shape=(USERS, ITEMS), dtype=np.float32)
    model = ItemNeighbours(neighbours=neighbours).fit(matrix)
    catalogue = ItemIndex.from_ids(pa.array(range(1, ITEMS + 1)))
    return FittedModel(catalogue=catalogue, estimator=model, popularity=model.popularity_)


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    import mlflow

    folder = tmp_path_factory.mktemp("mlflow")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    films = {"1": fitted(20), "2": fitted(3)}
    with quiet_mlflow():
        mlflow.set_tracking_uri(uri)
        mlflow.create_experiment("models", artifact_location=str(folder / "artifacts"))
        mlflow.set_experiment("models")
        for model in films.values():
            with mlflow.start_run():
                log_recommender(model, registered_name="films")
    return Registry(uri, folder / "fetched", films)


@pytest.fixture
def pipeline(spark: SparkSession, registry: Registry, tmp_path: Path) -> Any:
    """A factory of contexts over the same tables: `pipeline(model="films/2", now=..., scoring={...})`."""

    def made(model: str = "films/1", **changes: Any) -> Context:
        given = {
            # one folder for all tests, so that a worker loads each version once
            "model": {"uri": f"models:/{model}", "folder": str(registry.folder)},
            "mlflow": {"tracking_uri": registry.uri, "experiment": "runs"},
            "scoring": {"k": 5},
            "export": {"url": f"sqlite:///{tmp_path / 'serving.db'}"},
        }
        return context(spark, tmp_path / "tables", **(given | changes))

    return made


@pytest.fixture(scope="session")
def ingested(spark: SparkSession, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tables with the events ingested, to be copied."""
    root = tmp_path_factory.mktemp("ingested")
    ingest_events(context(spark, root / "tables"), write_events(root / "events.csv", events_of()))
    return root / "tables"


@pytest.fixture
def filled(pipeline: Any, ingested: Path, tmp_path: Path) -> Any:
    """The same, with the events ingested."""
    copied(ingested, tmp_path / "tables")
    return pipeline


@pytest.fixture(scope="session")
def first_run(
    spark: SparkSession, ingested: Path, registry: Registry, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Tables after a first run, to be copied."""
    root = tmp_path_factory.mktemp("first-run") / "tables"
    copied(ingested, root)
    model = {"uri": "models:/films/1", "folder": str(registry.folder)}
    run(context(spark, root, model=model, mlflow={"tracking_uri": registry.uri}, scoring={"k": 5}))
    return root


@pytest.fixture
def ran(pipeline: Any, first_run: Path, tmp_path: Path) -> Any:
    """A pipeline whose first run, with version 1 of `films` at NOW, has been published."""
    copied(first_run, tmp_path / "tables")
    return pipeline


def copied(tables: Path, to: Path) -> None:
    """Copy tables as if they had been made there: commits name their input by its place."""
    shutil.copytree(tables, to, ignore=shutil.ignore_patterns(".*.lock", ".*.crc"))
    for log in to.glob("*/_delta_log/*.json"):
        said, stat = log.read_text(), log.stat()
        log.write_text(said.replace(str(tables), str(to)))
        os.utime(log, ns=(stat.st_atime_ns, stat.st_mtime_ns))  # the log's clock


@pytest.fixture
def heard() -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """An address, and the titles, bodies and types of what it was told."""
    messages: list[tuple[str, str, str]] = []

    class Server(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            said = json.loads(self.rfile.read(int(self.headers["content-length"])))
            messages.append((said["title"], said["message"], said["type"]))
            self.send_response(500 if self.path.startswith("/deaf") else 200)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Server) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"json://127.0.0.1:{server.server_address[1]}", messages
        server.shutdown()
