"""`ingest --new` is killed where it touches the world: each file is taken, none twice, as without the kill."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from builders import context, write_events
from embedded import rows
from faults.tally import Tally
from scoreline.ingest.ingest import ingest_events
from scoreline.ingest.new import ingest_new

pytest.importorskip("pysail")
FAULT = "ingest of new files killed"
ROUNDS = int(os.environ.get("SCORELINE_FAULT_ROUNDS", "100")) // 5
DRIVER = """
import json, sys
from scoreline.config.settings import Settings
from scoreline.context import open_context
from scoreline.ingest.new import ingest_new
given, place, mine = map(json.loads, sys.argv[1:])
made = open_context(Settings.model_validate({**given, "engine": "embedded"}))
if mine:
    from faults.driver import _mine
    _mine(*mine)
ingest_new(made, place)
"""
EVENTS = {"columns": {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}, "settle": "0s"}


def driver(made: Any, place: Path, mine: Any = None) -> "subprocess.Popen[bytes]":
    """A process that takes the new files, and dies at the mine."""
    settings = made.settings.model_dump(mode="json", exclude_unset=True)
    settings["events"]["settle"] = "0s"  # which a dump writes otherwise
    arguments = [json.dumps(part) for part in (settings, str(place), mine)]
    path = os.pathsep.join([str(Path(__file__).parents[1]), *sys.path])
    quiet = subprocess.DEVNULL
    return subprocess.Popen(
        [sys.executable, "-c", DRIVER, *arguments], env={**os.environ, "PYTHONPATH": path}, stdout=quiet, stderr=quiet,
        start_new_session=True,
    )  # fmt: skip


def remembered(made: Any) -> dict[str, Any]:
    found = made.tables.table("ingested_files")
    return {row["path"].rsplit("/", 1)[1]: row["refused"] for row in found.read().collect()} if found.exists() else {}


@pytest.fixture
def both(spark: SparkSession, tmp_path: Path) -> Any:
    """Tables that are killed at, tables that are not, and a folder with two files."""
    folder = tmp_path / "incoming"
    folder.mkdir()
    for number in (1, 2):
        write_events(folder / f"{number}.csv", [(number, 10, 3, 1_700_000_000), ("x", 1, 1, 1)])
    given = {"events": {**EVENTS, "max_bad_share": 0.5}}
    return context(spark, tmp_path / "killed", **given), context(spark, tmp_path / "calm", **given), folder


@pytest.mark.parametrize(
    ("mine", "merged", "files"),
    [
        (("before", "merge", 1), 0, 0),
        (("after", "merge", 1), 2, 0),
        (("before", "remember", 1), 2, 0),
        (("after", "remember", 1), 2, 2),
    ],
)
def test_killed_between_the_merge_and_the_memory_a_file_is_read_again_and_changes_nothing(
    both: Any, mine: Any, merged: int, files: int, tally: Tally
) -> None:
    killed, calm, folder = both
    assert driver(killed, folder, mine).wait() == -signal.SIGKILL
    table = killed.tables.table("user_history")
    version = table.version()
    assert (table.read().count(), len(remembered(killed))) == (merged, files)
    report = ingest_new(killed, str(folder))
    assert report.taken == 2 - files
    assert table.version() == version + (merged == 0)  # who has read them again has committed nothing
    assert ingest_new(killed, str(folder)).taken == 0
    ingest_events(calm, str(folder))
    stamps = ("updated_at", "added_at")
    assert rows(killed, "user_history", without=stamps) == rows(calm, "user_history", without=stamps)
    assert rows(killed, "quarantine", without=("ingested_at",)) == rows(calm, "quarantine", without=("ingested_at",))
    assert remembered(killed) == {"1.csv": None, "2.csv": None}
    tally(FAULT, "at a named point")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_killed_at_any_time_each_file_is_taken_once(both: Any, tally: Tally) -> None:
    killed, calm, folder = both
    dice, died = random.Random(5), 0
    for number in range(3, 3 + ROUNDS):
        write_events(folder / f"{number}.csv", [(dice.randint(1, 9), dice.randint(1, 99), 3, 1_700_000_000 + number)])
        process = driver(killed, folder)
        time.sleep(dice.uniform(0.5, 5.0))
        died += process.poll() is None
        with suppress(ProcessLookupError):  # it was through
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        tally(FAULT, "at random times")
    ingest_new(killed, str(folder))
    ingest_events(calm, str(folder))
    stamps = ("updated_at", "added_at")
    assert rows(killed, "user_history", without=stamps) == rows(calm, "user_history", without=stamps)
    assert remembered(killed) == {f"{number}.csv": None for number in range(1, 3 + ROUNDS)}
    assert died > ROUNDS / 3
