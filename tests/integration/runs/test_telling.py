"""Who is told of what, how often, and what it costs when nobody answers; the other end is a real server."""

import socket
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders import settings
from scoreline import Pipeline
from scoreline.cli.main import entry
from scoreline.config.loading import load_settings
from scoreline.config.settings import Settings
from scoreline.errors import (
    AuditRefused,
    ConfigurationError,
    InputError,
    Mistyped,
    RunFailed,
    RunInProgress,
    ScorelineError,
)
from scoreline.redaction import redacted
from scoreline.runs.keeping import kept
from scoreline.runs.telling import tell_stale, watched
from scoreline.tables.names import Kind
from scoreline.tables.reading import open_readers
from scoreline.typed import given

pytest.importorskip("apprise")

HIDDEN = "T0ken/B1nd/xyzzyx"


def telling(root: Path, *to: str, **said: object) -> Settings:
    return settings(root, engine="embedded", notify={"to": list(to), **said})


def ended(
    made: Settings,
    error: ScorelineError | None = None,
    *,
    state: Any = None,
    kind: Kind = "run",
    page: Any = None,
    left: str | None = None,
) -> None:
    """A command that does nothing, and ends so."""
    with suppress(ScorelineError), kept(made, kind, now=datetime.now(UTC)) as record:
        record.state, record.users, record.page, record.left = state, 60, page, left
        if error is not None:
            raise error


def test_each_end_that_is_asked_for_is_told_once(heard: Any, tmp_path: Path) -> None:
    address, messages = heard
    made = telling(tmp_path, address, on=["refused", "failed", "recovered", "published"])
    ended(made, state="published")
    ended(made, AuditRefused("overlap is 0.1, expected at least 0.5"))
    ended(made, InputError("no such file"), kind="ingest")
    ended(made, state="nothing_due")  # nothing has recovered yet
    ended(made, state="published")
    ended(made, state="nothing_due")
    ended(made, kind="ingest")
    runs = [title.split()[3].rstrip(":") for title, *_ in messages]
    assert [(title, kind) for title, _, kind in messages] == [
        (f"test published: run {runs[0]}", "success"),
        (f"test refused: run {runs[1]}", "warning"),
        (f"test failed: ingest {runs[2]}", "failure"),
        (f"test recovered: run {runs[3]}: published", "success"),
        (f"test recovered: ingest {runs[4]}: done", "success"),
    ]
    assert [body for _, body, _ in messages[1:3]] == [
        f"overlap is 0.1, expected at least 0.5\n\nNext: scoreline report --run {runs[1]}, "
        f"then scoreline approve {runs[1]} --reason REASON, or mend it and scoreline run",
        f"no such file\n\nNext: scoreline log {runs[2]}, then mend it, then ingest once more",
    ]


@pytest.mark.parametrize(
    ("on", "titles"),
    [
        (["failed", "recovered", "refused"], ["failed", "recovered", "refused"]),
        (["recovered"], ["recovered"]),
        (["refused"], ["refused", "refused"]),
    ],
)
def test_a_command_that_has_left_something_may_have_recovered(
    heard: Any, tmp_path: Path, on: list[str], titles: list[str]
) -> None:
    address, messages = heard
    made = telling(tmp_path, address, on=on)
    ended(made, InputError("no such folder"), kind="ingest")
    for _ in range(2):
        ended(made, kind="ingest", left="bad.csv could not be taken")
    assert [title.split()[1].rstrip(":") for title, *_ in messages] == titles
    said = [body for title, body, _ in messages if "failed" not in title]
    assert all(body.startswith("bad.csv could not be taken") for body in said)


def test_what_another_command_held_off_has_not_failed_and_is_nothing_to_recover_from(
    heard: Any, tmp_path: Path
) -> None:
    address, messages = heard
    made = telling(tmp_path, address, on=["failed", "recovered"])
    ended(made, state="published")
    ended(made, RunInProgress("another run works"))
    ended(made, state="published")
    assert messages == []


def test_a_typing_error_is_told_to_who_made_it_only(heard: Any, tmp_path: Path) -> None:
    address, messages = heard
    made = telling(tmp_path, address, on=["failed", "recovered"])
    ended(made, state="approved", kind="approve")
    ended(made, Mistyped("There are no staged rows of run 2026"), kind="approve")
    ended(made, state="approved", kind="approve")
    assert messages == []


def test_what_is_tried_again_is_no_news_and_neither_is_that_it_then_went_well(heard: Any, tmp_path: Path) -> None:
    address, messages = heard
    made = telling(tmp_path, address, on=["refused", "failed", "recovered"])
    with watched("nightly", again=True):
        ended(made, RunFailed("the database is away"))
        ended(made, state="published")
        assert messages == []
        ended(made, AuditRefused("overlap is 0.1"))
    ended(made, RunFailed("the database is still away"))
    with watched("nightly", again=True):
        ended(made, RunFailed("the database is away"))
        ended(made, state="published")
    assert [title.split(":")[0] for title, *_ in messages] == ["test refused", "test failed", "test recovered"]


def test_the_commands_to_type_name_the_configuration_that_came_by_option(heard: Any, tmp_path: Path) -> None:
    address, messages = heard
    with given("--config", "my films.yaml"):
        ended(telling(tmp_path, address), RunFailed("the disk is full"))
    run = messages[0][0].split()[3]
    assert messages[0][1] == (
        f"the disk is full\n\nNext: scoreline log {run} --config 'my films.yaml', "
        "then mend it, then scoreline run --config 'my films.yaml'"
    )


def test_a_run_is_to_be_typed_with_the_options_that_decided_what_it_was(
    heard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, messages = heard
    monkeypatch.setattr("sys.argv", ["/bin/scoreline", "run", "--full-refresh", "--set", "model.uri=models:/slow/1"])
    ended(telling(tmp_path, address), RunFailed("the disk is full"))
    assert messages[0][1].endswith("mend it, then scoreline run --full-refresh --set model.uri=models:/slow/1")


def test_the_limit_that_refused_is_not_the_one_to_type_again(
    heard: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, messages = heard
    monkeypatch.setattr("sys.argv", ["/bin/scoreline", "run", "--set", "audit.min_overlap=1.0"])
    ended(telling(tmp_path, address), AuditRefused("overlap is 0.1, at least 1 (audit.min_overlap)"))
    assert messages[0][1].endswith("or mend it and scoreline run --set audit.min_overlap=LIMIT")


def test_the_path_of_the_report_is_told_once_it_is_written(heard: Any, tmp_path: Path) -> None:
    address, messages = heard
    made = telling(tmp_path, address, on=["refused", "published"])

    def page() -> str:
        rows = open_readers(made).table("runs").rows(["state"])  # what a page is about is in the log by then
        return f"/reports/{rows['state'][-1]}.html"

    ended(made, AuditRefused("overlap is 0.1"), page=page)
    ended(made, state="published", page=lambda: 1 / 0)
    (title, refused, _), (_, published, _) = messages
    host = socket.gethostname()
    run = title.split()[3]
    assert refused == (
        f"overlap is 0.1\n\nReport: /reports/refused.html on {host}\n\n"
        f"Next: scoreline approve {run} --reason REASON, or mend it and scoreline run"
    )
    assert published.startswith("60 users\n\nNext: scoreline report --run ")


def test_what_is_not_asked_for_is_not_told(heard: Any, tmp_path: Path) -> None:
    address, messages = heard
    made = telling(tmp_path, address, on=["refused"])
    ended(made, InputError("no such file"))
    ended(made, state="published")
    tell_stale(made, "STALE", stale=True)
    assert messages == []


def test_stale_is_told_once_and_once_that_it_is_over(heard: Any, tmp_path: Path) -> None:
    address, messages = heard
    made = telling(tmp_path, address)
    for stale in (False, True, True, False, False, True):
        tell_stale(made, "0 % of 60 users", stale=stale)
    assert [(title, body.splitlines()[-1], kind) for title, body, kind in messages[:2]] == [
        ("test stale: freshness", "Next: scoreline run", "warning"),
        ("test recovered: freshness", "Next: scoreline log --last 5", "success"),
    ]
    assert len(messages) == 3


def test_who_does_not_hear_it_costs_no_command_and_no_other_his_message(
    heard: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """And no secret stands in what is logged."""
    address, messages = heard
    made = telling(tmp_path, f"{address}/deaf/{HIDDEN}", "nonsense://x", f"json://127.0.0.1:1/{HIDDEN}", address)
    ended(made, AuditRefused("x"))
    assert len(messages) == 2
    assert caplog.messages == [
        "notify.to.0 (json) was not told of it: has not taken the message",
        "notify.to.1 (nonsense) was not told of it: is no address that Apprise knows, expected service://...",
        "notify.to.2 (json) was not told of it: has not taken the message",
    ]


def test_a_test_message_says_who_has_taken_it(heard: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    address, messages = heard
    file = tmp_path / "films.yaml"
    made = telling(tmp_path / "data", address, f"{address}/deaf")
    said = made.model_dump(mode="json", exclude_unset=True) | {"notify": {"to": [address, f"{address}/deaf"]}}
    file.write_text(yaml.safe_dump(said))
    with pytest.raises(SystemExit, match="1"):
        entry(["notify", "--test", "--config", str(file)])
    assert capsys.readouterr().out.splitlines() == [
        "notify.to.0  json: has taken the message", "notify.to.1  json: has not taken the message",
    ]  # fmt: skip
    assert messages[0][0] == "test: a test"
    with pytest.raises(SystemExit, match="2"):
        entry(["notify", "--config", str(file)])
    assert len(messages) == 2


def test_nobody_to_tell_is_said_in_words(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"names nobody to tell: notify: \{to: \["):
        Pipeline(settings(tmp_path)).notify_test()


def test_an_address_is_a_secret_whatever_its_variable_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WHERE", f"slack://{HIDDEN}")
    made = settings(tmp_path).model_dump(mode="json", exclude_unset=True) | {"notify": {"to": ["${WHERE}"]}}
    (tmp_path / "films.yaml").write_text(yaml.safe_dump(made))
    assert HIDDEN not in redacted(repr(load_settings(tmp_path / "films.yaml")) + f" sent to {HIDDEN}")
