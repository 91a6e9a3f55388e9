"""The whole job on real Delta tables and a real registry."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import functions as F

from builders import NOW, write_events
from integration.conftest import events_of
from integration.truth import expected, histories, published
from logs import publication
from scoreline.engine.frames import collected
from scoreline.errors import AuditRefused, InputError, RunInProgress, Superseded
from scoreline.ingest.ingest import ingest_events
from scoreline.operations.log import read_log
from scoreline.operations.status import status
from scoreline.pipeline import audit_sample
from scoreline.pipeline.fence import replace_some
from scoreline.pipeline.manifest import REASONS
from scoreline.pipeline.rollback import roll_back
from scoreline.pipeline.run import plan_run, run
from scoreline.pipeline.snapshot import open_run
from scoreline.pipeline.staging import Staging
from scoreline.tables.lock import locked
from scoreline.tables.reading import open_readers
from strangers import update

HOUR = timedelta(hours=1)


def table(made: Any) -> Any:
    return made.tables.table("recommendations")


@pytest.mark.both
def test_everybody_gets_the_lists_of_brute_force(filled: Any, registry: Any) -> None:
    made = filled()
    report = run(made)
    assert (report.state, report.audit.scored, report.audit.failed) == ("published", 60, 0)
    assert published(made) == expected(made, registry.films["1"], k=5)
    assert [c.published.run_id for c in table(made).commits() if c.published] == [report.run_id]


def test_a_second_run_finds_nothing_due_and_commits_nothing(ran: Any) -> None:
    before = [c.version for c in table(ran()).commits()]
    report = run(ran(now=NOW + HOUR))
    assert report.state == "nothing_due"
    assert [c.version for c in table(ran()).commits()] == before


@pytest.mark.both
def test_only_users_with_news_are_scored_and_replaced(ran: Any, registry: Any, tmp_path: Path) -> None:
    before = table(ran()).read(version=1)  # a frame without a version shows what is newest when it is looked at
    later = ran(now=NOW + HOUR)
    ingest_events(later, write_events(tmp_path / "news.csv", [(7, 33, 5, 1_780_000_000), (500, 12, 4, 1_780_000_000)]))
    plan = plan_run(later)
    assert plan.reasons == {"new": 1, "changed": 1}
    report = run(later)
    after = table(later).read()
    assert report.audit.scored == 2
    assert sorted(r[0] for r in after.where(F.col("run_id") == report.run_id).select("user_id").collect()) == [7, 500]
    others = ~F.col("user_id").isin(7, 500)
    assert_df_equality(after.where(others).orderBy("user_id"), before.where(others).orderBy("user_id"))
    assert published(later) == expected(later, registry.films["1"], k=5)


def test_another_version_makes_everyone_due_and_four_quarters_refresh_everyone_once(ran: Any, registry: Any) -> None:
    reached: list[Any] = []
    for quarter in range(4):
        made = ran("films/2", now=NOW + (quarter + 1) * HOUR)
        report = run(made, fraction=0.25)
        assert set(report.reasons) == {"other_model"}
        reached += [
            r[0] for r in table(made).read().where(F.col("run_id") == report.run_id).select("user_id").collect()
        ]
    assert sorted(reached) == list(range(1, 61))
    assert run(ran("films/2", now=NOW + 9 * HOUR)).state == "nothing_due"
    assert published(ran()) == expected(ran(), registry.films["2"], k=5)


def test_other_rules_age_and_departure_are_reasons(ran: Any, registry: Any, tmp_path: Path) -> None:
    blocked = tmp_path / "blocked.txt"
    blocked.write_text("3\n4\n")
    rules = {"k": 5, "blocked_items": str(blocked)}
    assert plan_run(ran(scoring=rules)).reasons == {"other_rules": 60}
    run(ran(scoring=rules, now=NOW + HOUR))
    assert published(ran()) == expected(ran(), registry.films["1"], k=5, blocked=frozenset({3, 4}))
    aged = ran(scoring={**rules, "max_age": "1d"}, now=NOW + timedelta(days=2))
    assert plan_run(aged).reasons == {"too_old": 60}
    aged.tables.table("user_history").delete("user_id = 9")
    young = ran(scoring={**rules, "max_age": "1d"}, now=NOW + 2 * HOUR)
    assert plan_run(young).reasons == {"left": 1}
    report = run(young)
    assert report.audit.left == 1
    assert 9 not in published(young)
    assert len(published(young)) == 59


def test_allowed_items_are_the_only_ones(filled: Any, tmp_path: Path) -> None:
    allowed = tmp_path / "allowed.txt"
    allowed.write_text("1\n2\n3\n")
    made = filled(scoring={"k": 5, "allowed_items": str(allowed)}, audit={"max_empty_share": None})
    run(made)
    assert set().union(*map(set, published(made).values())) <= {1, 2, 3}
    seen = {user: set(items) for user, (items, _) in histories(made).items()}
    assert all(len(items) == len({1, 2, 3} - seen[user]) for user, items in published(made).items())


def test_the_result_does_not_depend_on_slices_or_batches(ran: Any) -> None:
    whole = published(ran())
    report = run(ran(scoring={"k": 5, "slice_users": 7}, now=NOW + HOUR), full_refresh=True)
    assert report.reasons == {"asked": 60}
    assert published(ran()) == whole


def test_scores_are_compared_with_those_of_the_same_users(ran: Any) -> None:
    """A few of each bucket are scored again by the same model: nothing has moved, whatever the others' scores are."""
    made = ran(now=NOW + HOUR)
    update(table(made), {"history_hash": "0"}, "user_id <= 20")
    report = run(made)
    assert (report.audit.scored, report.audit.overlap_users) == (20, 20)
    assert (report.audit.score_psi, report.audit.overlap) == (0.0, 1.0)


def test_a_bucket_with_more_users_than_the_sample_is_not_looked_at_as_a_whole(
    pipeline: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What reaches the driver is bounded in rows: of one bucket with 60 users, 20 new rows and their 20 old ones."""
    made = pipeline(histories={"buckets": 1}, audit={"sample_users": 20})
    ingest_events(made, write_events(tmp_path / "e.csv", events_of()))
    run(made)
    reached: list[int] = []

    def seen(rows: Any) -> Any:
        reached.append(collected(rows).num_rows)
        return collected(rows)

    monkeypatch.setattr(audit_sample, "collected", seen)
    report = run(pipeline(histories={"buckets": 1}, audit={"sample_users": 20}, now=NOW + HOUR), full_refresh=True)
    assert (report.audit.sampled_users, report.audit.overlap_users) == (20, 20)
    assert reached == [20, 20]
    assert (report.audit.score_psi, report.audit.overlap) == (0.0, 1.0)


def test_users_the_model_knows_nothing_of_get_the_fallback(filled: Any, tmp_path: Path) -> None:
    made = filled()
    ingest_events(made, write_events(tmp_path / "cold.csv", [(900, 7777, 5, 1_700_000_000)]))
    run(made)
    sources = {r["user_id"]: r["source"] for r in table(made).read().collect()}
    assert sources.pop(900) == "fallback"
    assert set(sources.values()) == {"model"}
    assert len(published(made)[900]) == 5


def test_every_user_cold_is_published_unless_the_limit_forbids(pipeline: Any, tmp_path: Path) -> None:
    rows = [(user, 7000 + user, 5, 1_700_000_000) for user in range(1, 6)]
    ingest_events(pipeline(), write_events(tmp_path / "cold.csv", rows))
    with pytest.raises(AuditRefused, match=r"share of fallbacks is 1, expected at most 0.5"):
        run(pipeline(audit={"max_fallback_share": 0.5}))
    assert published(pipeline()) == {}
    report = run(pipeline(now=NOW + HOUR))
    assert (report.audit.fallback, report.audit.scored) == (5, 5)


def test_a_refused_run_leaves_the_table_and_keeps_its_staged_rows(ran: Any) -> None:
    before = published(ran())
    with pytest.raises(AuditRefused, match="overlap with the lists replaced"):
        run(ran("films/2", now=NOW + HOUR, audit={"min_overlap": 1.0}))
    assert published(ran()) == before
    [staging] = ran().tables.names("_staging_")
    staged = ran().tables.table(staging)
    assert staged.read().count() == 60
    assert staged.properties()["delta.dataSkippingNumIndexedCols"] == "2"
    report = run(ran("films/2", now=NOW + 2 * HOUR))
    assert report.resumed_slices == 1
    assert ran().tables.names("_staging_") == []


@pytest.mark.both
@pytest.mark.parametrize(("sample_users", "looked_at"), [(20_000, range(60, 61)), (20, range(5, 40))])
def test_the_audit_looks_at_everybody_or_at_a_sample_of_many(ran: Any, sample_users: int, looked_at: range) -> None:
    report = run(ran(audit={"sample_users": sample_users}, now=NOW + HOUR), full_refresh=True)
    assert report.audit.sampled_users in looked_at
    assert report.audit.overlap_users == report.audit.sampled_users
    assert (report.audit.overlap, report.audit.score_psi) == (1, 0)
    assert report.audit.distinct_users == 60


@pytest.mark.both
def test_an_interrupted_run_is_taken_up_again(filled: Any, registry: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The driver dies after the second of several slices; the next run scores the others only."""
    from scoreline.pipeline import slices

    scored: list[int] = []
    real = slices.scored_slice

    def dying(snapshot: Any, part: Any, due: Any, **rest: Any) -> Any:
        if len(scored) == 2:
            raise KeyboardInterrupt
        scored.append(part.number)
        return real(snapshot, part, due, **rest)

    few = {"k": 5, "slice_users": 15}
    monkeypatch.setattr(slices, "scored_slice", dying)
    with pytest.raises(KeyboardInterrupt):
        run(filled(scoring=few))
    assert published(filled()) == {}
    again: list[int] = []
    monkeypatch.setattr(slices, "scored_slice", lambda *a, **k: (again.append(a[1].number), real(*a, **k))[1])
    report = run(filled(scoring=few, now=NOW + HOUR))
    assert scored == [0, 1]
    assert not set(again) & {0, 1}
    assert report.resumed_slices == 2
    assert published(filled()) == expected(filled(), registry.films["1"], k=5)


def test_a_table_whose_maker_was_killed_before_its_first_commit_is_made(filled: Any) -> None:
    made = filled()
    opened = open_run(made, fraction=1.0, full_refresh=False, create=False)
    staging = Staging.new(made.tables, opened.dependencies(made.settings), manifest=None)  # type: ignore[arg-type]
    table(made).drop()
    for half_made in (staging.table, made.tables.table("runs"), table(made)):
        Path(half_made.location, "_delta_log", "_staged_commits").mkdir(parents=True)
    assert run(made).state == "published"
    assert made.tables.table("runs").read().where("kind = 'run'").count() == 1
    assert table(made).properties()["delta.enableDeletionVectors"] == "true"


def test_staged_slices_of_other_inputs_are_not_taken_up(
    filled: Any, registry: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    from scoreline.pipeline import publish as publish_module

    monkeypatch.setattr(publish_module, "publish_staged", lambda *a, **k: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(filled())
    monkeypatch.undo()
    ingest_events(filled(), write_events(tmp_path / "news.csv", [(7, 33, 5, 1_780_000_000)]))
    report = run(filled(now=NOW + HOUR))
    assert report.resumed_slices == 0
    assert published(filled()) == expected(filled(), registry.films["1"], k=5)


@pytest.mark.both
def test_rollback_brings_the_run_before_back_and_fences_older_runs(ran: Any) -> None:
    first = status(open_readers(ran().settings)).published
    assert first is not None
    before = published(ran())
    run(ran("films/2", now=NOW + HOUR))
    assert published(ran()) != before
    report = roll_back(ran(now=NOW + 2 * HOUR))
    assert (report.run_id, report.model_version, report.next_version) == (first["run_id"], "1", "1")
    assert (report.back, report.taken) == (60, 60)
    assert [row["users"] for row in read_log(open_readers(ran().settings), kind="rollback").runs] == [60]
    assert (report.restored_version, report.left_version, report.version) == (1, 2, 3)
    shown = status(open_readers(ran().settings)).published
    assert shown is not None
    assert (shown["run_id"], shown["version"], shown["table_version"]) == (first["run_id"], 1, 3)
    assert published(ran()) == before
    rows = table(ran()).read()
    late = 3  # of a run that began after the second publication, and before the rollback
    with pytest.raises(Superseded, match="newer run or rollback"):
        replace_some(table(ran()), rows.withColumn("_left", F.lit(True)), publication(sequence=late))
    assert published(ran()) == before
    with pytest.raises(InputError, match="no run before the current one"):
        roll_back(ran(now=NOW + 3 * HOUR))
    with pytest.raises(InputError, match="No run nonsense was published"):
        roll_back(ran(), run_id="nonsense")


def test_a_second_run_started_while_one_runs_says_so(filled: Any) -> None:
    made = filled()
    with (
        locked(made.settings, "run"),
        pytest.raises(RunInProgress, match=r"Another run works .*\(process \d+, since"),
    ):
        run(made)
    assert run(made).state == "published"


def test_no_history_no_model_no_alias(pipeline: Any, filled: Any, spark: Any, tmp_path: Path) -> None:
    empty = pipeline(tables={"root": str(tmp_path / "elsewhere")})
    with pytest.raises(InputError, match=r"There is no table .*user_history yet"):
        run(empty)
    with pytest.raises(InputError, match=r"(?i)nowhere"):
        run(filled("nowhere/1"))
    with pytest.raises(InputError, match=r"(?i)best"):
        run(filled("films@best"))
    assert not table(filled()).exists()


def test_a_model_for_other_ids_is_refused_before_any_row_is_read(pipeline: Any, tmp_path: Path) -> None:
    made = pipeline(keys={"user_id": "long", "item_id": "string"})
    ingest_events(made, write_events(tmp_path / "e.csv", [(1, "0110912", 5, 1_700_000_000)]))
    with pytest.raises(InputError, match="item_ids"):
        run(made)


def test_input_that_a_newer_run_has_published_is_not_looked_at_as_it_was(
    ran: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between our look at the input and our look at the target, somebody ingests and publishes."""
    from scoreline.pipeline import snapshot

    real = snapshot.pin_model

    def slow(*given: Any) -> Any:
        monkeypatch.undo()
        ingest_events(ran(now=NOW + HOUR), write_events(tmp_path / "news.csv", [(7, 33, 5, 1_780_000_000)]))
        run(ran(now=NOW + HOUR))
        return real(*given)

    monkeypatch.setattr(snapshot, "pin_model", slow)
    assert plan_run(ran(now=NOW + 2 * HOUR)).reasons == {}


def test_runs_are_recorded_in_the_table_and_in_mlflow(filled: Any, registry: Any) -> None:
    from mlflow import MlflowClient

    report = run(filled())
    rows = filled().tables.table("runs").read().where("kind = 'run'").collect()
    assert [(r["run_id"], r["state"], r["users"]) for r in rows] == [(report.run_id, "published", 60)]
    client = MlflowClient(registry.uri)
    experiment = client.get_experiment_by_name("runs")
    assert experiment is not None
    [logged] = client.search_runs([experiment.experiment_id], f"tags.`scoreline.run_id` = '{report.run_id}'")
    assert logged.data.metrics["scored"] == 60
    assert logged.data.params["model"] == "films version 1"
    assert len(logged.inputs.dataset_inputs) == 2


def test_the_reasons_have_a_meaning() -> None:
    from scoreline.pipeline.manifest import MEANING

    assert set(MEANING) == set(REASONS)
