"""The whole job through Spark Connect: a real server, and a client that has no JVM."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyspark
import pytest
import yaml

from builders import write_events
from clusters.processes import free_port, listening, server
from integration.conftest import events_of
from integration.truth import expected, published
from scoreline.engine.jars import delta_jars
from scoreline.engine.session import STATIC

pytestmark = [pytest.mark.spark, pytest.mark.slow]  # starts a server of its own: `make clusters`

ROOT = Path(__file__).parents[3]
SETTINGS = {
    **STATIC,
    "spark.master": "local[2]",
    "spark.ui.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.sql.codegen.wholeStage": "false",
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
    "spark.driver.extraJavaOptions": "-XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.driver.host": "127.0.0.1",
}


def environment() -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_", "SPARK_", "MLFLOW_"))}
    return {**kept, "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(ROOT / "src"), "SPARK_LOCAL_IP": "127.0.0.1"}


@pytest.fixture(scope="module")
def connect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server."""
    pytest.importorskip("grpc")
    pytest.importorskip("zstandard")
    folder, port = tmp_path_factory.mktemp("connect"), free_port()
    settings = {**SETTINGS, "spark.connect.grpc.binding.port": str(port), "spark.sql.warehouse.dir": f"{folder}/w"}
    conf = [part for key, value in settings.items() for part in ("--conf", f"{key}={value}")]
    command = [
        str(Path(pyspark.__path__[0]) / "bin" / "spark-submit"),
        "--class", "org.apache.spark.sql.connect.service.SparkConnectServer",
        "--jars", ",".join(map(str, delta_jars())),
        *conf,
    ]  # fmt: skip
    with server("connect", command, logs=folder, environment=environment(), ready=lambda: listening(port)):
        yield f"sc://127.0.0.1:{port}"


def scoreline(*arguments: str) -> dict[str, Any]:
    """The command in a process of its own, which has no Java to start."""
    command = [sys.executable, "-m", "scoreline.cli.main", *arguments, "--json"]
    without_java = {**environment(), "JAVA_HOME": "/nonexistent", "PATH": "/usr/bin/false"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=240, env=without_java)
    assert done.returncode == 0, done.stdout[-500:] + done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_whole_job_runs_through_connect(
    connect: str, registry: Any, pipeline: Any, ingested: Path, tmp_path: Path
) -> None:
    root = tmp_path / "tables"  # where `pipeline` looks, too
    shutil.copytree(ingested, root, ignore=shutil.ignore_patterns(".*.lock"))
    config = tmp_path / "remote.yaml"
    columns = {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}
    config.write_text(
        yaml.safe_dump(
            {
                "name": "test",
                "tables": {"root": str(root)},
                "events": {"columns": columns, "weight_range": [0, 10]},
                "histories": {"buckets": 8},
                "model": {"uri": "models:/films/1", "folder": str(tmp_path / "fetched")},
                "mlflow": {"tracking_uri": registry.uri, "experiment": "runs"},
                "scoring": {"k": 5},
                "spark": {"spark.remote": connect},
            }
        )
    )
    first = scoreline("run", "--config", str(config))
    assert (first["state"], first["audit"]["scored"]) == ("published", 60)
    assert published(pipeline()) == expected(pipeline(), registry.films["1"], k=5)
    before = published(pipeline())

    news = write_events(tmp_path / "news.csv", [*events_of()[:3], (7, before[7][0], 5, 1_780_000_000)])
    assert scoreline("ingest", "--config", str(config), "--events", news)["users_changed"] == 1
    second = scoreline("run", "--config", str(config))
    assert second["reasons"] == {"changed": 1}
    assert published(pipeline()) == expected(pipeline(), registry.films["1"], k=5) != before
    scoreline("rollback", "--config", str(config))
    assert published(pipeline()) == before
    assert pipeline().tables.names("_staging_") == []
