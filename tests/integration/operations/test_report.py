"""The page of a run as its tables tell it: published, refused, of a tabular model, of an earlier version of ours."""

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import NOW, write_events
from integration.truth import published
from scoreline.api import Pipeline
from scoreline.context import Context
from scoreline.engine.frames import one_row
from scoreline.errors import AuditRefused, InputError
from scoreline.ingest.ingest import ingest_events
from scoreline.ingest.items import ingest_items
from scoreline.operations.log import read_log
from scoreline.operations.report.facts import Due, RunFacts
from scoreline.operations.report.gather import find_run, gather
from scoreline.operations.report.run_page import render, verdict_of
from scoreline.operations.report.written import write_page
from scoreline.pipeline.run import run
from scoreline.registry.client import quiet_mlflow
from scoreline.runs.begun import marked
from scoreline.runs.record import Record
from scoreline.tables import schema
from scoreline.tables.reading import open_readers

LATER = NOW + timedelta(hours=1)
ITEMS = {"item_id": "item", "title": "title", "genres": "genres"}


def facts(made: Context, run_id: str | None = None) -> RunFacts:
    readers = open_readers(made.settings, made.spark)
    return gather(readers, run=find_run(readers, run_id=run_id), now=made.now)


@pytest.fixture
def titled(ran: Any, tmp_path: Path) -> Any:
    """A first run by version 1 is published, and items have titles."""
    rows = [(item, f"Film {item}", "Drama" if item % 2 else "Drama|War") for item in range(1, 41)]
    ingest_items(ran(items=ITEMS), write_events(tmp_path / "items.csv", rows, "item,title,genres"))
    return ran


@pytest.mark.both
def test_a_published_run_is_told_from_its_tables(titled: Any) -> None:
    before = published(titled())
    report = run(titled("films/2", now=LATER))
    after = published(titled())

    found = facts(titled("films/2"))

    assert found.run.run_id == found.shown == report.run_id
    assert len(found.earlier) == 1
    assert replace(found.due, reasons=None) == Due(60, 60, 0, 0, 0, rows_before=60, rows_after=60)
    assert found.lists is not None
    assert (found.lists.users, found.lists.of, found.lists.replaced) == (60, 60, 60)
    kept = [len({*before[user]} & {*after[user]}) / 5 for user in before]
    assert found.lists.repeated == pytest.approx(sum(kept) / 60) == pytest.approx(report.audit.overlap)
    assert (found.lists.same, found.lists.other) == (kept.count(1.0), kept.count(0.0))
    assert found.lists.lengths == ((5, 60, 60),)
    assert [part.name for part in found.lists.genres] == ["Drama", "War"]
    assert found.lists.genres[0].now == 1
    assert {one.user_id: [item.item_id for item in one.now] for one in found.examples} == {
        one.user_id: after[one.user_id] for one in found.examples
    }
    assert {one.user_id: [item.item_id for item in one.before or ()] for one in found.examples} == {
        one.user_id: before[one.user_id] for one in found.examples
    }
    assert len(found.examples) == 10
    assert all(one.history for one in found.examples)
    assert found.titles[found.lists.top[0].item_id] == f"Film {found.lists.top[0].item_id}"
    assert found.model is not None
    assert (found.model.name, found.model.version, found.missing) == ("films", "2", {})
    assert verdict_of(found).lines == ("60 of 60 users who were due have new rows in version 2.",)


@pytest.mark.both
def test_a_refused_run_is_told_from_what_is_staged(titled: Any, tmp_path: Path) -> None:
    made = titled("films/2", now=LATER, audit={"min_overlap": 0.99})
    before = facts(made).run.run_id
    with pytest.raises(AuditRefused):
        run(made)

    found = facts(made)

    assert (found.run.state, found.shown) == ("refused", before)
    assert found.run.broken[0].startswith("overlap with the lists replaced is")
    assert found.due.reasons == {"other_model": 60}
    assert (found.due.rows_before, found.due.rows_after) == (None, None)
    assert found.lists is not None
    assert (found.lists.users, found.lists.replaced) == (60, 60)
    written = write_page(open_readers(made.settings), file=tmp_path / "page.html")
    page = written.file.read_text(encoding="utf-8")
    assert f"Readers still see run {before}." in page
    assert "Film 1" in page

    by_now = run(titled("films/2", now=LATER + timedelta(hours=1)), restart=True).run_id
    since = facts(made, found.run.run_id)
    assert (since.run.state, since.shown, since.overtaken) == ("refused", by_now, True)


def test_a_run_of_few_is_about_these(titled: Any, tmp_path: Path) -> None:
    ingest_events(
        titled(now=LATER), write_events(tmp_path / "news.csv", [(1, 20, 5, 1_760_000_000), (2, 20, 5, 1_760_000_000)])
    )
    run(titled(now=LATER))

    found = facts(titled())

    assert found.lists is not None
    assert (found.lists.users, found.lists.of) == (2, 2)
    assert {one.user_id for one in found.examples} == {1, 2}
    assert (found.due.rows_before, found.due.rows_after) == (60, 60)


def test_a_row_of_an_earlier_version_says_less_and_guesses_nothing(titled: Any) -> None:
    made = titled()
    old = ("old run", "run", "published", LATER, LATER, "films version 0", 9, json.dumps({"scored": 9, "wanted": 9}))
    made.tables.table("runs").write(one_row(made.spark, old, schema.runs()), "append")

    found = facts(made, "old run")

    assert (found.run.limits, found.due.reasons, found.lists, found.model) == (None, None, None, None)
    assert found.missing == {
        "lists": "The table's log no longer reaches back to this run, so its lists are not compared."
    }
    assert [trend.name for trend in found.trends] == ["users scored"]
    assert found.versions == (("configuration", "not recorded"), ("engine", "not recorded"))


def test_no_such_run_is_one_message(titled: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no run nobody's; the last are "):
        Pipeline(titled().settings).report("nobody's", file=tmp_path / "page.html")
    (ingest,) = read_log(open_readers(titled().settings), kind="ingest", last=1).runs
    with pytest.raises(InputError, match=f"{ingest['run_id']} is an ingest; .*: scoreline log {ingest['run_id']}"):
        Pipeline(titled().settings).report(ingest["run_id"], file=tmp_path / "page.html")
    with pytest.raises(InputError, match="nobody was due"):
        Pipeline(titled().settings).report(since=LATER + timedelta(days=365 * 50))
    assert not (tmp_path / "page.html").exists()


def test_a_killed_run_is_the_newest_before_anybody_has_written_it_down(titled: Any, tmp_path: Path) -> None:
    made = titled(now=LATER)
    before = facts(made).run.run_id
    with marked(made.settings.home, Record("run", LATER, "killed"), "scoreline run"):
        assert facts(made).run.run_id == before
        with pytest.raises(InputError, match=r"Run killed has no page \(running\); .*: scoreline log killed"):
            facts(made, "killed")
        [mark] = (made.settings.home / ".begun").glob("*.json")
        left = mark.read_text()
    mark.write_text(left)

    written = write_page(open_readers(made.settings), file=tmp_path / "page.html")

    assert (written.run_id, written.state) == ("killed", "interrupted")
    page = written.file.read_text(encoding="utf-8")
    assert "It has begun and never ended: its process is gone." in page
    assert f"Readers still see run {before}." in page


def test_a_killed_run_is_told_from_what_it_has_staged(ran: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no more in the log than that it began."""
    from scoreline.pipeline import slices

    real, scored = slices.scored_slice, []

    def dying(snapshot: Any, part: Any, due: Any, **rest: Any) -> Any:
        if scored:
            raise KeyboardInterrupt
        scored.append(part.number)
        return real(snapshot, part, due, **rest)

    made = ran("films/2", now=LATER, scoring={"k": 5, "slice_users": 15})
    monkeypatch.setattr(slices, "scored_slice", dying)
    with pytest.raises(KeyboardInterrupt):
        run(made)
    readers = open_readers(made.settings, made.spark)
    stopped = facts(made).run
    killed = replace(stopped, figures={"error": "its process is gone"})
    found = gather(readers, run=killed, now=made.now)
    lost = gather(readers, run=replace(killed, run_id="another"), now=made.now)

    assert found.due.reasons == {"other_model": 60}
    assert found.due.slices is not None
    done, of = found.due.slices
    assert (done, of > 1) == (1, True)
    assert (
        f"It ended before it was counted what became of them; nothing was published. 1 of {of} slices is staged."
        in (render(found))
    )
    assert "Who was due is not recorded: it was killed; nothing was published." in render(lost)
    assert lost.missing["lists"].startswith("Not recorded: it was killed")


@pytest.fixture
def prices(registry: Any) -> Iterator[str]:
    """A model of one number to another, registered for a while."""
    import mlflow
    import pandas as pd
    from mlflow.models import infer_signature
    from sklearn.linear_model import LinearRegression

    table = pd.DataFrame({"size": [1.0, 2.0, 3.0]})
    model = LinearRegression().fit(table, [10.0, 20.0, 30.0])
    with quiet_mlflow():
        mlflow.set_tracking_uri(registry.uri)
        mlflow.set_experiment("models")
        with mlflow.start_run():
            mlflow.sklearn.log_model(
                model,
                name="model",
                signature=infer_signature(table, model.predict(table)),
                registered_model_name="prices",
                skops_trusted_types=["numpy.dtype"],
            )
    yield "prices/1"
    mlflow.MlflowClient(registry.uri).delete_registered_model("prices")


def test_a_tabular_run_shows_its_outputs(pipeline: Any, prices: str, tmp_path: Path) -> None:
    place = str(tmp_path / "features")
    given = {"input": {"path": place, "key": "home"}, "keys": {"user_id": "string"}}

    def priced(add: float, **changes: Any) -> Context:
        made: Context = pipeline(prices, **given, **changes)
        rows = made.spark.createDataFrame([(f"h{n}", n + add) for n in range(20)], "home string, size double")
        rows.write.format("delta").mode("overwrite").save(place)
        run(made)
        return made

    priced(0.0)
    made = priced(1.0, now=LATER)

    found = facts(made)

    assert found.lists is None
    assert found.outputs is not None
    assert (found.outputs.users, found.outputs.of, found.outputs.replaced) == (20, 20, 20)
    [price] = found.outputs.outputs
    assert [(spread.label, spread.users, round(spread.mean, 6)) for spread in price.spreads] == [
        ("now, version 1", 20, 105.0), ("before, version 1", 20, 95.0),
    ]  # fmt: skip
    assert {round(now - before, 6) for one in found.examples for now, before in one.outputs.values()} == {10.0}  # type: ignore[operator]
    assert write_page(open_readers(made.settings), file=tmp_path / "page.html").state == "published"
