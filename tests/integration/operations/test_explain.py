"""Why a user got a list, or none: on real tables, a real registry, and the worker that scores."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from deltalake import DeltaTable
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
from mlflow.types.schema import Array

from builders import NOW, write_events
from integration.conftest import ITEMS, events_of, fitted
from integration.truth import expected, histories, published
from scoreline.config.scoring import AuditSettings
from scoreline.errors import AuditRefused, ConfigurationError, InputError
from scoreline.ingest.ingest import ingest_events
from scoreline.ingest.items import ingest_items
from scoreline.models.mlflow_model import log_recommender
from scoreline.operations.explain import explain_user
from scoreline.operations.explanation import Explanation
from scoreline.operations.log import read_log
from scoreline.pipeline.rollback import roll_back
from scoreline.pipeline.run import run
from scoreline.registry.client import quiet_mlflow
from scoreline.tables.reading import open_readers
from strangers import held, remake, update

HOUR = timedelta(hours=1)
FRESH = 1_780_000_000
LISTS = [ColSpec(Array(DataType.long), "item_ids"), ColSpec(Array(DataType.double), "scores")]
HISTORY = [ColSpec(Array(DataType.long), "item_ids"), ColSpec(Array(DataType.double), "weights")]


def explain(made: Any, user: object, item: object = None, **asked: Any) -> Explanation:
    said = {name: str(value) for name, value in asked.items()}
    return explain_user(open_readers(made.settings), str(user), None if item is None else str(item), **said)


def listed(made: Any, user: int) -> list[tuple[int, float]]:
    rows = made.tables.table("recommendations").read().where(f"user_id = {user}").collect()
    return [(item["item_id"], item["score"]) for item in rows[0]["recommendations"]]


def news(made: Any, tmp_path: Path, *rows: tuple[int, int, int, int]) -> None:
    ingest_events(made, write_events(tmp_path / "news.csv", list(rows)))


def forget_old_files(made: Any, *tables: str) -> None:
    """The same rows in files of their own, and what vacuum does once the others are old enough."""
    for name in tables:
        table = made.tables.table(name)
        remake(table, held(table.read()))
        DeltaTable(table.location).vacuum(retention_hours=0, dry_run=False, enforce_retention_duration=False)


def test_the_list_computed_again_is_the_published_one_and_its_events_make_the_scores(ran: Any, tmp_path: Path) -> None:
    made = ran()
    (tmp_path / "items.csv").write_text("item,title\n" + "".join(f"{i},Film {i}\n" for i in range(1, ITEMS + 1)))
    named = ran(items={"item_id": "item", "title": "title"})
    ingest_items(named, str(tmp_path / "items.csv"))
    for user in (1, 37):
        found = explain(made, user)
        assert (found.recomputed.state, found.recomputed.differences) == ("identical", ())
        assert [(item.item_id, item.score) for item in found.items] == listed(made, user)
        assert (found.model, found.input_version, found.source) == ("films version 1", 1, "model")
        seen, _ = histories(made)[user]
        for item in found.items:
            whole = explain(made, user, item.item_id).items[0] if item.rank < 3 else item
            adds = [cause.adds for cause in whole.causes]
            assert adds == sorted(adds, reverse=True)
            assert {cause.item_id for cause in whole.causes} <= set(seen)
            assert {cause.title for cause in whole.causes} == {f"Film {cause.item_id}" for cause in whole.causes}
            assert sum(adds) + (whole.rest or 0) == pytest.approx(item.score, rel=2**-23)
            assert len(whole.causes) + whole.others <= len(seen)
    assert str(found).startswith("User 37: list of films version 1, run ")
    assert "the published one, bit for bit." in str(found)


def test_each_row_of_the_report_is_an_event_of_an_item(ran: Any) -> None:
    found = explain(ran(), 1)
    assert [(row["rank"], row["event_item_id"], row["adds"]) for row in found.rows()] == [
        (item.rank, cause.item_id, cause.adds) for item in found.items for cause in item.causes
    ]
    assert json.loads(found.to_json())["items"][0]["causes"][0]["adds"] == found.items[0].causes[0].adds


def test_what_differs_is_said_place_by_place(ran: Any) -> None:
    made = ran()
    (first, score), (second, other), *_ = listed(made, 5)
    changed = (
        f"array(named_struct('item_id', {second}L, 'score', float({other})), "
        f"named_struct('item_id', {first}L, 'score', float({score})))"
    )
    table = made.tables.table("recommendations")
    if made.settings.engine == "embedded":
        changed = (
            f"make_array(named_struct('item_id', {second}, 'score', arrow_cast({other}, 'Float32')), "
            f"named_struct('item_id', {first}, 'score', arrow_cast({score}, 'Float32')))"
        )
    update(table, {"recommendations": changed}, "user_id = 5")
    found = explain(made, 5).recomputed
    assert found.state == "differs"
    assert [(d.rank, d.published_item, d.item) for d in found.differences[:2]] == [
        (1, second, first),
        (2, first, second),
    ]
    assert [d.published_item for d in found.differences[2:]] == [None] * 3
    assert "another at 5 of 5 places" in found.said


def test_the_run_is_done_again_with_what_it_had_pinned(ran: Any, tmp_path: Path) -> None:
    """Another model, news and a rollback later: each run's list is that of its own history and version."""
    made = ran()
    first = explain(made, 7)
    later = ran("films/2", now=NOW + HOUR)
    news(later, tmp_path, (7, 33, 5, FRESH))
    second = run(later)
    now = explain(later, 7)
    assert (now.run_id, now.model, now.input_version) == (second.run_id, "films version 2", 2)
    assert now.recomputed.state == "identical"
    then = explain(later, 7, run_id=first.run_id)
    assert (then.recomputed.state, then.items, then.input_version) == ("identical", first.items, 1)
    assert then.notes == ()
    roll_back(ran("films/2", now=NOW + 2 * HOUR))
    back = explain(later, 7)
    assert (back.run_id, back.recomputed.state, back.items) == (first.run_id, "identical", first.items)


def test_a_run_that_left_a_list_as_it_was_says_so(ran: Any, tmp_path: Path) -> None:
    later = ran(now=NOW + HOUR)
    news(later, tmp_path, (7, 33, 5, FRESH))
    report = run(later)
    found = explain(later, 8, run_id=report.run_id)
    assert found.run_id != report.run_id
    assert found.notes[0].startswith(f"Run {report.run_id} left the list as it was")
    assert found.recomputed.state == "identical"


def test_other_rules_are_said_and_the_scores_are_explained_all_the_same(ran: Any) -> None:
    made = ran(scoring={"k": 3})
    found = explain(made, 1)
    assert found.recomputed.state == "differs"
    assert found.recomputed.said.endswith("The rules have changed since that run; this is by those of today.")
    assert [(d.rank, d.item) for d in found.recomputed.differences] == [(4, None), (5, None)]
    assert (found.method, len(found.items)) == ("sum", 5)
    assert all(item.causes for item in found.items)


def test_what_is_gone_is_said_in_a_sentence_and_the_rest_all_the_same(ran: Any, registry: Any, tmp_path: Path) -> None:
    later = ran(now=NOW + HOUR)
    first = explain(later, 7)
    news(later, tmp_path, (7, 33, 5, FRESH))
    forget_old_files(later, "user_history")
    unchanged = explain(later, 8)  # the newest history is the one that the list was made from
    assert unchanged.recomputed.state == "identical"
    changed = explain(later, 7)
    assert changed.notes == ("The history has changed since; the next run makes another list.",)
    assert (changed.recomputed.state, changed.method) == ("impossible", None)
    assert "user_history version 1; vacuum removes what is old" in changed.recomputed.said
    assert [(item.item_id, item.score, item.causes) for item in changed.items] == [
        (item.item_id, item.score, ()) for item in first.items
    ]
    assert explain(later, 7, why_not=first.items[0].item_id).why_not.reason == "listed"
    assert explain(later, 7, why_not=40).why_not.reason == "cannot_say"
    second = run(later)
    forget_old_files(later, "recommendations")
    with pytest.raises(
        InputError, match=f"The rows that run {first.run_id} published, .* version 1, are not there any"
    ):
        explain(later, 7, run_id=first.run_id)
    kept = explain(later, 8, run_id=first.run_id)
    assert kept.notes[0].endswith(f"the user's row is still that of run {first.run_id}.")
    assert explain(later, 7).run_id == second.run_id


def test_a_model_version_that_was_deleted_is_gone(filled: Any, registry: Any) -> None:
    with quiet_mlflow():
        mlflow.set_tracking_uri(registry.uri)
        mlflow.set_experiment("models")
        with mlflow.start_run():
            log_recommender(fitted(5), registered_name="brief")
    made = filled("brief/1")
    run(made)
    with quiet_mlflow():
        mlflow.MlflowClient(registry.uri).delete_model_version("brief", "1")
    found = explain(made, 1)
    assert found.recomputed.state == "impossible"
    assert "The model that made the list, brief version 1, cannot be asked: model brief has no version 1." in str(found)
    assert [(item.item_id, item.score) for item in found.items] == listed(made, 1)


def test_each_reason_why_an_item_is_not_listed(ran: Any, registry: Any, tmp_path: Path) -> None:
    rules = {"k": 5}
    made = ran(items={"item_id": "item", "title": "title"}, scoring=rules)
    (tmp_path / "items.csv").write_text("item,title\n4,Four\n777,Not yet\n")
    ingest_items(made, str(tmp_path / "items.csv"))
    everything = expected(made, registry.films["1"], k=ITEMS)[1]
    own, scores = listed(made, 1), explain(made, 1).items
    seen = histories(made)[1][0]

    def why(item: int, settings: Any = made) -> Any:
        return explain(settings, 1, why_not=item).why_not

    first = why(own[0][0])
    assert (first.reason, first.rank, first.score) == ("listed", 1, own[0][1])
    assert why(seen[0]).reason == "seen"
    assert (why(123_456).reason, why(777).reason, why(777).title) == ("unknown", "not_in_training", "Not yet")
    sixth, last = why(everything[5]), why(everything[-1])
    assert (sixth.reason, sixth.rank, sixth.last_score) == ("outscored", 6, scores[-1].score)
    assert sixth.score <= scores[-1].score
    assert (last.reason, last.rank) == ("outscored", len(everything))
    lists = {"blocked_items": f"{everything[5]}\n", "allowed_items": "1\n2\n3\n"}
    for name, text in lists.items():
        (tmp_path / name).write_text(text)
        said = why(everything[5], ran(scoring={**rules, name: str(tmp_path / name)}))
        assert said.reason == {"blocked_items": "blocked", "allowed_items": "not_allowed"}[name]
    # seen or not matters by the rules only
    assert why(seen[0], ran(scoring={**rules, "exclude_seen": False})).reason in ("outscored", "listed")


def test_an_item_beyond_the_window_was_seen(pipeline: Any, tmp_path: Path) -> None:
    made = pipeline(histories={"buckets": 8, "max_items": 3})
    ingest_events(made, write_events(tmp_path / "e.csv", events_of()))
    run(made)
    row = made.tables.table("user_history").read().where("user_id = 1").collect()[0]
    assert row["older_item_ids"]
    found = explain(made, 1, why_not=row["older_item_ids"][0])
    assert (found.why_not.reason, found.recomputed.state) == ("seen", "identical")
    assert "longer ago" in found.why_not.said


def test_a_history_without_a_signal_gets_what_is_popular(ran: Any, registry: Any, tmp_path: Path) -> None:
    later = ran(now=NOW + HOUR)
    news(later, tmp_path, (900, 7777, 5, FRESH))
    run(later)
    found = explain(later, 900)
    assert (found.source, found.recomputed.state) == ("fallback", "identical")
    assert [(item.place, item.causes) for item in found.items] == [(place, ()) for place in range(1, 6)]
    assert "popular: place 1 of all items" in str(found)
    order = registry.films["1"].popularity.order_
    why = explain(later, 900, why_not=int(order[9]) + 1).why_not
    assert (why.reason, why.rank) == ("no_signal", 10)


def test_what_a_list_is_completed_with_is_popular(ran: Any, tmp_path: Path) -> None:
    """One event, and fewer neighbours than places."""
    later = ran("films/2", now=NOW + HOUR)
    news(later, tmp_path, (901, 7, 5, FRESH))
    run(later)
    found = explain(later, 901)
    assert found.recomputed.state == "identical"
    assert [bool(item.causes) for item in found.items] == [True, True, True, False, False]
    assert [item.place is None for item in found.items] == [True, True, True, False, False]
    assert all(item.causes[0].item_id == 7 for item in found.items[:3])


def reason(made: Any, user: int, **asked: Any) -> Any:
    found = explain(made, user, **asked)
    assert (found.items, found.recomputed) == ((), None)
    return found.absent


def test_each_reason_why_a_user_has_no_list(ran: Any, tmp_path: Path) -> None:
    first = explain(ran(), 1).run_id
    later = ran(now=NOW + HOUR)
    assert reason(later, 4711).reason == "never"
    rows = [(555, 3, 11, FRESH), (555, "abc", 2, FRESH), (555, "abc", 2, FRESH), (7, 711, 99, FRESH), (60, 1, 5, FRESH)]
    lenient = {**later.settings.events.model_dump(exclude_unset=True), "max_bad_share": 0.9}
    ingest_events(ran(now=NOW + HOUR, events=lenient), write_events(tmp_path / "bad.csv", rows))
    bad = reason(later, 555)
    assert bad.reason == "quarantined"
    assert bad.said.endswith("in quarantine: item_id is not a whole number (2), weight is outside 0 to 10 (1).")
    assert bad.quarantined == {"item_id is not a whole number": 2, "weight is outside 0 to 10": 1}
    assert reason(later, 711).reason == "never"  # an item, and no user
    news(later, tmp_path, (800, 3, 5, FRESH))
    new = reason(later, 800)
    assert new.reason == "waiting"
    assert "the history is new" in new.said
    later.tables.table("user_history").delete("user_id = 9")
    gone = explain(later, 9)
    assert gone.notes == ("The history has been removed since; the next run removes the list.",)
    assert gone.recomputed.state == "identical"
    second = run(ran(now=NOW + 2 * HOUR)).run_id
    left = reason(later, 9)
    assert (left.reason, left.quarantined) == ("left", None)
    assert f"there after run {first}" in left.said
    assert explain(later, 9, run_id=first).items == gone.items
    assert reason(later, 800, run_id=first).reason == "waiting"
    assert explain(later, 800).run_id == second
    later.tables.table("recommendations").delete("user_id = 10")
    assert reason(later, 10).reason == "removed"


@pytest.mark.both
def test_a_list_that_was_refused_is_explained_from_what_is_staged(ran: Any, tmp_path: Path) -> None:
    later = ran("films/2", now=NOW + HOUR, audit={"min_overlap": 0.99})
    shown = explain(later, 7)
    with pytest.raises(AuditRefused):
        run(later)
    refused = last_run(later)
    found = explain(later, 7, run_id=refused)
    assert (found.run_id, found.model, found.input_version) == (refused, "films version 2", 1)
    assert found.recomputed.said == "The list computed again is the staged one, bit for bit."
    assert found.notes == ("The run was not published: readers see another list, or none.",)
    assert [item.item_id for item in found.items] != [item.item_id for item in shown.items]
    assert all(item.causes for item in found.items)
    assert explain(later, 7, run_id=refused, why_not=found.items[0].item_id).why_not.reason == "listed"
    assert explain(later, 7).items == shown.items
    other = explain(later, 4711, run_id=refused)
    assert (other.absent.reason, len(other.notes)) == ("never", 1)
    assert other.notes[0].startswith(f"Run {refused}, which was not published, has staged nothing for this user")
    later.tables.table(next(iter(later.tables.names("_staging_")))).drop()
    with pytest.raises(InputError, match=rf"Run {refused} has published nothing \(refused\), and has no staged rows"):
        explain(later, 7, run_id=refused)


def last_run(made: Any) -> str:
    return read_log(open_readers(made.settings), kind="run", last=1).runs[0]["run_id"]


def test_a_user_whose_bucket_waits(filled: Any) -> None:
    made = filled()
    run(made, fraction=0.25)
    there = set(published(made))
    waiting = next(user for user in range(1, 61) if user not in there)
    found = reason(made, waiting)
    assert found.reason == "waiting"
    assert "waits (nobody of it has been scored yet)" in found.said
    assert explain(made, min(there)).recomputed.state == "identical"


def foreign(folder: Path, *, with_k: bool = True, fails_at: int = -1, exits_at: int = -1) -> str:
    """A model of somebody else: item i gets the sum of weight / (1 + distance) over the history; pickled by value."""

    class Near(mlflow.pyfunc.PythonModel):
        def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> Any:
            import os

            import pandas as pd

            k, lists = int((params or {}).get("k", 5)), []
            for ids, weights in zip(model_input["item_ids"], model_input["weights"], strict=True):
                if exits_at in list(ids):
                    os._exit(7)
                if fails_at in list(ids):
                    raise ValueError(f"item {fails_at} is not for me")
                items = np.setdiff1d(np.arange(1, 21), ids)
                near = np.asarray(weights) / (1 + np.abs(items[:, None] - np.asarray(ids, int)))
                scores = near.sum(axis=1)
                best = np.lexsort((items, -scores))[:k]
                lists.append((items[best].tolist(), scores[best].tolist()))
            return pd.DataFrame(lists, columns=["item_ids", "scores"])

    params = ParamSchema([ParamSpec("k", DataType.long, 5)]) if with_k else None
    with quiet_mlflow():
        mlflow.pyfunc.save_model(
            str(folder), python_model=Near(), signature=ModelSignature(Schema(HISTORY), Schema(LISTS), params)
        )
    return str(folder)


@pytest.fixture
def strange(pipeline: Any, tmp_path: Path) -> Any:
    def made(**how: Any) -> Any:
        uri = foreign(tmp_path / "near", **how)
        given = pipeline(audit={"max_failed_share": 1.0})
        model = given.settings.model.model_copy(update={"uri": uri, "folder": str(tmp_path / "fetched")})
        return replace(given, settings=given.settings.model_copy(update={"model": model}))

    return made


ROWS = [(1, 3, 5, 1_700_000_001), (1, 9, 2, 1_700_000_002), (1, 15, 1, 1_700_000_003), (2, 4, 1, 1_700_000_004)]


def test_any_other_model_is_explained_by_leaving_each_event_out(strange: Any, tmp_path: Path) -> None:
    made = strange()
    ingest_events(made, write_events(tmp_path / "e.csv", ROWS))
    run(made)
    found = explain(made, 1)
    assert (found.recomputed.state, found.method, found.events) == ("identical", "without_each", 3)
    for item in found.items:
        near = {film: weight / (1 + abs(item.item_id - film)) for _, film, weight, _ in ROWS[:3]}
        assert {cause.item_id: cause.adds for cause in item.causes} == pytest.approx(near, rel=1e-5)
        adds = [cause.adds for cause in item.causes]
        assert adds == sorted(adds, reverse=True)
    assert "by how much the score falls without it" in str(found)


def test_a_model_that_takes_no_k_says_what_it_can(strange: Any, tmp_path: Path) -> None:
    made = strange(with_k=False)
    ingest_events(made, write_events(tmp_path / "e.csv", ROWS))
    run(made)
    found = explain(made, 1, 4, why_not=20)
    assert found.recomputed.state == "identical"
    assert (found.items[0].causes[0].item_id, found.items[0].causes[0].adds) == (3, None)  # next to it
    assert "not listed without" in str(found)
    assert found.why_not.reason == "cannot_say"


def test_a_user_whom_the_model_fails_for(strange: Any, tmp_path: Path) -> None:
    """Without a row before it there is no list; with one that stays, and says that it was tried again."""
    made = strange(fails_at=19)
    ingest_events(made, write_events(tmp_path / "e.csv", [*ROWS, (3, 19, 5, 1_700_000_005)]))
    run(made)
    failed = reason(made, 3)
    assert (failed.reason, failed.code) == ("failed", "MODEL_RAISED")
    refused = replace(made, settings=made.settings.model_copy(update={"audit": AuditSettings(max_failed_floor=0)}))
    with pytest.raises(AuditRefused):
        run(replace(refused, now=NOW + HOUR), full_refresh=True)
    staged = reason(refused, 3, run_id=last_run(refused))
    assert (staged.reason, staged.code) == ("failed", "MODEL_RAISED")
    later = replace(made, now=NOW + HOUR)
    news(later, tmp_path, (2, 19, 3, FRESH))
    run(later)
    kept = explain(made, 2)
    assert kept.recomputed.state == "identical"
    assert any("has tried again and failed with MODEL_RAISED" in note for note in kept.notes)


def test_a_model_that_ends_the_process_ends_nobody_elses(strange: Any, tmp_path: Path) -> None:
    """The list was made before the model was changed under its path: it exits now, and that is what is said."""
    made = strange()
    ingest_events(made, write_events(tmp_path / "e.csv", ROWS))
    run(made)
    kept = next((tmp_path / "fetched" / "near").iterdir())
    shutil.rmtree(kept)
    shutil.copytree(foreign(tmp_path / "other", exits_at=3), kept)
    found = explain(made, 1)
    assert found.recomputed.state == "failed"
    assert "MODEL_EXITED" in found.recomputed.said
    assert found.notes == ("What made the scores cannot be said: the model fails with MODEL_EXITED.",)


def test_what_is_asked_wrongly(ran: Any, pipeline: Any) -> None:
    made = ran()
    with pytest.raises(InputError, match="user ids of this pipeline are whole numbers"):
        explain(made, "Anna")
    with pytest.raises(InputError, match="item ids of this pipeline are whole numbers"):
        explain(made, 1, "Alien")
    own = {item for item, _ in listed(made, 1)}
    other = next(item for item in range(1, 41) if item not in own)
    with pytest.raises(InputError, match=f"Item {other} is not in the list of user 1. .*--why-not {other}"):
        explain(made, 1, other)
    with pytest.raises(InputError, match="No run nope was published"):
        explain(made, 1, run_id="nope")
    with pytest.raises(ConfigurationError, match="input section"):
        explain(pipeline(engine="spark", input={"path": "x", "key": "y"}), 1)


def test_nobody_needs_a_session_to_be_told_why(ran: Any) -> None:
    """In a process of its own, as a command is, where nothing of Spark can be imported (MLflow does where it can)."""
    made = ran()
    settings = made.settings.model_dump(mode="json", exclude_unset=True)
    settings["export"] = None
    code = (
        "import json, sys; sys.modules |= dict.fromkeys(['pyspark', 'py4j', 'pysail', 'delta']); "
        "from scoreline import Pipeline; print(Pipeline(json.loads(sys.argv[1])).explain(1).recomputed.state)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, json.dumps(settings)], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("identical\n", "")
