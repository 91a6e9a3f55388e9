"""The embedded engine is killed at any time, and commits beside Spark (`make faults`)."""

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

from builders import NOW, context, write_events
from embedded import HOUR, command, embedded, rows
from faults.tally import Tally
from integration.conftest import events_of
from scoreline.ingest.ingest import ingest_events
from scoreline.pipeline.run import run
from scoreline.tables.delta import Tables

pytest.importorskip("pysail")
pytestmark = [pytest.mark.spark, pytest.mark.slow, pytest.mark.timeout(1800)]
ROUNDS = int(os.environ.get("SCORELINE_FAULT_ROUNDS", "100")) // 5
RACES = 100
APPENDS = """
import json, sys
from pyspark.sql import functions as F
from scoreline.config.settings import TablesSettings
from scoreline.engine.embedded.sail import embedded_session
from scoreline.tables.delta import Tables
spark = embedded_session()
table = Tables(spark, TablesSettings(root=sys.argv[1])).table("both")
print("ready", flush=True)
sys.stdin.readline()
for number in range(int(sys.argv[2])):
    table.write(spark.range(1).select(F.lit(number).cast("long").alias("id"), F.lit("embedded").alias("by")), "append")
"""


def nights(folder: Path) -> list[str]:
    """A first night with everybody, then nights with news of a few users."""
    dice = random.Random(7)
    folder.mkdir()
    found = [write_events(folder / "0.csv", events_of())]
    for night in range(1, ROUNDS):
        news = [(dice.randint(1, 70), dice.randint(1, 40), 5, 1_780_000_000 + night) for _ in range(5)]
        found.append(write_events(folder / f"{night}.csv", news))
    return found


def test_a_night_that_is_killed_is_taken_up_by_either_engine(
    spark: SparkSession, registry: Any, tmp_path: Path, tally: Tally
) -> None:
    """Each night is killed somewhere, done again by one engine or the other, and ends as without the kills."""
    given = {
        "model": {"uri": "models:/films/1", "folder": str(registry.folder)},
        "mlflow": {"tracking_uri": registry.uri, "experiment": "runs"},
        "scoring": {"k": 5, "slice_users": 15},
    }
    dice, files = random.Random(3), nights(tmp_path / "events")
    killed = 0
    for night, file in enumerate(files):
        made, calm = (context(spark, tmp_path / name, now=NOW + night * HOUR, **given) for name in ("killed", "calm"))
        process = subprocess.Popen(
            command(made, ("ingest", file), ("run", {}), hours=night), stdout=subprocess.DEVNULL, start_new_session=True
        )
        time.sleep(dice.uniform(1.0, 7.0))
        killed += process.poll() is None
        with suppress(ProcessLookupError):  # it was through
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        if night % 3:
            reports = embedded(made, ("ingest", file), ("run", {}), hours=night)
            assert [report.get("error") for report in reports] == [None, None], night
        else:
            ingest_events(made, file)
            run(made)
        ingest_events(calm, file)
        run(calm)
        assert rows(made, "user_history") == rows(calm, "user_history"), night
        without = ("run_id", "scored_at")
        assert rows(made, "recommendations", without=without) == rows(calm, "recommendations", without=without), night
        tally("embedded engine killed at random times", "spark" if night % 3 == 0 else "embedded")
    assert killed > ROUNDS / 3


def test_of_both_engines_commits_none_is_lost(spark: SparkSession, tmp_path: Path, tally: Tally) -> None:
    made = context(spark, tmp_path)
    table = made.tables.table("both")
    table.create(spark.createDataFrame([], "id long, by string").schema)
    process = subprocess.Popen(
        [sys.executable, "-c", APPENDS, str(tmp_path), str(RACES)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdin is not None
    assert process.stdout.readline() == "ready\n"
    process.stdin.write("go\n")
    process.stdin.flush()
    mine = 0
    while process.poll() is None or mine < RACES:
        table.write(spark.createDataFrame([(mine, "spark")], "id long, by string"), "append")
        mine += 1
    assert process.returncode == 0
    found = sorted(map(tuple, Tables(spark, made.settings.tables).table("both").read().collect()))
    assert found == sorted([*((n, "embedded") for n in range(RACES)), *((n, "spark") for n in range(mine))])
    assert table.version() == RACES + mine
    tally("commits of both engines at once", times=RACES + mine)
