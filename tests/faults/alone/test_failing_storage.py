"""The n-th call to the storage fails, for n = 1, 2, …: one message, and the next run goes through.

The first 20 calls fail one by one; of the rest as many as there are rounds for, spread by dice, until a run passes.
"""

import os
import random
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from builders import NOW, context, write_events
from faults.poison import save
from faults.tally import Tally
from quick import QUICK
from scoreline.errors import ScorelineError
from scoreline.ingest import ingest_events
from scoreline.run import run
from scoreline.session import get_session

FAULT = "I/O fails at the n-th call"
ROUNDS = int(os.environ.get("SCORELINE_FAULT_ROUNDS", "100"))
EACH = 20


@pytest.fixture(scope="module")
def spark(alone: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """A session that knows failing:///."""
    import pyspark

    if shutil.which("javac") is None:
        pytest.skip("needs a Java compiler")
    classes = tmp_path_factory.mktemp("classes")
    jars = Path(pyspark.__file__).parent / "jars" / "*"
    source = Path(__file__).with_name("FailingFileSystem.java")
    subprocess.run(["javac", "-cp", str(jars), "-d", str(classes), str(source)], check=True)
    kind = "scoreline.faults.FailingFileSystem"
    session = get_session(
        "failing storage",
        {
            **QUICK,
            "spark.driver.extraClassPath": str(classes),
            "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
            "spark.hadoop.fs.failing.impl": kind,
            "spark.hadoop.fs.failing.impl.disable.cache": "false",
            "spark.hadoop.fs.AbstractFileSystem.failing.impl": f"{kind}$Context",
        },
    )
    yield session
    session.stop()


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
        run(made(root))
        assert _rows(made(root)) == whole, n
        shutil.rmtree(root)
        tally(FAULT, "each call" if n <= EACH else f"one of {stride} calls")
        if passed:
            break


def _run(made: Any, folder: Path, name: str) -> list[str]:
    shutil.copytree(folder / "fresh", folder / name)
    run(made(folder / name))
    return _rows(made(folder / name))


def _rows(found: Any) -> list[str]:
    return sorted(map(str, found.tables.table("recommendations").read().drop("run_id").collect()))
