"""Overlapping runs, ingests, promotions, rollbacks and exports: one winner, the newest; readers never see a mixture."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

from builders import NOW, write_events
from faults.tally import Tally
from integration.races import just_before, without_locks
from integration.truth import expected, published
from logs import publication
from scoreline.context import Context
from scoreline.engine.frames import collected
from scoreline.errors import Superseded
from scoreline.export.export import export
from scoreline.ingest.ingest import ingest_events
from scoreline.pipeline import publish as publish_module
from scoreline.pipeline.fence import next_sequence, replace_all, replace_some
from scoreline.pipeline.rollback import roll_back
from scoreline.pipeline.run import run
from scoreline.tables.delta import Table, Tables
from strangers import another

HOUR = timedelta(hours=1)
FAULT = "overlapping runs with readers"
READS = 20  # for each race, at least


@pytest.fixture(autouse=True)
def _the_suites_session_again(spark: SparkSession) -> Iterator[None]:
    yield
    spark.createDataFrame([], "nothing int")  # of two sessions a thread's active one is that which did this last


def waking_up_late(monkeypatch: pytest.MonkeyPatch, meanwhile: Any) -> None:
    """Just before the next run publishes, something else happens."""
    just_before(monkeypatch, publish_module, "publish_staged", meanwhile)
    without_locks(monkeypatch)


@pytest.mark.slow  # `make faults`
def test_an_old_run_that_wakes_up_late_is_superseded(ran: Any, registry: Any, monkeypatch: Any, tally: Tally) -> None:
    waking_up_late(monkeypatch, lambda: run(ran("films/2", now=NOW + 2 * HOUR), full_refresh=True))
    with pytest.raises(Superseded, match="a newer run or rollback has published"):
        run(ran(now=NOW + HOUR), full_refresh=True)
    assert published(ran()) == expected(ran(), registry.films["2"], k=5)
    states = [
        r["state"] for r in ran().tables.table("runs").read().where("kind = 'run'").orderBy("started_at").collect()
    ]
    assert states == ["published", "superseded", "published"]
    tally(FAULT, "an old run that wakes up late")


@pytest.mark.slow  # `make faults`
def test_an_old_merge_that_wakes_up_late_is_superseded(
    ran: Any, registry: Any, monkeypatch: Any, tmp_path: Path, tally: Tally
) -> None:
    ingest_events(ran(now=NOW + HOUR), write_events(tmp_path / "n.csv", [(7, 33, 5, 1_780_000_000)]))
    waking_up_late(monkeypatch, lambda: run(ran("films/2", now=NOW + 2 * HOUR), full_refresh=True))
    with pytest.raises(Superseded):
        run(ran(now=NOW + HOUR))
    assert published(ran()) == expected(ran(), registry.films["2"], k=5)
    tally(FAULT, "an old merge that wakes up late")


def test_a_rollback_during_a_run_wins(ran: Any, registry: Any, monkeypatch: Any, tally: Tally) -> None:
    run(ran("films/2", now=NOW + HOUR), full_refresh=True)
    waking_up_late(monkeypatch, lambda: roll_back(ran(now=NOW + 3 * HOUR)))
    with pytest.raises(Superseded):
        run(ran("films/2", now=NOW + 2 * HOUR), full_refresh=True)
    assert published(ran()) == expected(ran(), registry.films["1"], k=5)
    tally(FAULT, "rollback during a run")


@pytest.mark.slow  # `make faults`
def test_an_ingest_and_a_promotion_during_a_run_are_for_the_next(
    filled: Any, registry: Any, monkeypatch: Any, tmp_path: Path, tally: Tally
) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(registry.uri)
    client.set_registered_model_alias("films", "overlap", "1")
    truth = expected(filled(), registry.films["1"], k=5)

    def meanwhile() -> None:
        ingest_events(filled(now=NOW + HOUR), write_events(tmp_path / "n.csv", [(7, 33, 5, 1_780_000_000)]))
        client.set_registered_model_alias("films", "overlap", "2")

    waking_up_late(monkeypatch, meanwhile)
    report = run(filled("films@overlap"))
    assert report.model == "films version 1"
    assert published(filled()) == truth
    report = run(filled("films@overlap", now=NOW + 2 * HOUR))
    assert (report.model, report.audit.scored) == ("films version 2", 60)
    assert published(filled()) == expected(filled(), registry.films["2"], k=5)
    tally(FAULT, "ingest and promotion during a run")


@pytest.mark.slow  # `make faults`
def test_an_export_during_a_publish_sends_one_of_the_two(ran: Any, monkeypatch: Any, tally: Tally) -> None:
    seen = []
    waking_up_late(monkeypatch, lambda: seen.append(export(ran(now=NOW + HOUR)).version))
    run(ran("films/2", now=NOW + HOUR), full_refresh=True)
    assert seen == [1]
    report = export(ran(now=NOW + 2 * HOUR))
    assert (report.previous, report.replaced) == (1, 60)
    tally(FAULT, "export during publish")


@pytest.mark.both
@pytest.mark.parametrize("races", [2, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(1_800)])])
def test_racing_publishers_one_winner_and_whole_tables(races: int, filled: Any, tally: Tally) -> None:
    """Two writers with another number each, at once; readers look all the time: each sees the rows of one writer."""
    made: Context = filled()
    run(made)
    target = made.tables.table("recommendations")
    rows = collected(target.read())
    over, reads, torn = threading.Event(), [0], []

    def look() -> None:
        table = _elsewhere(made)
        while not over.is_set():
            found = collected(table.read().select("run_id")).column("run_id").to_pylist()
            reads[0] += 1
            if len(set(found)) != 1 or len(found) != 60:
                torn.append(found)

    with ThreadPoolExecutor(4) as pool:
        readers = [pool.submit(look) for _ in range(2)]
        try:
            for race in range(races):
                older = next_sequence(target.commits())
                jobs = [
                    pool.submit(_publish, made, rows, sequence, merge=(race + step) % 2 == 0)
                    for step, sequence in enumerate((older, older + 1))
                ]
                outcomes = [job.result() for job in jobs]
                assert outcomes[1] == "published", outcomes
                winner = target.read().select("run_id").distinct().collect()
                assert [row[0] for row in winner] == [f"run {older + 1}"]
                tally(FAULT, "races")
                while reads[0] < READS * (race + 1) and not torn and not any(reader.done() for reader in readers):
                    time.sleep(0.1)
        finally:
            over.set()  # else the readers read on, and nobody sees what went wrong
        for reader in readers:
            reader.result()
    assert torn == []
    assert reads[0] >= READS * races
    tally(FAULT, "reads", times=reads[0])


def _elsewhere(made: Context) -> Table:
    """The table in a session of its own, as another process has it."""
    return Tables(another(made.spark), made.settings.tables).table("recommendations")


def _publish(made: Context, rows: Any, sequence: int, *, merge: bool) -> str:
    table = _elsewhere(made)
    mine = table.spark.createDataFrame(rows, table.read().schema).withColumn("run_id", F.lit(f"run {sequence}"))
    note = publication(run_id=f"run {sequence}", users=60, sequence=sequence)
    try:
        if merge:
            replace_some(table, mine.withColumn("_left", F.lit(False)), note)
        else:
            replace_all(table, mine, note)
    except Superseded:
        return "superseded"
    return "published"
