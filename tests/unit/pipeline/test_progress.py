"""Progress where no terminal is: lines that a log can keep, and none where nobody looks."""

import pytest

from scoreline.pipeline import progress
from scoreline.pipeline.progress import for_terminal


class Clock:
    now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def test_lines_come_at_the_begin_every_ten_seconds_and_at_the_end(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    with for_terminal(quiet=False).work(1000, done=200) as advance:
        for users in (100, 100, 100, 500):
            clock.now += 6.0
            advance(users)
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        "scoring 800 users, 200 are staged already",
        "scored 400 of 1,000 users, 17 users/s, 36 s left",
        "scored 1,000 of 1,000 users, 33 users/s, 0 s left",
    ]


def test_quiet_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with for_terminal(quiet=True).work(10, done=0) as advance:
        advance(10)
    assert capsys.readouterr() == ("", "")
