"""How old published rows are, by what is known of them, and when a promise is broken."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from builders import NOW
from embedded import HOUR
from scoreline.config.section import parse_duration
from scoreline.errors import AuditRefused
from scoreline.operations.status import status
from scoreline.pipeline.rollback import roll_back
from scoreline.pipeline.run import run
from scoreline.runs.freshness import Freshness, measure
from scoreline.tables import schema
from scoreline.tables.appending import append_row
from scoreline.tables.reading import open_readers

PROMISE = {"freshness": {"max_age": "26h", "share": 0.9}}


def fresh(made: Any, hours: float, **promise: Any) -> Freshness:
    readers = open_readers(made(**(PROMISE if not promise else {"freshness": promise})).settings)
    found = measure(readers, readers.table("recommendations"), now=NOW + hours * HOUR)
    assert found is not None
    return found


def test_rows_grow_old_if_no_run_looks_at_them(ran: Any) -> None:
    young, old = fresh(ran, 25), fresh(ran, 27)
    assert (young.fresh_share, young.stale, young.users) == (1.0, False, 60)
    assert (old.fresh_share, old.stale) == (0.0, True)
    assert str(old).splitlines()[1] == "STALE      0.00% of 60 users have a row younger than 26 h, promised are 90.00%"


def test_a_run_that_finds_nobody_due_keeps_them_young(ran: Any) -> None:
    assert run(ran(now=NOW + 24 * HOUR)).state == "nothing_due"
    found = fresh(ran, 49)
    assert (found.fresh_share, found.known_at, found.newest) == (1.0, NOW + 24 * HOUR, NOW)
    assert fresh(ran, 51).stale


def test_a_run_that_the_model_failed_for_some_keeps_all_others_young(ran: Any) -> None:
    made = ran(now=NOW + 24 * HOUR)
    figures = json.dumps({"fraction": 1, "failed": 3})
    row = {"run_id": "r", "kind": "run", "state": "only_failures", "started_at": made.now,
           "finished_at": datetime.now(UTC), "model": "films version 1", "users": 0, "figures": figures}  # fmt: skip
    append_row(made.tables.table("runs").location, schema.runs().json(), row)
    found = fresh(ran, 49)
    assert (found.fresh_share, found.failed, found.known_at) == (0.95, 3, made.now)
    assert str(found).splitlines()[0].endswith(f"all right as of {made.now:%Y-%m-%d %H:%M:%S} UTC but for 3 who failed")


@pytest.mark.both
def test_a_run_of_some_buckets_says_nothing_of_the_others(ran: Any) -> None:
    run(ran(now=NOW + 24 * HOUR), fraction=0.5)
    assert fresh(ran, 49).stale


def test_rows_of_another_version_are_as_old_as_they_were(ran: Any) -> None:
    run(ran(now=NOW + 24 * HOUR), full_refresh=True)
    assert run(ran(now=NOW + 25 * HOUR)).state == "nothing_due"
    assert not fresh(ran, 49).stale
    roll_back(ran(now=NOW + 26 * HOUR))
    assert fresh(ran, 49).stale


def test_it_is_known_until_when_a_promise_will_be_kept(ran: Any) -> None:
    """Of 60 users 31 are scored again: a promise of up to 31 lives by these, one of more by the others."""
    run(ran(now=NOW + 24 * HOUR), users=range(1, 32), full_refresh=True)
    kept = {share: fresh(ran, 24, max_age="26h", share=share).until for share in (0.5, 31 / 60, 0.52, 1)}
    assert kept == {0.5: NOW + 50 * HOUR, 31 / 60: NOW + 50 * HOUR, 0.52: NOW + 26 * HOUR, 1: NOW + 26 * HOUR}
    assert run(ran(now=NOW + 30 * HOUR)).state == "nothing_due"
    found = fresh(ran, 30)
    assert found.until == NOW + 56 * HOUR
    assert not fresh(ran, 56).stale
    assert fresh(ran, 56.01).stale


def test_without_a_promise_nothing_is_stale(ran: Any) -> None:
    readers = open_readers(ran().settings)
    found = measure(readers, readers.table("recommendations"), now=NOW + timedelta(days=900))
    assert found is not None
    assert (found.stale, found.fresh_share, found.rows) == (False, None, 60)


def test_a_promise_is_broken_before_the_first_run(filled: Any) -> None:
    found = status(open_readers(filled(**PROMISE).settings), now=NOW)
    assert (found.stale, found.published) == (True, None)
    assert found.verdict == "test: no run is in the log; nothing is published yet"
    assert found.freshness is not None
    assert (found.freshness.users, found.freshness.fresh_share, found.freshness.until) == (60, 0.0, None)


def test_status_says_what_was_tried_and_what_was_done(ran: Any) -> None:
    with pytest.raises(Exception, match="no version 99"):
        run(ran(model="films/99", now=NOW + 5 * HOUR))
    found = status(open_readers(ran().settings))
    last = found.last["run"]
    run_id = found.runs[0]["run_id"]
    assert last == {"tried_at": NOW + 5 * HOUR, "run_id": run_id, "state": "failed", "done_at": NOW}
    assert f"failed; done {NOW:%Y-%m-%d %H:%M:%S} UTC; why: scoreline log {run_id}\n" in str(found)
    assert isinstance(last["tried_at"], datetime)
    assert found.published is not None
    head = str(found).splitlines()[0]
    assert head.startswith("test: the last run failed: model films has no version 99")
    assert head.endswith(f" ({NOW + 5 * HOUR:%Y-%m-%d %H:%M:%S} UTC); readers see run {found.published['run_id']}")


def test_status_names_the_limit_that_refused_the_last_run(ran: Any) -> None:
    published = status(open_readers(ran().settings)).published
    with pytest.raises(AuditRefused):
        run(ran(audit={"max_top_item_share": 0.01}, now=NOW + HOUR), full_refresh=True)
    assert published is not None
    assert re.fullmatch(
        r"test: the last run was refused: share of the top item is [\d.]+, expected at most 0\.01 "
        rf"\(audit\.max_top_item_share\) \(.* UTC\); readers see run {published['run_id']}",
        status(open_readers(ran().settings)).verdict,
    )


@pytest.mark.parametrize(
    ("max_age", "said"),
    [("26h", "26 h"), ("7d", "168 h"), ("90m", "90 min"), ("60s", "1 min"), ("1s", "1 s"), ("100s", "100 s")],
)
def test_the_longest_age_is_said_in_the_units_of_people(max_age: str, said: str) -> None:
    promised = parse_duration(max_age)
    assert isinstance(promised, timedelta)
    assert Freshness(None, None, 0, None, max_age=promised).longest == said
