"""The n-th call to the storage fails, for n = 1, 2, …: one message, and the next run goes through.

The first 20 calls fail one by one; of the rest as many as there are rounds for, spread by dice, until a run passes.
"""

import os
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from builders import NOW, context, write_events
from faults.alone.sessions import compiled, on_failing_storage
from faults.poison import save
from faults.tally import Tally
from scoreline.engine.jars import delta_jars
from scoreline.errors import RunFailed, ScorelineError
from scoreline.ingest.ingest import ingest_events
from scoreline.pipeline.run import run

FAULT = "I/O fails at the n-th call"
ROUNDS = int(os.environ.get("SCORELINE_FAULT_ROUNDS", "100"))
EACH = 20


@pytest.fixture(scope="module")
def classes(alone: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled(tmp_path_factory.mktemp("classes"))


@pytest.fixture(scope="module")
def spark(classes: Path) -> Iterator[SparkSession]:
    session = on_failing_storage(classes)
    yield session
    session.stop()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_first_commit_that_takes_long_is_left_alone(
    spark: SparkSession, classes: Path, tmp_path: Path, tally: Tally
) -> None:
    """Another host makes the tables on a store where each commit takes six seconds to be seen."""
    tables = tmp_path / "tables"
    theirs = write_events(tmp_path / "theirs.csv", [(user, 1, 5, 1_700_000_000) for user in range(20)])
    ours = write_events(tmp_path / "ours.csv", [(user, 2, 5, 1_700_000_000) for user in range(10, 30)])
    command = [sys.executable, "-m", "faults.alone.slow_host", str(classes), f"failing://{tables}", theirs, "6000"]
    jars = tmp_path / "jars"
    jars.mkdir()
    for jar in delta_jars():
        shutil.copy(jar, jars)
    path = os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])
    elsewhere = {"HOME": str(tmp_path / "home"), "SCORELINE_JARS": str(jars), "PYTHONPATH": path}
    with subprocess.Popen(command, env={**os.environ, **elsewhere}) as slow_host:
        while not list(tables.rglob("_delta_log")):
            assert slow_host.poll() is None
            time.sleep(0.1)
        here = context(spark, f"failing://{tables}", now=NOW, name="slow")
        with pytest.raises(RunFailed, match=r"log without a commit, touched \d s ago: another host may be making"):
            ingest_events(here, ours)
        assert slow_host.wait() == 0
    ingest_events(here, ours)
    histories = here.tables.table("user_history").read().select("user_id", "item_ids").collect()
    both = {user: ({1} if user < 20 else set()) | ({2} if user >= 10 else set()) for user in range(30)}
    assert sorted((row.user_id, set(row.item_ids)) for row in histories) == sorted(both.items())
    tally("a store that answers slowly", "first ingest of two hosts")


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_each_failing_call_is_one_message_and_can_be_run_again(
    spark: SparkSession, tmp_path: Path, tally: Tally, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # the lock of tables that are not in a local folder
    storage: Any = spark._jvm.scoreline.faults.FailingFileSystem  # type: ignore[union-attr]
    model = save(tmp_path / "model")
    events = write_events(tmp_path / "e.csv", [(user, user % 9 + 1, 5, 1_700_000_000) for user in range(40)])

    def made(root: Path) -> Any:
        return context(
            spark,
            f"failing://{root / 'tables'}",
            now=NOW,
            name="failing",
            model={"uri": str(model), "folder": str(tmp_path / "fetched")},
            mlflow={"tracking_uri": f"sqlite:///{tmp_path / 'mlflow.db'}"},
            scoring={"k": 3, "slice_users": 20},
        )

    storage.arm(0)
    ingest_events(made(tmp_path / "fresh"), events)
    storage.arm(0)
    whole = _run(made, tmp_path, "whole")
    stride, dice = max(1, storage.calls() // ROUNDS), random.Random(8)
    n = 0
    while True:
        n += 1 if n < EACH else dice.randint(1, 2 * stride - 1)
        root = tmp_path / str(n)
        shutil.copytree(tmp_path / "fresh", root)
        storage.arm(n)
        # whatever fails is one of our errors: anything else is a stack trace to the user, and fails this test
        with suppress(ScorelineError):
            run(made(root))
        passed = storage.calls() < n
        storage.arm(0)
        _an_hour_later(root)
        run(made(root))
        assert _rows(made(root)) == whole, n
        shutil.rmtree(root)
        tally(FAULT, "each call" if n <= EACH else f"one of {stride} calls")
        if passed:
            break


def _an_hour_later(root: Path) -> None:
    """Logs that got no commit look as if they had been left an hour ago: until then somebody may be at them."""
    for log in root.rglob("_delta_log"):
        if not list(log.glob("[0-9]*.json")):
            for path in [*log.iterdir(), log, log.parent]:
                at = path.stat().st_mtime - 3_600
                os.utime(path, (at, at))


def _run(made: Any, folder: Path, name: str) -> list[str]:
    shutil.copytree(folder / "fresh", folder / name)
    run(made(folder / name))
    return _rows(made(folder / name))


def _rows(found: Any) -> list[str]:
    return sorted(map(str, found.tables.table("recommendations").read().drop("run_id").collect()))
