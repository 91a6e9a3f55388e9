"""Runs for some users: nobody else is scored, and nothing is said of anybody else."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from click.testing import CliRunner
from pyspark.sql import functions as F

from builders import NOW, write_events
from integration.truth import expected, published
from scoreline.api import Pipeline
from scoreline.cli import nightly
from scoreline.errors import InputError
from scoreline.ingest.ingest import ingest_events
from scoreline.pipeline.plan import Asked
from scoreline.pipeline.run import plan_run, run

HOUR = timedelta(hours=1)
NEWS = [(user, 33, 5, 1_780_000_000) for user in (7, 8, 9, 500)]


def table(made: Any) -> Any:
    return made.tables.table("recommendations")


def scored_by(made: Any, report: Any) -> list[int]:
    rows = table(made).read().where(F.col("run_id") == report.run_id).select("user_id").collect()
    return sorted(row[0] for row in rows)


@pytest.fixture
def news(ran: Any, tmp_path: Path) -> Any:
    """Published, and then news of users 7, 8, 9 and 500."""
    ingest_events(ran(now=NOW + HOUR), write_events(tmp_path / "news.csv", NEWS))
    return ran


def test_only_those_of_the_users_who_are_due_are_scored_and_the_next_run_finds_the_others(
    news: Any, registry: Any
) -> None:
    before = table(news()).read(version=1)
    made = news(now=NOW + 2 * HOUR)
    asked = [7, "500", 12, 7, 12, 999, 1000]
    assert plan_run(made, users=asked).reasons == {"new": 1, "changed": 1}
    report = run(made, users=asked)
    assert (report.audit.scored, report.asked) == (2, Asked(5, 2, (999, 1000)))
    assert "5 users asked for, 2 of them unknown: no history and no published row (999, 1000)" in str(report)
    assert scored_by(made, report) == [7, 500]
    others = ~F.col("user_id").isin(7, 500)
    assert_df_equality(table(made).read().where(others).orderBy("user_id"), before.where(others).orderBy("user_id"))
    later = news(now=NOW + 3 * HOUR)
    assert plan_run(later).reasons == {"changed": 2}
    assert scored_by(later, run(later)) == [8, 9]
    assert published(later) == expected(later, registry.films["1"], k=5)


def test_such_a_run_vouches_for_nobody_else(news: Any) -> None:
    """Even where all who are due were asked for: another run compares all keys, and finds that nobody is."""
    made = news(now=NOW + 2 * HOUR)
    run(made, users=[7, 8, 9, 500])
    note = table(made).commits(limit=1)[0].published
    assert (note.complete, note.verified_at) == (False, NOW)
    assert note.oldest == NOW
    report = run(news(now=NOW + 3 * HOUR))
    assert report.state == "nothing_due"


@pytest.mark.parametrize("asked", [[7, 8, 9], range(1, 61)])
def test_up_to_date_users_are_scored_by_a_full_refresh_only(ran: Any, asked: Any) -> None:
    made = ran(now=NOW + HOUR)
    quiet = run(made, users=asked)
    assert (quiet.state, quiet.asked) == ("nothing_due", Asked(len(asked), 0))
    assert str(quiet).startswith(f"Nothing is due: {len(asked)} users asked for; whoever is known is up to date with")
    assert [c.version for c in table(made).commits()] == [1, 0]
    report = run(made, users=asked, full_refresh=True)
    assert report.reasons == {"asked": len(asked)}
    assert scored_by(made, report) == list(asked)
    assert table(made).commits(limit=1)[0].operation == "MERGE"
    assert table(made).read().count() == 60


def test_a_first_run_for_some_users_publishes_these(filled: Any, registry: Any) -> None:
    made = filled()
    plan = plan_run(made, users=[3, 4, 77])
    assert (plan.reasons, plan.whole_table, plan.asked) == ({"new": 2}, False, Asked(3, 1, (77,)))
    run(made, users=[3, 4, 77])
    assert published(made) == expected(made, registry.films["1"], k=5, users={3, 4})
    assert run(filled(now=NOW + HOUR)).reasons == {"new": 58}
    assert published(made) == expected(made, registry.films["1"], k=5)


def test_who_has_left_is_removed_if_asked_for_and_nobody_else(ran: Any) -> None:
    ran().tables.table("user_history").delete("user_id IN (9, 10)")
    made = ran(now=NOW + HOUR)
    report = run(made, users=[9, 11])
    assert (report.audit.left, report.reasons) == (1, {"left": 1})
    assert "1 users due = 0 scored + 0 failed + 1 removed, who have left\n" in str(report)
    assert "users per second" not in str(report)
    assert sorted(published(made)) == [user for user in range(1, 61) if user != 9]
    assert run(ran(now=NOW + 2 * HOUR)).reasons == {"left": 1}


def test_an_interrupted_run_is_taken_up_by_the_same_users_only(news: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from scoreline.pipeline import run as module

    def dying(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "publish_audited", dying)
    with pytest.raises(KeyboardInterrupt):
        run(news(now=NOW + 2 * HOUR), users=[7, 8])
    monkeypatch.undo()
    made = news(now=NOW + 3 * HOUR)
    [staging] = made.tables.names("_staging_")
    assert plan_run(made, users=[7, 8, 9]).due == 3
    others = run(made, users=[8, 9])
    assert (others.resumed_slices, scored_by(made, others)) == (0, [8, 9])
    assert staging in made.tables.names("_staging_")


def test_the_same_users_in_another_order_take_it_up(news: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    from scoreline.pipeline import run as module

    monkeypatch.setattr(module, "publish_audited", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(news(now=NOW + 2 * HOUR), users=[7, 8])
    monkeypatch.undo()
    report = run(news(now=NOW + 3 * HOUR), users=["8", "7", 7])
    assert (report.resumed_slices, report.audit.scored) == (1, 2)


STRICT = {"max_top_item_share": 0.1, "min_distinct_items": 20, "max_psi": 0.01, "min_overlap": 1.0, "max_overlap": 1.0}


def test_limits_about_everybody_do_not_judge_a_few(news: Any) -> None:
    report = run(news(now=NOW + 2 * HOUR, audit=STRICT), users=[7])
    assert (report.state, report.audit.top_item_share) == ("published", 1.0)


def test_thousands_of_ids_in_any_type_of_number(ran: Any) -> None:
    made = ran(now=NOW + HOUR)
    plan = plan_run(made, users=range(-5000, 5000), full_refresh=True)
    assert (plan.reasons, plan.asked) == ({"asked": 60}, Asked(10_000, 9_940, (-5000, -4999, -4998, -4997, -4996)))


def test_ids_of_text_stay_text(pipeline: Any, registry: Any, tmp_path: Path) -> None:
    made = pipeline(keys={"user_id": "string", "item_id": "long"})
    rows = [(user, item, 5, 1_700_000_000) for user in ("007", "7", "O'Hara") for item in (1, 2)]
    ingest_events(made, write_events(tmp_path / "e.csv", rows))
    report = run(made, users=["007", " O'Hara", "08"])
    assert report.asked == Asked(3, 1, ("08",))
    assert sorted(published(made)) == ["007", "O'Hara"]


def test_what_is_no_id_and_what_does_not_go_together(ran: Any) -> None:
    for wrong in ("4x", "", "1e3", 2.5, None):
        with pytest.raises(InputError, match=r"whole numbers \(keys.user_id: long\), found|is empty"):
            run(ran(), users=[7, wrong])
    with pytest.raises(InputError, match="--fraction takes a part of all users, and --users names some"):
        run(ran(), users=[7], fraction=0.5)
    with pytest.raises(InputError, match="--verify is about all users"):
        run(ran(), users=[7], verify=True)


def test_nobody_at_all_is_nobody(ran: Any) -> None:
    report = run(ran(), users=[], full_refresh=True)
    assert (report.state, report.asked) == ("nothing_due", Asked(0, 0))


@pytest.fixture
def named(ran: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What the command line makes of its arguments: the users that a run is given."""
    made, given = ran(), []
    monkeypatch.setattr(Pipeline, "plan", lambda self, **options: given.append(options["users"]) or plan_run(made))
    config = tmp_path / "p.yaml"
    config.write_text("name: t\ntables: {root: t}\nmodel: {uri: models:/films/1}\n")

    def typed(*arguments: str, text: str | None = None) -> Any:
        result = CliRunner().invoke(nightly.plan, ["--config", str(config), *arguments], input=text)
        return given.pop() if result.exception is None else result.exception

    return typed


def test_the_command_names_users_in_options_and_in_a_file(named: Any, tmp_path: Path) -> None:
    file = tmp_path / "users.txt"
    file.write_bytes(b"\xef\xbb\xbf43\r\n\r\n 44\n")
    assert named() is None
    assert named("--users", "42,43", "--users", "7", "--users-from", str(file)) == [42, 43, 7, 43, 44]
    assert named("--users-from", "-", text="5\n6\n") == [5, 6]
    file.write_text("1\n4x\n\n2.5\n")
    assert "2 lines without an id of this pipeline (line 2: '4x', line 4: '2.5'); expected a whole number" in str(
        named("--users-from", str(file))
    )
    file.write_bytes(b"\xff\xfe1\n")
    assert "is not in UTF-8" in str(named("--users-from", str(file)))
    assert "nowhere.txt could not be read: " in str(named("--users-from", str(tmp_path / "nowhere.txt")))
