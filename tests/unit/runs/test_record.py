"""What a command says of itself, and what becomes of it in the row."""

import json
from datetime import UTC, datetime

import pytest

from scoreline.errors import AuditRefused, InputError, RunFailed, RunInProgress, Superseded
from scoreline.redaction import remember
from scoreline.runs.record import Record

AT = datetime(2026, 7, 1, 3, tzinfo=UTC)


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (AuditRefused("x"), "refused"),
        (Superseded("x"), "superseded"),
        (RunFailed("x"), "failed"),
        (RunInProgress("x"), "failed"),
        (InputError("x"), "failed"),
        (ZeroDivisionError("x"), "failed"),
        (KeyboardInterrupt(), "interrupted"),
        (SystemExit(1), "interrupted"),
    ],
)
def test_an_error_says_how_it_ended(error: BaseException, state: str) -> None:
    record = Record("run", AT)
    record.fail(error, str(error))
    assert record.state == state


def test_a_state_that_was_said_before_the_error_stays() -> None:
    record = Record("promote", AT, state="refused")
    record.fail(InputError("worse"), "worse")
    assert (record.state, record.facts["error"]) == ("refused", "worse")


def test_facts_are_json_without_what_is_unknown_and_without_secrets() -> None:
    remember("hushhush")
    record = Record("run", AT)
    record.lap("open")
    record.lap("audit")
    record.read("user_history", 7)
    record.wrote("recommendations", 3)
    record.say(reasons={"new": 3}, model=None, url="postgresql://app:hushhush@db/shop", at=AT)
    text = record.figures()
    said = json.loads(text)
    assert "hushhush" not in text
    assert list(said["steps"]) == ["open", "audit"]
    assert (said["read"], said["written"], said["reasons"]) == ({"user_history": 7}, {"recommendations": 3}, {"new": 3})
    assert "model" not in said


def test_two_commands_of_one_second_have_names_of_their_own() -> None:
    assert len({Record("run", AT).run_id for _ in range(50)}) == 50
