"""What a run costs, as `plan` says it, and runs that have only so much time: whole tables before and after."""

import json
import shutil
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from pyspark.sql import functions as F

from builders import NOW, write_events
from integration.truth import expected, published
from recorded import record
from scoreline.api import Pipeline
from scoreline.cli import nightly
from scoreline.errors import InputError
from scoreline.ingest.ingest import ingest_events
from scoreline.operations.log import read_log, read_run
from scoreline.pipeline.run import plan_run, run
from scoreline.tables.reading import open_readers

HOUR = timedelta(hours=1)
MANY = timedelta(minutes=20)


def table(made: Any) -> Any:
    return made.tables.table("recommendations")


def scored_by(made: Any, report: Any) -> set[int]:
    return {row[0] for row in table(made).read().where(F.col("run_id") == report.run_id).select("user_id").collect()}


def figures_of(made: Any, run_id: str) -> Any:
    return read_run(open_readers(made.settings), run_id)[0].figures


def with_a_past(made: Any) -> Any:
    """By its log a run takes 10 s and a second for each user, never less and never more."""
    shutil.rmtree(Path(made.settings.tables.root, "runs"), ignore_errors=True)
    for night in range(1, 46):
        users = 5 + night * 11 % 56
        record(made.settings, night, reasons={"other_model": users}, seconds=10.0 + users)
    return made


def test_without_a_past_one_bucket_is_scored_and_then_all_that_fits(filled: Any, registry: Any) -> None:
    made = filled()
    assert "What it would cost: no idea yet" in str(plan_run(made))
    first = run(made, budget=MANY)
    taken = first.audit.scored
    buckets = {row[0] for row in table(made).read().select("bucket").distinct().collect()}
    assert (len(buckets), first.pace.taken, first.pace.left) == (1, taken, 60 - taken)
    assert f"{taken} due users were taken, {60 - taken} are left: this run was to learn what one takes" in str(first)
    plan = plan_run(filled(now=NOW + HOUR), budget=MANY)
    assert (plan.due, plan.waiting, plan.estimate.runs) == (60 - taken, 0, 1)
    assert plan.estimate.worker_peak_mib is None
    second = run(filled(now=NOW + HOUR), budget=MANY)
    assert (second.audit.scored, second.pace) == (60 - taken, None)
    assert published(made) == expected(made, registry.films["1"], k=5)
    assert run(filled(now=NOW + 2 * HOUR), budget=MANY).state == "nothing_due"
    said = figures_of(made, first.run_id)
    assert (said["waiting"], said["budget_seconds"]) == (60 - taken, 1200)
    assert said["processors"] >= 1
    assert 20 < said["worker_peak_mib"] < 4000


def test_the_buckets_that_have_waited_longest_are_taken_as_far_as_the_time_goes(ran: Any, registry: Any) -> None:
    old = table(ran()).read().select("user_id", "bucket").collect()
    early = scored_by(ran(), run(ran(now=NOW + HOUR), fraction=0.25, full_refresh=True))
    bucket_of = {row["user_id"]: row["bucket"] for row in old}
    made = with_a_past(ran("films/2", now=NOW + 2 * HOUR))
    plan = plan_run(made, budget=timedelta(seconds=40))
    report = run(made, budget=timedelta(seconds=40))
    taken = scored_by(made, report)
    assert len(taken) == plan.to_score == report.audit.scored
    assert plan.waiting == report.pace.left == 60 - len(taken)
    whole = [sum(1 for bucket in bucket_of.values() if bucket == other) for other in {bucket_of[u] for u in taken}]
    assert sum(whole) == len(taken) <= 30
    waiting = set(bucket_of) - early
    assert taken <= waiting  # whoever was scored an hour ago is behind all others
    sizes = [sum(1 for user in waiting if bucket_of[user] == b) for b in {bucket_of[u] for u in waiting - taken}]
    assert not sizes or len(taken) + max(sizes) > 25  # the next one would not have fitted
    assert set(report.reasons) == {"other_model"}
    reached = {**dict.fromkeys(bucket_of, "1"), **dict.fromkeys(taken, "2")}
    shown = {row["user_id"]: row["model_version"] for row in table(made).read().collect()}
    assert shown == reached


def test_a_time_too_short_for_one_bucket_scores_nobody_and_says_what_would_do(ran: Any) -> None:
    made = ran(now=NOW + HOUR)
    for night in range(1, 9):
        record(made.settings, night, reasons={"asked": 60}, seconds=300.0)
    before = [commit.version for commit in table(made).commits()]
    with pytest.raises(InputError, match=r"--budget is 5\.0 s, and the bucket .* Nothing was scored\. Give at least"):
        run(made, budget=timedelta(seconds=5), full_refresh=True)
    assert [commit.version for commit in table(made).commits()] == before
    assert made.tables.names("_staging_") == []
    assert read_log(open_readers(made.settings), state="failed").runs[0]["kind"] == "run"


def test_an_interrupted_run_with_a_budget_is_taken_up_by_the_same_command(filled: Any, monkeypatch: Any) -> None:
    from scoreline.pipeline import publish

    made = with_a_past(filled())
    monkeypatch.setattr(publish, "publish_staged", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(made, budget=timedelta(seconds=40))
    monkeypatch.undo()
    report = run(filled(now=NOW + HOUR), budget=timedelta(seconds=40))
    assert (report.resumed_slices, report.pace.taken + report.pace.left) == (1, 60)
    assert 0 < report.audit.scored < 60


def test_of_real_runs_four_of_five_cost_what_was_estimated(ran: Any) -> None:
    """Twelve runs of this machine, of a part of the users or of all; each was estimated before it began."""
    held = []
    for hour in range(1, 13):
        made = ran(now=NOW + hour * HOUR)
        part = (1.0, 0.25, 0.5)[hour % 3]
        estimate = plan_run(made, fraction=part, full_refresh=True).estimate
        took = figures_of(made, str(run(made, fraction=part, full_refresh=True).run_id))
        assert estimate.runs == hour
        held += [
            figure.low <= took[name] <= figure.high
            for name in ("seconds", "cpu_seconds", "worker_peak_mib")
            if (figure := getattr(estimate, name)) is not None
        ]
    assert len(held) >= 12
    assert sum(held) >= 0.8 * len(held)


def test_another_engine_is_no_guide_to_this_one(filled: Any) -> None:
    made = filled()
    record(made.settings, 1, reasons={"new": 60}, seconds=10.0, engine="another")
    assert plan_run(made).estimate is None
    record(made.settings, 2, reasons={"new": 60}, seconds=10.0)
    assert plan_run(made).estimate.seconds.expected == pytest.approx(10)


def test_a_log_that_cannot_be_read_stops_no_plan(ran: Any, caplog: pytest.LogCaptureFixture) -> None:
    made = ran(now=NOW + HOUR)
    for commit in Path(made.settings.tables.root, "runs", "_delta_log").glob("*.json"):
        commit.write_text("{")
    plan = plan_run(made, full_refresh=True)
    assert (plan.due, plan.estimate) == (60, None)
    assert "the run log could not be read, so nothing is estimated from it" in caplog.text


def test_runs_for_some_users_and_full_refreshes_do_not_say_who_waits(ran: Any, tmp_path: Path) -> None:
    ingest_events(ran(now=NOW + HOUR), write_events(tmp_path / "news.csv", [(7, 33, 5, 1_780_000_000)]))
    some = run(ran(now=NOW + 2 * HOUR), users=[7])
    refreshed = run(ran(now=NOW + 3 * HOUR), full_refresh=True, fraction=0.5)
    assert ["waiting" in figures_of(ran(), str(report.run_id)) for report in (some, refreshed)] == [False, False]
    assert (refreshed.pace.left, refreshed.pace.becoming) == (60 - refreshed.pace.taken, None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--budget", "20m", "--fraction", "0.5"], "--budget and --fraction both say how much a run takes"),
        (["--budget", "20m", "--users", "7"], "--budget takes a part of all users, and --users names some"),
        (["--budget", "0s"], "--budget is a time above 0 such as 20m, found 0 s"),
        (["--budget", "20"], "budget: a duration is a whole number and a unit of s, m, h, d or w"),
    ],
)
def test_what_does_not_go_together_is_told(
    ran: Any, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    made = ran()
    monkeypatch.setattr(Pipeline, "_context", lambda *_: made)
    monkeypatch.setattr("scoreline.config.loading.load_settings", lambda *_: made.settings)
    for command in (nightly.plan, nightly.run):
        told = CliRunner().invoke(command, ["--config", "c.yaml", "--quiet", *options])
        assert isinstance(told.exception, InputError)
        assert message in str(told.exception)


def test_the_command_prints_what_it_will_cost(ran: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    made = ran()
    monkeypatch.setattr(Pipeline, "_context", lambda *_: made)
    monkeypatch.setattr("scoreline.config.loading.load_settings", lambda *_: made.settings)
    options = ["--config", "c.yaml", "--full-refresh", "--budget", "20m"]
    said = json.loads(CliRunner().invoke(nightly.plan, [*options, "--json"]).output)
    assert (said["to_score"], said["waiting"], said["estimate"]["runs"]) == (60, 0, 1)
    assert said["estimate"]["seconds"]["per_user"].keys() == {"asked"}
    told = CliRunner().invoke(nightly.plan, options).output
    assert "It would take, by 1 past run and four times of five within the bounds:\n  time " in told
