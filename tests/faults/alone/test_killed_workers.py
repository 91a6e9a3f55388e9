"""On a cluster of processes, with the settings for shared ones: a Python worker or an executor is killed, same rows."""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from builders import NOW, context, write_events
from faults.poison import save
from faults.tally import Tally
from quick import QUICK
from scoreline.engine.session import get_session
from scoreline.ingest.ingest import ingest_events
from scoreline.pipeline.run import run

SHARED = Path(__file__).parents[3] / "conf" / "deploy" / "shared-cluster.conf"
DAEMON = "-m scoreline.pipeline.worker_daemon"  # of Python workers, and they themselves: forks keep its command line
VICTIMS = {"a Python worker": (10, DAEMON), "an executor": (5, "CoarseGrainedExecutorBackend")}


@pytest.fixture(scope="module")
def spark(alone: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SparkSession]:
    """Two executors with a core each."""
    import pyspark

    os.environ.setdefault("SPARK_HOME", str(Path(pyspark.__file__).parent))
    lines = [line.split(None, 1) for line in SHARED.read_text().splitlines() if line and not line.startswith("#")]
    session = get_session(
        "killed workers",
        {
            **QUICK,
            **{key: value.strip() for key, value in lines},
            "spark.master": "local-cluster[2,1,1024]",
            "spark.executor.memory": "700m",
            "spark.authenticate.secret": f"{random.getrandbits(128):x}",
            "spark.sql.warehouse.dir": str(tmp_path_factory.mktemp("warehouse")),
            "spark.executorEnv.PYTHONPATH": os.pathsep.join(
                [str(Path(__file__).parents[3] / "src"), str(Path(__file__).parents[2])]
            ),
        },
    )
    yield session
    session.stop()


@pytest.mark.slow
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("victim", VICTIMS)
def test_a_killed_process_changes_nothing(spark: SparkSession, tmp_path: Path, victim: str, tally: Tally) -> None:
    rounds, process = VICTIMS[victim]
    model, dice = save(tmp_path / "model"), random.Random(7)
    events = write_events(tmp_path / "e.csv", [(user, 9100, 5, 1_700_000_000) for user in range(40)])
    spark.conf.set("spark.sql.execution.arrow.maxRecordsPerBatch", 5)

    def made() -> Any:
        return context(
            spark,
            tmp_path / "tables",
            now=NOW,
            model={"uri": str(model), "folder": str(tmp_path / "fetched")},
            scoring={"k": 3},
        )

    ingest_events(made(), events)
    run(made())
    whole = _rows(made())
    killed = tries = 0
    while killed < rounds:
        tries += 1
        assert tries < 5 * rounds, f"of {tries} runs only {killed} had a process to kill"
        over, found = threading.Event(), []
        killer = threading.Thread(target=_kill_one, args=(process, dice.uniform(0.2, 2.0), over, found))
        killer.start()
        report = run(made(), full_refresh=True, restart=True)
        over.set()
        killer.join()
        assert report.audit.failed == 0
        assert _rows(made()) == whole
        if found:
            killed += 1
            tally("Python worker / executor killed (local-cluster)", victim)


def _rows(found: Any) -> list[str]:
    return sorted(map(str, found.tables.table("recommendations").read().drop("run_id").collect()))


def _kill_one(process: str, delay: float, over: threading.Event, found: list[int]) -> None:
    """Kill one of the processes while a run goes on; of Python's the workers, not the daemon that forks them."""
    time.sleep(delay)
    while not over.is_set():
        victims = [pid for pid, command, children in _descendants() if process in command and not children]
        if victims:
            os.kill(random.choice(victims), signal.SIGKILL)
            found.extend(victims[:1])
            return
        time.sleep(0.01)


def _descendants() -> list[tuple[int, str, bool]]:
    """Our processes below this one: id, command, and whether it has Python children of its own."""
    parents: dict[int, int] = {}
    commands: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            parents[int(folder.name)] = int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
            commands[int(folder.name)] = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except (OSError, ValueError, IndexError):
            continue
    below: set[int] = {os.getpid()}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in below} - below
        below |= more
        grown = bool(more)
    daemons = {parents[pid] for pid in below if pid in parents and DAEMON in commands.get(pid, "")}
    return [
        (pid, commands[pid], pid in daemons and DAEMON in commands[pid])
        for pid in below - {os.getpid()}
        if pid in commands
    ]
