"""The commands as an operator types them: `scoreline serve`, and MLflow alone with the env file."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pandas as pd
import pytest
import requests
import yaml

from online.conftest import TODAY, Registry, World, free_port
from scoreline_fraud.demo import export_snapshot
from scoreline_fraud.features.windows import TransactionLog
from scoreline_fraud.server.server import _group_lives
from scoreline_fraud.server.settings import env_file, load_settings

pytestmark = [pytest.mark.slow, pytest.mark.alone, pytest.mark.timeout(600), pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def config(world: World, registry: Registry, tmp_path: Path) -> Path:
    today = pd.Timestamp.now(tz="UTC").floor("D")
    rows = world.rows.assign(occurred_at=world.rows["occurred_at"] + (today - TODAY))
    export_snapshot(TransactionLog(rows), today, tmp_path)
    document = {
        "model": "models:/card_fraud@champion",
        "tracking_uri": registry.uri,
        "state_dir": str(tmp_path / "state"),
        "server": {"port": free_port(), "workers": 2, "log_level": "warning"},
        "rules": {"features": {"snapshot": str(tmp_path / "current.sqlite")}},
    }
    (tmp_path / "fraud.yaml").write_text(yaml.safe_dump(document))
    return tmp_path / "fraud.yaml"


@contextmanager
def started(command: list[str], *, port: int, env: dict[str, str]) -> Iterator[tuple["subprocess.Popen[str]", str]]:
    process = subprocess.Popen(command, env=env, start_new_session=True, stderr=subprocess.PIPE, text=True)
    url = f"http://127.0.0.1:{port}"
    try:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            try:
                requests.get(f"{url}/ping", timeout=1)
                break
            except requests.RequestException:
                time.sleep(0.2)
        yield process, url
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def reason(url: str) -> str:
    answer = requests.post(f"{url}/invocations", json={"inputs": [{}]}, timeout=10).json()["predictions"][0]
    return str(answer["reasons"][0])


def version(url: str) -> str:
    answer = requests.post(f"{url}/invocations", json={"inputs": [{}]}, timeout=10).json()["predictions"][0]
    return str(answer["model_version"])


def test_scoreline_serve_swaps_at_sighup_and_stops_at_sigterm(config: Path, registry: Registry) -> None:
    command = [sys.executable, "-c", "from scoreline.cli.main import entry; entry()", "serve", "--config", str(config)]
    port = load_settings(config).server.port
    with started(command, port=port, env=dict(os.environ)) as (process, url):
        first = version(url)
        wanted = f"card_fraud/{registry.log()}"
        process.send_signal(signal.SIGHUP)
        deadline, seen = time.monotonic() + 120, set[str]()
        while wanted not in seen and time.monotonic() < deadline:
            seen.add(version(url))
            time.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        code = process.wait(60)
        log = process.stderr.read() if process.stderr else ""
    assert first != wanted
    assert wanted in seen
    assert (code, f"swapping_to={wanted}" in log) == (0, True)
    assert not _group_lives(process.pid)


def test_mlflow_alone_serves_with_the_env_file(config: Path) -> None:
    settings = load_settings(config)
    (config.parent / "fraud.env").write_text(env_file(settings))
    bin_folder = Path(sys.executable).parent
    command = [str(bin_folder / "mlflow"), "--env-file", str(config.parent / "fraud.env"), "models", "serve",
               "-m", settings.model, "--env-manager", "local"]  # fmt: skip
    bare = {"PATH": f"{bin_folder}:/usr/bin:/bin", "HOME": str(config.parent)}
    with started(command, port=settings.server.port, env=bare) as (_, url):
        assert reason(url) == "invalid:transaction_id"
