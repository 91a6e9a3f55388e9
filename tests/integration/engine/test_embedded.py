"""The embedded engine beside Spark: the same tables from the same input, and each goes on where the other stopped.

A process has one engine, so the embedded one works in a process of its own and Spark in the test's session.
"""

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from builders import NOW, context, settings, write_events
from embedded import HOUR, embedded, rows
from faults.poison import kinds, save
from integration.conftest import events_of
from scoreline.context import open_context
from scoreline.engine.choice import is_embedded
from scoreline.errors import ConfigurationError
from scoreline.ingest.ingest import ingest_events
from scoreline.pipeline.rollback import roll_back
from scoreline.pipeline.run import plan_run, run

pytest.importorskip("pysail")
pytestmark = pytest.mark.spark  # it compares with it
OF_A_RUN = ("run_id", "scored_at")
OF_AN_INGEST = ("ingested_at",)


@pytest.fixture
def events(tmp_path: Path) -> str:
    """Good rows and every kind of bad one, among them a line with a field too many and one with too few."""
    good = [*events_of(), *((61, item, 3, 1_700_000_000 + item) for item in range(1, 41))]
    path = Path(write_events(tmp_path / "events.csv", good))
    bad = [
        "x,1,2,1700000000", ",1,2,1700000000", "5,,2,1700000000", "5,1,99,1700000000", "5,1,2,never",
        "5,1,2,4102444800", "5,1,2,12", "5,1,2,1700000000,more", "5,1", "5,1,2,1700000000,more", '"5","1","2",""',
    ]  # fmt: skip
    path.write_text(path.read_text() + "\n".join(bad) + "\n")
    return str(path)


def test_the_same_input_gives_the_same_tables(pipeline: Any, events: str, tmp_path: Path) -> None:
    """Histories, quarantine with its reasons, lists with their scores; then news, merged by both."""
    shape = {
        "histories": {"buckets": 8, "max_items": 20},
        "events": _events(max_bad_share=0.5),
        "audit": {"max_empty_share": None},
    }
    one = pipeline(**shape, tables={"root": str(tmp_path / "embedded")})
    two = pipeline(**shape, tables={"root": str(tmp_path / "spark")}, now=NOW)
    news = write_events(tmp_path / "news.csv", [(7, 33, 5, 1_780_000_000), (900, 7, 4, 1_780_000_001), (61, 2, 5, 1)])
    reports = embedded(one, ("ingest", events), ("run", {}), ("ingest", news), ("run", {}))
    assert [report.get("error") for report in reports] == [None] * 4
    spark = [ingest_events(two, events), run(two), ingest_events(two, news), run(two)]
    for ours, theirs in zip(reports, spark, strict=True):
        said = json.loads(theirs.to_json())
        told = ("rows_good", "rows_bad", "reasons", "users_changed", "items_beyond", "state", "resumed_slices")
        assert {key: ours.get(key) for key in told} == {key: said.get(key) for key in told}
        assert ours.get("audit") == said.get("audit")
    assert rows(one, "user_history") == rows(two, "user_history")
    assert rows(one, "quarantine", without=OF_AN_INGEST) == rows(two, "quarantine", without=OF_AN_INGEST)
    assert rows(one, "recommendations", without=OF_A_RUN) == rows(two, "recommendations", without=OF_A_RUN)
    assert len(rows(one, "recommendations")) == 62


def _events(**more: Any) -> dict[str, Any]:
    columns = {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}
    return {"columns": columns, "weight_range": [0, 10], **more}


def test_spark_goes_on_where_the_embedded_engine_stopped(pipeline: Any, tmp_path: Path) -> None:
    made = pipeline(now=NOW + HOUR)
    source = write_events(tmp_path / "events.csv", events_of())
    assert [r.get("error") for r in embedded(made, ("ingest", source), ("run", {}))] == [None, None]
    first = rows(made, "recommendations")
    assert run(made).state == "nothing_due"  # hashes and notes are read alike: nobody is due by another engine
    news = write_events(tmp_path / "news.csv", [(7, 33, 5, 1_780_000_000)])
    assert ingest_events(made, news).users_changed == 1
    assert plan_run(made).reasons == {"changed": 1}
    assert run(made).audit.scored == 1  # type: ignore[union-attr]
    roll_back(pipeline(now=NOW + 2 * HOUR))
    assert rows(made, "recommendations") == first


def test_the_embedded_engine_goes_on_where_spark_stopped(ran: Any, tmp_path: Path) -> None:
    """Over a table with deletion vectors, which MERGE and UPDATE of Spark's leave behind."""
    made = ran(now=NOW + HOUR)
    first = rows(made, "recommendations")
    news = write_events(tmp_path / "news.csv", [(7, 33, 5, 1_780_000_000), (8, 34, 5, 1_780_000_000)])
    ingest_events(made, news)
    run(made)
    second = rows(made, "recommendations")
    more = write_events(tmp_path / "more.csv", [(9, 35, 5, 1_780_000_000)])
    nothing, shown, ingested, plan, ran_again, back, exported = embedded(
        made, ("run", {}), ("show", "7"), ("ingest", more), ("plan", {}), ("run", {}), ("rollback", {}), ("export", {}),
        hours=2,
    )  # fmt: skip
    assert nothing["state"] == "nothing_due"
    assert shown["history"][0]["item_id"] == 33
    assert (ingested["users_changed"], plan["reasons"]) == (1, {"changed": 1})
    assert (ran_again["state"], ran_again["audit"]["scored"]) == ("published", 1)
    assert rows(made, "recommendations") == second
    assert (back["run_id"], back["exported"]["replaced"], exported["replaced"]) == (_run_of(second), 60, 0)
    roll_back(ran(now=NOW + 3 * HOUR))
    assert rows(made, "recommendations") == first


def test_vacuum_leaves_the_deletion_vectors_that_spark_has_written(ran: Any) -> None:
    """They are named by the log and by nothing in the folder; all files of the table are of long ago."""
    made = ran()
    table = made.tables.table("user_history")
    made.spark.sql(f"DELETE FROM delta.`{table.location}` WHERE user_id = 7")
    left, folder = rows(made, "user_history"), Path(table.location)
    vectors = sorted(folder.glob("**/deletion_vector_*"))
    assert vectors
    orphan = folder / "part-dead.parquet"
    shutil.copy(next(folder.glob("part*.parquet")), orphan)
    for file in folder.glob("*.*"):
        os.utime(file, (time.time() - 10 * 86_400,) * 2)
    (swept,) = embedded(made, ("vacuum", {}))
    assert swept.get("error") is None
    assert (sorted(folder.glob("**/deletion_vector_*")), orphan.exists()) == (vectors, False)
    assert rows(made, "user_history") == left


def _run_of(found: list[tuple[Any, ...]]) -> str:
    return max(value for row in found for value in row if value.startswith("'2026")).strip("'")


def test_what_the_engine_cannot_do_is_said_before_anything_is_done() -> None:
    beyond = settings(
        engine="embedded",
        tables={"catalog": "main.films"},
        spark={"spark.master": "local[1]"},
        input={"table": "main.films.features", "key": "customer"},
    )
    said = r"tables.catalog is main.films .*; spark has spark.master .*; input.table is main.films.features"
    with pytest.raises(ConfigurationError, match=said):
        open_context(beyond)
    assert not is_embedded(beyond.model_copy(update={"engine": "auto"}))


def test_a_quote_that_is_never_closed_is_refused_in_words(pipeline: Any, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.csv"
    damaged.write_text('user,item,rating,at\n1,2,3,"1700000000\n' + "1,2,3,1700000000\n" * 700_000)
    (ingested,) = embedded(pipeline(events=_events()), ("ingest", str(damaged)))
    assert ingested["error"].startswith(f"InputError: {damaged} has a quote that is not closed on its line, before ")
    assert "engine: spark" in ingested["error"]


@pytest.mark.parametrize("after", ["", '1,2,3,4",1700000000\n'], ids=["a value", "a line of too many fields"])
def test_a_quote_that_is_closed_on_another_line_is_refused(pipeline: Any, tmp_path: Path, after: str) -> None:
    """Arrow would take the lines between for one value, and nobody would miss them."""
    damaged = tmp_path / "damaged.csv"
    lines = "1,2,3,1700000000\n" * 3
    damaged.write_text('user,item,rating,at\n1,2,3,"1700000000\n' + lines + (after or '1,2,3,1700000000"\n') + lines)
    (ingested,) = embedded(pipeline(events=_events()), ("ingest", str(damaged)))
    assert ingested["error"].startswith(f"InputError: {damaged} has a quote that is not closed on its line, before ")
    assert "engine: spark" in ingested["error"]


def test_auto_takes_the_session_that_exists(spark: SparkSession, tmp_path: Path) -> None:
    assert open_context(settings(tmp_path, engine="auto")).spark is spark


def test_a_model_that_kills_its_workers_does_not_take_the_engine_along(spark: SparkSession, tmp_path: Path) -> None:
    """Who crashed, exited or raised is named, as on Spark; the others are scored."""
    poison = {
        item: code for item, (_, code) in kinds().items() if code in ("MODEL_CRASHED", "MODEL_EXITED", "MODEL_RAISED")
    }
    good = [(user, 1, 5, 1_700_000_000) for user in range(1, 21)]
    bad = [(100 + item, item, 5, 1_700_000_000) for item in poison]
    audit = {"max_failed_share": 0.9, "max_empty_share": None}
    made = context(spark, tmp_path / "tables", model={"uri": str(save(tmp_path / "model"))}, audit=audit)
    ingested, report = embedded(made, ("ingest", write_events(tmp_path / "e.csv", [*good, *bad])), ("run", {}))
    assert ingested.get("error") is None
    assert report.get("error") is None
    assert (report["audit"]["scored"], report["audit"]["failed"]) == (20, len(poison))
    found = made.tables.table("scoring_errors").read().select("user_id", "code").collect()
    assert {row["user_id"] - 100: row["code"] for row in found} == poison
