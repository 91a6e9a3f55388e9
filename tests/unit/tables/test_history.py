"""Which commit made the rows of a version, whoever did what to the table."""

from datetime import UTC, datetime
from typing import Any

import pytest

from logs import noted
from scoreline.pipeline.fence import next_sequence
from scoreline.tables.history import Commit, find_attempt, follows, origin, published_commit

T0 = datetime(2026, 7, 1, tzinfo=UTC)


def log(*entries: Any) -> list[Commit]:
    """Commits newest first, from operations and notes oldest first."""
    commits = []
    for version, entry in enumerate(("CREATE TABLE", *entries)):
        operation, note, parameters = entry if isinstance(entry, tuple) else (entry, {}, {})
        commits.append(Commit(version, T0, operation, noted(**note), {}, parameters))
    return commits[::-1]


def publish(base: int, **more: Any) -> Any:
    return ("MERGE", {"kind": "publish", "base_version": base, **more}, {})


def back(base: int, to: int) -> Any:
    return ("WRITE", {"kind": "rollback", "base_version": base, "to_version": to}, {})


def restore(version: int | None) -> Any:
    return ("RESTORE", {}, {"version": None if version is None else str(version), "timestamp": None})


def test_a_commit_is_known_by_its_attempt() -> None:
    commits = log(publish(0, attempt="a"), publish(1, attempt="b"))
    assert [getattr(find_attempt(commits, attempt), "version", None) for attempt in ("a", "b", "c")] == [1, 2, None]


@pytest.mark.parametrize(
    ("commits", "maker"),
    [
        pytest.param(log("WRITE"), 1, id="a stranger's rows"),
        pytest.param(log(publish(0), "OPTIMIZE", "VACUUM START", "VACUUM END", "ADD COLUMNS"), 1, id="no row changed"),
        pytest.param(log(publish(0), publish(1), restore(1)), 1, id="anybody's RESTORE"),
        pytest.param(log(publish(0), publish(1), restore(1), restore(2)), 2, id="a RESTORE taken back"),
        pytest.param(log(publish(0), "DELETE", restore(1)), 1, id="a RESTORE behind a stranger's change"),
        pytest.param(log(publish(0), "DELETE", "OPTIMIZE", restore(3)), 2, id="a RESTORE to a stranger's change"),
        pytest.param(log(publish(0), restore(None)), 2, id="a RESTORE to a moment"),
        pytest.param(log(publish(0), publish(1), back(2, 1)), 1, id="a rollback"),
        pytest.param(log(publish(0), publish(1), "WRITE", back(2, 1)), 4, id="a rollback beside a stranger"),
        pytest.param(log(publish(0), publish(1), "OPTIMIZE", back(2, 1)), 1, id="a rollback beside a compaction"),
        pytest.param(log(publish(0), ("WRITE", {"kind": "verified"}, {})), 1, id="a comparison written down"),
        pytest.param(log("OPTIMIZE", publish(1), restore(0))[:2], None, id="further back than is looked at"),
        pytest.param(log(publish(0), ("WRITE", {"kind": "rollback"}, {})), 2, id="an older version's note"),
    ],
)
def test_the_commit_that_made_the_rows(commits: list[Commit], maker: int | None) -> None:
    found = origin(commits, commits[0].version)
    assert (found.version if found else None) == maker


@pytest.mark.parametrize(
    ("commits", "expected"),
    [
        (log(publish(0)), True),
        (log(publish(0), "DELETE", publish(1)), False),
        (log(publish(0), "DELETE", restore(1), publish(1)), True),
        (log(publish(0), "OPTIMIZE", publish(1)), True),
        (log("WRITE", publish(0)), False),
        (log(("MERGE", {"kind": "publish"}, {})), False),
    ],
)
def test_a_publication_follows_what_it_was_decided_on(commits: list[Commit], expected: bool) -> None:
    assert follows(commits, commits[0]) is expected


@pytest.mark.parametrize(
    ("commits", "version"),
    [
        ([], None),
        (log("WRITE"), None),
        (log(publish(0), publish(1), "DELETE"), 2),
        (log(publish(0), publish(1), back(2, 1), "DELETE"), 1),
        (log(publish(0), publish(1), "WRITE", back(2, 1)), 1),
        (log(publish(0), publish(1), restore(1)), 1),
    ],
)
def test_the_publication_that_readers_see(commits: list[Commit], version: int | None) -> None:
    found = published_commit(commits)
    assert (found.version if found else None) == version


def test_all_who_begin_before_the_next_publication_have_one_number() -> None:
    assert next_sequence([]) == 1
    assert next_sequence(log("WRITE", "OPTIMIZE")) == 1
    assert next_sequence(log(publish(0, sequence=1), "DELETE", publish(2, sequence=2), "OPTIMIZE")) == 3
    # whatever another version of ours has written
    assert next_sequence(log(publish(0, sequence="x"), publish(1, sequence=1_782_000_000_000))) == 1_782_000_000_001
