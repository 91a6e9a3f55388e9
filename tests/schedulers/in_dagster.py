"""conf/deploy/dagster in Dagster itself, run by `make compat`: the name keeps it out of the ordinary suite."""

import importlib.util
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from schedulers.stub import CASES, STARTED, calls, installed

STEPS = {"user_history": "ingest", "recommendations": "run", "exported_recommendations": "export"}


def load(file: Path) -> Any:
    spec = importlib.util.spec_from_file_location("definitions", file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_dagster_reads_the_file(tmp_path: Path) -> None:
    defs = load(installed("dagster/definitions.py", tmp_path, [0])).defs
    dg.Definitions.validate_loadable(defs)
    schedule = defs.resolve_schedule_def("nightly")
    assert (schedule.cron_schedule, schedule.execution_timezone) == ("30 2 * * *", "Europe/Berlin")


@pytest.mark.parametrize(("codes", "started", "well"), CASES)
def test_dagster_tries_again_what_may_go_better(
    codes: list[int | str], started: list[str], well: set[str], tmp_path: Path
) -> None:
    defs = load(installed("dagster/definitions.py", tmp_path, codes)).defs
    job = defs.resolve_job_def(defs.resolve_schedule_def("nightly").job_name)
    done = job.execute_in_process(raise_on_error=False)
    made = done.get_asset_materialization_events()
    assert calls(tmp_path) == [f"{STARTED[step]} --quiet --json" for step in started]
    reports = {STEPS[event.asset_key.to_user_string()]: event.materialization.metadata["report"] for event in made}
    assert reports == {step: dg.MetadataValue.json({"state": "published"}) for step in well}
    assert done.success == (well == set(STEPS.values()))
