"""When users are due next, by what the logs say."""

import json
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import NOW, write_events
from embedded import HOUR
from scoreline.ingest.ingest import ingest_events
from scoreline.operations.next_due import NextDue, next_due
from scoreline.pipeline.published import target_of
from scoreline.pipeline.run import run
from scoreline.runs.freshness import measure
from scoreline.tables import schema
from scoreline.tables.appending import append_row
from scoreline.tables.reading import open_readers


def due(made: Any, *, hours: float = 1) -> NextDue:
    readers, now = open_readers(made.settings), NOW + hours * HOUR
    target = target_of(readers, readers.settings.name)
    return next_due(readers, target, measure(readers, target, now=now), now=now)


def test_before_the_first_run_everybody_is_due(filled: Any) -> None:
    assert due(filled()).now == ("nothing is published yet",)


def test_after_a_run_nobody_is_due_until_there_is_news(ran: Any, tmp_path: Path) -> None:
    assert due(ran()) == NextDue((), None)
    assert str(due(ran())) == "with news: events, another model version, other rules"
    ingest_events(ran(now=NOW + HOUR), write_events(tmp_path / "news.csv", [(7, 33, 5, 1_780_000_000)]))
    assert str(due(ran())) == "now: user_history has changed since (it is at version 2)"
    run(ran(now=NOW + 2 * HOUR))
    assert due(ran()) == NextDue((), None)


def test_age_makes_the_oldest_due(ran: Any) -> None:
    aged = ran(scoring={"k": 5, "max_age": "24h"})
    assert due(aged) == NextDue((), NOW + timedelta(hours=24))
    assert due(aged, hours=25).now == ("rows are older than scoring.max_age",)


def test_after_a_run_of_some_buckets_it_is_not_known_whether_others_are_due(filled: Any) -> None:
    run(filled(), fraction=0.25)
    assert due(filled()) == NextDue((), None, unknown=True)
    assert str(due(filled())) == (
        "not known until the next run or plan: no run has looked at all users since what readers see was published"
    )


@pytest.mark.both
def test_a_promoted_version_makes_everybody_due(ran: Any) -> None:
    made, at = ran(), NOW + HOUR
    row = {"run_id": "t", "kind": "train", "state": "done", "started_at": at, "finished_at": at,
           "model": "films version 2", "users": 0, "figures": json.dumps({"promoted": "2"})}  # fmt: skip
    append_row(made.tables.table("runs").location, schema.runs().json(), row)
    assert due(ran("films@champion")).now == ("films version 2 was promoted since",)
    assert due(made) == NextDue((), None)  # a pipeline that names its version follows no alias
