"""Beside other writers: whoever they leave due is found by the next run, and nobody is there twice."""

import json
import os
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from builders import NOW, context, write_events
from integration.races import just_before, without_locks
from integration.truth import expected, histories, published
from scoreline.config.settings import TablesSettings
from scoreline.errors import InputError, RunFailed, Superseded
from scoreline.ingest import ingest
from scoreline.ingest.ingest import ingest_events
from scoreline.operations.doctor import _table
from scoreline.operations.repair import repair_histories
from scoreline.pipeline import fence
from scoreline.pipeline import publish as publish_module
from scoreline.pipeline.published import published_table
from scoreline.pipeline.rollback import roll_back
from scoreline.pipeline.run import plan_run, run
from scoreline.pipeline.snapshot import open_run
from scoreline.tables import delta as tables_module
from scoreline.tables import schema
from scoreline.tables.delta import Table, Tables
from scoreline.tables.history import Commit
from strangers import another, forget, restore, update

HOUR = timedelta(hours=1)


def table(made: Any) -> Any:
    return made.tables.table("recommendations")


def test_users_whom_a_stranger_deletes_while_a_run_scores_are_found_by_the_next(
    ran: Any, registry: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ingest_events(ran(now=NOW + HOUR), write_events(tmp_path / "n.csv", [(7, 33, 5, 1_780_000_000)]))
    just_before(monkeypatch, publish_module, "publish_staged", lambda: table(ran()).delete("user_id < 6"))
    assert run(ran(now=NOW + HOUR)).state == "published"
    assert len(published(ran())) == 55
    report = run(ran(now=NOW + 2 * HOUR))
    assert report.reasons == {"new": 5}
    assert published(ran()) == expected(ran(), registry.films["1"], k=5)
    assert run(ran(now=NOW + 3 * HOUR)).state == "nothing_due"


def test_a_user_whose_row_a_stranger_doubles_has_one_again(ran: Any, registry: Any) -> None:
    row = table(ran()).read().where("user_id = 7")
    table(ran()).write(row, "append")
    nulls = row.select("user_id", "bucket").withColumn("user_id", F.lit(8).cast("long"))
    table(ran()).write(nulls, "append")
    report = run(ran(now=NOW + HOUR))
    assert report.reasons == {"doubled": 2}
    assert table(ran()).read().count() == 60
    assert published(ran()) == expected(ran(), registry.films["1"], k=5)
    assert run(ran(now=NOW + 2 * HOUR)).state == "nothing_due"


def test_what_a_stranger_does_before_a_restore_of_his_own_is_no_reason_to_compare(ran: Any) -> None:
    table(ran()).delete("user_id < 6")
    restore(table(ran()), 1)
    plan = plan_run(ran(now=NOW + HOUR))
    assert open_run(ran(now=NOW + HOUR), fraction=1.0, full_refresh=False).news is not None
    assert plan.due == 0
    restore(table(ran()), 2)
    plan = plan_run(ran(now=NOW + HOUR))
    assert open_run(ran(now=NOW + HOUR), fraction=1.0, full_refresh=False).news is None
    assert plan.reasons == {"new": 5}


def test_a_rollback_goes_to_what_readers_saw_before_not_to_a_run_that_was_taken_back(ran: Any) -> None:
    first = published(ran())
    bad = run(ran("films/2", now=NOW + HOUR))
    roll_back(ran(now=NOW + 2 * HOUR))
    run(ran("films/2", now=NOW + 3 * HOUR, scoring={"k": 4}))
    report = roll_back(ran(now=NOW + 4 * HOUR))
    assert report.run_id != bad.run_id
    assert published(ran()) == first


def test_a_run_that_publishes_during_a_rollback_is_not_wiped(ran: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rollback has read the log, on another host; it says so and changes nothing."""
    run(ran("films/2", now=NOW + HOUR))
    without_locks(monkeypatch)
    newer = ran("films/2", now=NOW + 2 * HOUR, scoring={"k": 4})
    just_before(monkeypatch, fence, "replace_all", lambda: run(newer))
    with pytest.raises(Superseded, match="a newer run or rollback has published"):
        roll_back(ran(now=NOW + 3 * HOUR))
    assert {len(items) for items in published(ran()).values()} == {4}


def test_a_host_whose_clock_is_ahead_does_not_undo_a_rollback(ran: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The run began before the rollback; its clock says that it began after it."""
    first = published(ran())
    run(ran("films/2", now=NOW + HOUR))
    without_locks(monkeypatch)
    just_before(monkeypatch, publish_module, "publish_staged", lambda: roll_back(ran(now=NOW + 2 * HOUR)))
    with pytest.raises(Superseded, match="a newer run or rollback has published"):
        run(ran("films/2", now=NOW + 3 * HOUR), full_refresh=True)
    assert published(ran()) == first


def test_verify_compares_what_the_logs_say_with_all_keys(ran: Any, registry: Any, caplog: Any) -> None:
    def notes() -> list[Commit]:
        return [c for c in table(ran()).commits() if c.kind == "verified"]

    report = run(ran(now=NOW + HOUR), verify=True)
    assert (report.state, report.verification.missed) == ("nothing_due", 0)  # type: ignore[union-attr]
    assert len(notes()) == 1
    # a log that lies: rows vanish by a commit that says it changes none
    table(ran()).delete("user_id < 6")
    log = Path(table(ran()).location, "_delta_log", f"{table(ran()).version():020d}.json")
    about, stat = json.loads(log.read_text().splitlines()[0]), log.stat()
    about["commitInfo"]["userMetadata"] = json.dumps({"kind": "verified"})
    log.write_text("\n".join([json.dumps(about), *log.read_text().splitlines()[1:]]))
    os.utime(log, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    forget(table(ran()))
    later = run(ran(now=NOW + 2 * HOUR))
    assert (later.state, later.verification) == ("nothing_due", None)
    report = run(ran(now=NOW + timedelta(days=7, hours=1)))  # audit.verify_every
    assert report.reasons == {"new": 5}
    assert report.verification is not None
    assert (report.verification.missed, report.verification.examples) == (5, (1, 2, 3))
    assert "did not tell of 5 due users (1, 2, 3, ...)" in caplog.text
    assert published(ran()) == expected(ran(), registry.films["1"], k=5)
    assert run(ran(now=NOW + timedelta(days=7, hours=2))).verification is None


def test_a_plan_makes_no_table(filled: Any) -> None:
    before = filled().tables.names("")
    plan = plan_run(filled())
    assert plan.reasons == {"new": 60}
    assert not table(filled()).exists()
    assert filled().tables.names("") == before


def test_columns_that_others_add_stay_theirs(ran: Any, registry: Any, tmp_path: Path) -> None:
    for name in ("user_history", "recommendations", "quarantine"):
        ran().tables.table(name).add_column(T.StructField("theirs", T.StringType()))
    update(table(ran()), {"theirs": "'x'"}, "user_id IN (7, 9)")
    news = [(user, 33, 5, 1_780_000_000) for user in (7, 500, 501, 502, 503, 504)] + [("bad", 1, 1, 1)]
    report = ingest_events(
        ran(now=NOW + HOUR),
        write_events(tmp_path / "n.csv", news),
    )
    assert (report.users_changed, report.rows_bad) == (6, 1)
    run(ran(now=NOW + HOUR))
    assert published(ran()) == expected(ran(), registry.films["1"], k=5)
    kept = table(ran()).read().where("theirs IS NOT NULL").select("user_id").collect()
    assert sorted(row[0] for row in kept) == [7, 9]
    run(ran("films/2", now=NOW + 2 * HOUR))  # all of the table at once
    assert published(ran()) == expected(ran(), registry.films["2"], k=5)


def test_two_first_ingests_at_once_give_each_user_one_row(
    pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have seen an empty table, on two hosts; one appends while the other is about to."""
    one = write_events(tmp_path / "one.csv", [(1, 10, 5, 1_700_000_000), (2, 10, 5, 1_700_000_000)])
    two = write_events(tmp_path / "two.csv", [(2, 11, 5, 1_700_000_001), (3, 11, 5, 1_700_000_001)])
    without_locks(monkeypatch, "scoreline.ingest.ingest")
    just_before(monkeypatch, ingest, "merge_histories", lambda: ingest_events(pipeline(), two))
    ingest_events(pipeline(now=NOW + HOUR), one)
    rows = pipeline().tables.table("user_history").read().select("user_id", "item_ids").collect()
    assert sorted((row[0], row[1]) for row in rows) == [(1, [10]), (2, [10, 11]), (3, [11])]


def test_first_ingests_that_run_beside_each_other_both_get_through(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three hosts make the tables at once, with the same events and the same bad row."""
    rows = [(user, 10, 5, 1_700_000_000) for user in range(8)] + [(9, 9, 99, 1)]
    events = write_events(tmp_path / "events.csv", rows)
    without_locks(monkeypatch, "scoreline.ingest.ingest")
    hosts = [context(another(spark), tmp_path / "tables", now=NOW + hour * HOUR) for hour in range(3)]
    with ThreadPoolExecutor(3) as threads:
        read = [report.rows_good for report in threads.map(ingest_events, hosts, [events] * 3)]
    assert read == [8, 8, 8]
    tables = context(spark, tmp_path / "tables").tables
    found = tables.table("user_history").read().select("user_id", "item_ids").collect()
    assert sorted((row[0], row[1]) for row in found) == [(user, [10]) for user in range(8)]
    assert [row.raw_row for row in tables.table("quarantine").read().collect()] == ["9,9,99,1"]


@pytest.mark.both
@pytest.mark.parametrize("before", ["quarantine", "user_history"])
def test_an_ingest_of_another_host_between_reading_and_merging_is_not_lost(
    before: str, pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both have good and bad rows, some of them the same, of users who are known already."""
    again, bad = [(1, 10, 5, 1_700_000_000)] * 4, (9, 9, 99, 1)
    events = {name: write_events(tmp_path / f"{name}.csv", rows) for name, rows in {
        "base": [(user, 10, 5, 1_700_000_000) for user in (1, 2, 3)],
        "one": [*again, (1, 11, 5, 1_700_000_001), (2, 11, 5, 1_700_000_001), (4, 11, 5, 1_700_000_001), bad],
        "two": [*again, (2, 12, 5, 1_700_000_002), (3, 12, 5, 1_700_000_002), (4, 12, 5, 1_700_000_002), bad],
    }.items()}  # fmt: skip
    ingest_events(pipeline(), events["base"])
    without_locks(monkeypatch, "scoreline.ingest.ingest")
    kind = type(pipeline().tables.table(before))
    merge = "merge" if kind is Table else "_merge"  # without Spark: of a version that has been looked at
    real = getattr(kind, merge)

    def late(table: Table, *args: Any) -> Any:
        if table.name == before:
            monkeypatch.setattr(kind, merge, real)
            ingest_events(pipeline(), events["two"])
        return real(table, *args)

    monkeypatch.setattr(kind, merge, late)
    ingest_events(pipeline(now=NOW + HOUR), events["one"])
    rows = pipeline().tables.table("user_history").read().select("user_id", "item_ids").collect()
    assert sorted((row[0], row[1]) for row in rows) == [
        (1, [10, 11]), (2, [10, 11, 12]), (3, [10, 12]), (4, [11, 12]),
    ]  # fmt: skip
    assert pipeline().tables.table("quarantine").read().count() == 2  # one a file


def test_a_doubled_history_is_found_and_repaired(ran: Any, registry: Any, tmp_path: Path) -> None:
    history = ran().tables.table("user_history")
    before = histories(ran())
    rows = history.read().where("user_id IN (7, 8)")
    older = rows.withColumns({n: F.slice(n, 1, 2) for n in ("item_ids", "weights", "event_times")})
    history.write(older, "append")
    assert [check.found for check in _table(ran(), "user_history") if check.verdict == "bad"] == [
        "2 users have two rows"
    ]
    assert repair_histories(ran(now=NOW + HOUR)).users == 2
    assert (history.read().count(), histories(ran())) == (60, before)
    assert repair_histories(ran(now=NOW + HOUR)).users == 0
    assert [check.verdict for check in _table(ran(), "user_history")] == ["ok"]
    assert run(ran(now=NOW + 2 * HOUR)).state == "nothing_due"


def test_a_rollback_takes_the_table_that_the_pipeline_has_published_to(ran: Any, tmp_path: Path) -> None:
    """Another pipeline over the same tables has published predictions, and this one has not."""
    first = published(ran())
    run(ran("films/2", now=NOW + HOUR))
    other = ran().tables.table("predictions")
    note = json.dumps({"kind": "publish", "pipeline": "other", "run_id": "theirs", "base_version": 0})
    for _ in range(2):
        other.write(table(ran()).read(), "append", {"userMetadata": note})
    assert published_table(ran().tables, "other").name == "predictions"
    assert roll_back(ran(now=NOW + 2 * HOUR)).table == table(ran()).location
    assert published(ran()) == first
    with pytest.raises(InputError, match="No run theirs was published by pipeline test"):
        roll_back(ran(), run_id="theirs")


@pytest.mark.spark  # the other engine has no tables on shared storage
def test_a_log_that_another_host_has_just_begun_is_not_removed(
    filled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On shared storage, which may be slow: the first commit comes seconds later."""
    made = filled()
    fields = schema.recommendations(made.keys)
    other = Tables(made.spark, TablesSettings(root=str(tmp_path / "other"))).table("recommendations")
    other.create(fields)
    monkeypatch.setattr(tables_module, "is_shared", lambda _: True)
    log = Path(table(made).location, "_delta_log")
    log.mkdir(parents=True)
    with pytest.raises(RunFailed, match=r"log without a commit, touched .* another host may be making the table"):
        table(made).create(fields)
    shutil.copy(Path(other.location, "_delta_log", f"{0:020}.json"), log)
    table(made).create(fields)
    assert [c.version for c in table(made).commits()] == [0]
    assert table(made).detail()["id"] == other.detail()["id"]
    table(made).drop()
    log.mkdir(parents=True)
    long_ago = time.time() - 3_600
    for folder in (log, log.parent):
        os.utime(folder, (long_ago, long_ago))
    table(made).create(fields)
    assert table(made).detail()["id"] != other.detail()["id"]
