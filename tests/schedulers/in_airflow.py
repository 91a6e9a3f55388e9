"""conf/deploy/airflow in Airflow itself, run by `make compat`: the name keeps it out of the ordinary suite."""

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from schedulers.stub import CASES, STARTED, calls, installed


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Airflow's folder, with its database; Airflow reads these variables when it is imported."""
    folder = tmp_path_factory.mktemp("airflow")
    os.environ.update(AIRFLOW_HOME=str(folder), AIRFLOW__CORE__LOAD_EXAMPLES="False")
    from airflow.utils.db import initdb

    initdb()
    return folder


def load(file: Path) -> Any:
    from airflow.dag_processing.dagbag import DagBag

    bag = DagBag(file, bundle_name="dags-folder")
    assert bag.import_errors == {}
    [dag] = bag.dags.values()
    return dag


def test_airflow_reads_the_file(home: Path) -> None:
    dag = load(installed("airflow/scoreline_dag.py", home, [0]))
    assert [(task.task_id, task.downstream_task_ids) for task in dag.topological_sort()] == [
        ("ingest", {"run"}), ("run", {"export"}), ("export", set())
    ]  # fmt: skip
    assert (dag.timetable.expression, str(dag.timetable.timezone)) == ("30 2 * * *", "Europe/Berlin")
    assert (dag.catchup, dag.max_active_runs) == (False, 1)


@pytest.mark.parametrize(("codes", "started", "well"), CASES)
def test_airflow_tries_again_what_may_go_better(
    codes: list[int | str], started: list[str], well: set[str], home: Path
) -> None:
    run = load(installed("airflow/scoreline_dag.py", home, codes)).test()
    states = {task.task_id: str(task.state) for task in run.get_task_instances()}
    assert calls(home) == [f"{STARTED[step]} --quiet" for step in started]
    ends = {"ingest": "success", "run": "failed", "export": "upstream_failed"}
    assert states == {step: "success" if step in well else end for step, end in ends.items()}


def test_airflow_stops_the_command_with_the_task(home: Path) -> None:
    task = load(installed("airflow/scoreline_dag.py", home, ["hangs"])).get_task("run")

    def stop() -> None:
        while not calls(home):
            time.sleep(0.05)
        task.on_kill()

    threading.Thread(target=stop, daemon=True).start()
    with pytest.raises(RuntimeError, match="exit code -15"):
        task.execute({})
