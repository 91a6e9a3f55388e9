"""The job as a cluster starts it: `spark-submit jobs/score_users.py`, in processes of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyspark
import pytest
import yaml

from builders import context
from integration.conftest import copied
from integration.truth import published
from quick import QUICK
from scoreline.engine.jars import delta_jars
from scoreline.engine.java import ensure_java
from scoreline.engine.session import STATIC

ROOT = Path(__file__).parents[3]
# code is generated here and plans adapt, as in production
OTHERWISE = ("codegen", "adaptive", "master")
SUBMITTED = {
    **{key: value for key, value in QUICK.items() if not any(part in key for part in OTHERWISE)},
    "spark.ui.enabled": "false",
}


@pytest.fixture
def config(registry: Any, ingested: Path, tmp_path: Path) -> Path:
    """Ingested events and version 1 of `films`."""
    copied(ingested, tmp_path / "submitted")
    path = tmp_path / "submitted.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "name": "test",
                "tables": {"root": str(tmp_path / "submitted")},
                "histories": {"buckets": 8},
                "model": {"uri": "models:/films/1", "folder": str(registry.folder)},
                "mlflow": {"tracking_uri": registry.uri, "experiment": "runs"},
                "scoring": {"k": 5},
            }
        )
    )
    return path


def java() -> Path:
    """Pip's where there is no other; this process's environment stays as it was."""
    before = dict(os.environ)
    try:
        return ensure_java()
    finally:
        os.environ.clear()
        os.environ.update(before)


def submit(config: Path, settings: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    spark_submit = Path(pyspark.__path__[0]) / "bin" / "spark-submit"
    conf = [part for key, value in {**SUBMITTED, **settings}.items() for part in ("--conf", f"{key}={value}")]
    job = [str(ROOT / "jobs" / "score_users.py"), "--config", str(config), "--json"]
    # nothing of this process's own session
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYSPARK_", "SPARK_", "MLFLOW_"))}
    environment = {**inherited, "PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(ROOT / "src")}
    environment |= {"SPARK_LOCAL_IP": "127.0.0.1", "JAVA_HOME": str(java())}
    command = [str(spark_submit), "--master", "local[2]", *options, *conf, *job]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=240, env=environment, cwd=config.parent
    )


@pytest.mark.long
def test_it_publishes_what_a_run_in_this_process_publishes(config: Path, ran: Any, spark: Any) -> None:
    jars = ",".join(str(jar) for jar in delta_jars())
    done = submit(config, STATIC, "--jars", jars)
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert (report["state"], report["audit"]["scored"]) == ("published", 60)
    assert published(context(spark, config.parent / "submitted")) == published(ran())


def test_without_delta_it_says_what_to_add(config: Path) -> None:
    done = submit(config, {})
    assert done.returncode == 2, done.stderr[-2000:]
    # spark-submit sends what Python says to standard output, and its own surprise to standard error
    [said] = done.stdout.splitlines()
    assert said.startswith("error: The Spark session that exists has no Delta Lake. Start it with --packages io.delta:")
