"""What is begun, tried again and given up, by a clock and a worker of the test's: nothing computes here."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from builders import settings
from scoreline.config.watch import TriggerSettings
from scoreline.watch import supervisor as module
from scoreline.watch.journal import Ask, Journal
from scoreline.watch.process import Done, Failed, Gone, Order, Seen
from scoreline.watch.supervisor import Supervisor

T0 = datetime(2026, 7, 1, 3, 0, tzinfo=UTC).timestamp()
HOUR, DAY = 3600.0, 86_400.0
NEEDED = {
    "events": {"columns": {"user_id": "user", "item_id": "item", "time": "at"}, "source": "lake/events"},
    "export": {"url": "sqlite:///serving.db"},
}
CHANGED = Done("taken", changed=True)
PUBLISHED = Done("published", changed=True, state="published", run_id="r", version=1)
AWAY, HELD_OFF = Failed("the database is away"), Failed("another run works", held_off=True)


@dataclass
class World:
    """A supervisor, its journal, its clock, and a worker that answers by `says`; `done`: the orders that it had."""

    supervisor: Supervisor
    journal: Journal
    now: float = T0
    says: Callable[[Any], Any] = lambda asked: PUBLISHED if asked.step == "run" else CHANGED
    done: list[Any] = field(default_factory=list)
    looked: int = 0
    workers: int = 0
    held_bytes: int = 0  # by the worker
    log: list[str] = field(default_factory=list)
    times: list[str] = field(default_factory=list)  # of triggers by the clock that were started, as often as they were

    def pass_time(self, seconds: float, *, each: float = 1.0) -> None:
        """Look at all triggers each so often, and do all that is due."""
        end = self.now + seconds
        while self.now < end:
            while self.supervisor.step():
                pass
            self.now = min(end, self.now + each)

    def signal(self, *users: int) -> str:
        start = self.journal.accept("app", Ask(users or None), now=self.now, due_at=self.now + 2)
        assert start is not None
        return start.id

    def state(self, one: str) -> str:
        start = self.journal.get(one)
        assert start is not None
        return start.state

    @property
    def steps(self) -> list[str]:
        return [order.step for order in self.done]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., World]]:
    made: list[World] = []

    class Scripted:
        """Stands for the warm process."""

        has_ended = False

        def __init__(self, *_: object) -> None:
            made[-1].workers += 1

        def do(self, order: Order, is_over: Callable[[], bool]) -> Any:
            made[-1].done.append(order)
            is_over()
            return said(order)

        def look(self, trigger: Any, is_over: Callable[[], bool]) -> Any:
            made[-1].looked += 1
            answer = said(trigger)
            return Seen(answer, 0.0) if isinstance(answer, str) else answer

        def stop(self) -> None:
            pass

        def memory_bytes(self) -> int:
            return made[-1].held_bytes

    class Remembering(Journal):
        def fire(self, trigger: str, mark: str, *, now: float, **named: Any) -> bool:
            fired = super().fire(trigger, mark, now=now, **named)
            if fired and (at := named.get("key")):
                made[-1].times.append(f"{trigger} {datetime.fromisoformat(at):%Y-%m-%d %H:%M}")
            return fired

    def said(asked: Any) -> Any:
        answer = made[-1].says(asked)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(module, "Worker", Scripted)

    def build(*triggers: dict[str, Any], now: float = T0, once: bool = False, **watch: Any) -> World:
        signals = any("signal" in trigger for trigger in triggers)
        given = {"triggers": list(triggers), **({"http": {"port": 0}} if signals else {}), **watch}
        journal = Remembering(tmp_path / "watch.db")
        found = World(None, journal, now)  # type: ignore[arg-type]
        made.append(found)
        found.supervisor = Supervisor(
            settings(tmp_path, watch=given, **NEEDED), journal, log=found.log.append, clock=lambda: found.now, once=once
        )
        found.supervisor.begin()
        return found

    yield build
    for one in made:
        one.journal.close()


APP = {"name": "app", "signal": True, "steps": ["run", "export"]}
FILES = {"name": "incoming", "files": "incoming", "steps": ["ingest", "run", "export"]}


NIGHTLY = {"name": "nightly", "at": "30 2 * * *", "steps": ["run"]}
OFTEN = {"name": "often", "at": "*/5 * * * *", "steps": ["ingest"]}


def every_5_minutes(begin: str, end: str) -> list[str]:
    at, until = datetime.fromisoformat(begin), datetime.fromisoformat(end)
    return [f"often {at + n * timedelta(minutes=5):%Y-%m-%d %H:%M}" for n in range(int((until - at).seconds / 300) + 1)]


def test_a_clock_that_is_set_back_three_hours_does_no_time_twice_and_loses_none(world: Any) -> None:
    found = world(NIGHTLY, OFTEN, now=T0 - HOUR - 1)
    found.pass_time(HOUR, each=20)  # until 03:00
    found.now -= 3 * HOUR
    found.pass_time(4 * HOUR, each=20)  # from 00:00 until 04:00

    assert found.steps.count("run") == 1
    expected = [*every_5_minutes("2026-07-01 00:00", "2026-07-01 03:55"), "nightly 2026-07-01 02:30"]
    assert sorted(set(found.times)) == sorted(expected)
    assert len(found.steps) == len(expected)


@pytest.mark.parametrize("far", [DAY, (datetime(2030, 1, 1, 12, tzinfo=UTC).timestamp() - T0)])
def test_a_clock_that_is_set_forward_and_back_does_no_time_twice_and_loses_none(world: Any, far: float) -> None:
    found = world(NIGHTLY, OFTEN, now=T0 - HOUR - 1)
    found.pass_time(HOUR, each=20)
    found.now += far
    found.pass_time(30, each=20)  # all that has come since is one start of each
    assert found.steps.count("run") == 2
    found.now -= far
    found.pass_time(HOUR, each=20)  # goes on where it was

    done = sorted(found.times)
    assert len(done) == len(set(done)) == len(found.steps)
    assert set(every_5_minutes("2026-07-01 03:05", "2026-07-01 03:55")) <= set(done)
    found.pass_time(DAY, each=60)
    done = sorted(found.times)
    assert len(found.steps) == len(set(done))
    assert "nightly 2026-07-02 02:30" in done


def test_a_signal_of_a_clock_that_was_wrong_is_answered_at_once_when_it_is_right(world: Any) -> None:
    found = world(APP, now=T0 + 4 * 365 * DAY)
    one = found.signal(42)
    found.now = T0
    found.pass_time(10)

    assert found.state(one) == "published"


def test_a_time_that_was_missed_beyond_its_grace_is_told_once(world: Any) -> None:
    found = world({**NIGHTLY, "grace": "10m"}, now=T0 - HOUR)
    found.pass_time(1)
    later = world({**NIGHTLY, "grace": "10m"}, now=T0 + HOUR)
    later.pass_time(5)

    assert later.done == []
    assert [line for line in later.log if "missed" in line] == [
        "nightly: 2026-07-01 02:30 was missed, and is more than 0:10:00 ago"
    ]


def test_a_step_that_fails_is_tried_again_with_growing_pauses_and_then_given_up_once(world: Any) -> None:
    found = world(APP, retry_for="2m")
    one = found.signal(42)
    found.says = lambda _: AWAY
    began: list[float] = []
    found.says = lambda _: began.append(found.now) or AWAY
    found.pass_time(HOUR)

    pauses = [round(later - earlier) for earlier, later in pairwise(began)]
    assert pauses == [5, 10, 20, 40]
    assert [order.last for order in found.done] == [False, False, False, False, True]
    assert found.state(one) == "failed"
    assert found.workers == 5  # each attempt has another process


def test_a_long_step_is_given_up_only_by_an_attempt_that_was_said_to_be_the_last(world: Any) -> None:
    """Who notifies is the step, and it knows before it begins."""
    found = world(APP, retry_for="1h")
    one = found.signal(42)

    def long(_: Order) -> Failed:
        found.now += 20 * 60
        return AWAY

    found.says = long
    found.pass_time(3 * HOUR)

    assert found.state(one) == "failed"
    assert [order.last for order in found.done] == [False] * (len(found.done) - 1) + [True]


def test_a_worker_that_dies_in_its_last_attempt_is_told_of_by_the_next_one(world: Any) -> None:
    found = world(APP, retry_for="0s")
    one = found.signal(42)
    found.says = lambda order: AWAY if order.given_up else Gone("the worker's process ended (exit code -9)")
    found.pass_time(10)

    assert found.state(one) == "failed"
    assert [order.given_up for order in found.done] == [None, "the worker's process ended (exit code -9)"]


def test_files_whose_run_another_one_holds_off_are_run_when_it_is_over(world: Any) -> None:
    """They are taken, so that the next ingest brings nothing new: what is left is left to do."""
    found = world(FILES)
    taken: list[bool] = []

    def says(asked: Any) -> Any:
        if not isinstance(asked, Order):
            return "a file"
        if asked.step == "ingest":
            taken.append(True)
            return Done("files", changed=len(taken) == 1)
        return HELD_OFF if found.now < T0 + 60 else PUBLISHED

    found.says = says
    found.pass_time(150)

    assert found.steps[-2:] == ["run", "export"]
    assert found.journal.waiting() == {}
    assert found.supervisor.seen.chains == {("incoming", "published"): 1}


def test_what_is_published_stays_the_answer_when_only_the_export_is_tried_again(world: Any) -> None:
    """And `everyone` is scored once, not once an attempt."""
    found = world(APP)
    start = found.journal.accept("app", Ask(everyone=True), now=T0, due_at=T0)
    runs: list[bool] = []

    def says(order: Order) -> Any:
        if order.step == "export":
            return AWAY if found.now < T0 + 20 else CHANGED
        runs.append(order.ask.everyone)
        return PUBLISHED if len(runs) == 1 else Done("nobody", changed=False, state="nothing_due", run_id="other")

    found.says = says
    found.pass_time(60)

    ended = found.journal.get(start.id)
    assert (ended.state, ended.outcome) == ("published", {"run_id": "r", "version": 1})
    assert runs == [True, False, False, False]


def test_a_chain_that_others_hold_off_for_hours_waits_quietly_and_gives_nothing_up(world: Any) -> None:
    found = world(APP, retry_for="1m")
    one = found.signal(42)
    found.says = lambda _: HELD_OFF if found.now < T0 + 3 * HOUR else PUBLISHED
    found.pass_time(3 * HOUR + 120)

    assert found.state(one) == "published"
    assert len(found.log) < 10
    assert len(found.done) < 3 * 60 + 20  # each leaves a row in the run log


def test_who_is_to_be_tried_for_weeks_is(world: Any) -> None:
    found = world(APP, retry_for="2w")
    one = found.signal(42)
    found.says = lambda _: AWAY if found.now < T0 + 6 * DAY else PUBLISHED
    found.pass_time(6 * DAY + HOUR, each=60)

    assert found.state(one) == "published"
    assert len(found.done) > 1025


def test_a_worker_that_cannot_look_is_not_started_each_second(world: Any) -> None:
    found = world(FILES)
    found.says = lambda _: Gone("the worker's process ended (exit code 1)")
    for _ in range(50):
        found.supervisor.step()

    assert found.workers == 1
    assert len([line for line in found.log if "cannot look" in line]) == 1


def test_a_worker_that_has_lost_what_it_looks_with_is_replaced(world: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its JVM, such as: the step that would find out never begins if only a look starts it."""
    found = world(FILES)
    found.says = lambda _: Failed("Py4JNetworkError: connection refused", broken=True)
    found.supervisor.step()
    found.supervisor._look_at.clear()  # its pause is over
    found.says = lambda asked: CHANGED if isinstance(asked, Order) else "a file"
    found.supervisor.step()

    assert (found.workers, found.steps[:1]) == (2, ["ingest"])


def test_a_table_that_each_step_writes_to_is_no_trigger() -> None:
    with pytest.raises(ValidationError, match="table is runs, to which each step writes a row"):
        TriggerSettings(name="loop", table="runs", steps=("run",))


def test_a_trigger_of_another_kind_by_the_same_name_begins_anew(world: Any) -> None:
    found = world({**FILES, "name": "nightly"})
    found.says = lambda asked: PUBLISHED if isinstance(asked, Order) else "20260701"
    found.pass_time(1)
    later = world(NIGHTLY, now=T0 + 10)
    later.pass_time(DAY, each=60)

    assert later.steps == ["run"]


def test_a_journal_that_cannot_be_written_stops_nothing_and_loses_nothing(world: Any) -> None:
    found = world(APP)
    one = found.signal(42)
    other = found.journal.accept("app", Ask(everyone=True), now=found.now, due_at=found.now + 2)
    found.says = lambda order: found.journal._connection.execute("PRAGMA query_only = ON") and PUBLISHED
    found.pass_time(10)  # the end of the chain cannot be written
    assert found.state(one) == "running"
    assert (found.supervisor.step(), found.supervisor.wait_seconds()) == (False, 1.0)  # no loop without a pause
    found.says = lambda _: PUBLISHED
    found.journal._connection.execute("PRAGMA query_only = OFF")
    found.pass_time(20)

    assert (found.state(one), found.state(other.id)) == ("published", "published")
    assert [line for line in found.log if "journal" in line] == [
        f"waits: the journal {found.journal._file} cannot be used: attempt to write a readonly database",
        "the journal can be used again",
    ]


def test_what_is_stopped_is_taken_up_and_who_says_it_twice_waits_no_longer(world: Any) -> None:
    found = world(APP)
    one = found.signal(42)

    def says(order: Order) -> Any:
        found.supervisor.stop()
        assert not found.supervisor._is_over()
        found.supervisor.stop()
        assert found.supervisor._is_over()
        return Gone("the worker was stopped before it was done")

    found.says = says
    found.pass_time(10)
    assert (found.state(one), found.supervisor.stopping) == ("queued", True)

    later = world(APP, now=T0 + 60)
    later.pass_time(10)
    assert later.state(one) == "published"


def test_news_that_a_signal_for_some_brought_are_run_by_the_next_that_is_for_all(world: Any) -> None:
    app = {"name": "app", "signal": True, "debounce": "0s", "steps": ["ingest", "run"]}
    db = {"name": "db", "source": "events", "every": "1h", "steps": ["ingest", "run"]}
    made = world(app, db)
    made.pass_time(1)  # the source is asked first
    made.done.clear()
    made.signal(42)
    made.pass_time(3)
    assert [(order.step, order.ask.users) for order in made.done] == [("ingest", (42,)), ("run", (42,))]

    made.done.clear()
    made.says = lambda asked: PUBLISHED if asked.step == "run" else Done("nothing", changed=False)
    for steps in (["ingest", "run"], ["ingest"]):  # the others' news; then there is none
        made.supervisor._look_at.clear()
        made.pass_time(1)
        assert made.steps == steps
        made.done.clear()


def test_what_waits_from_before_is_said_and_of_whom_there_is_nobody_for_it(world: Any) -> None:
    before = world(APP)
    before.signal(1)
    before.signal(2)
    other = {**APP, "name": "site"}

    assert world(APP).log == ["2 starts left of app"]
    assert world(other).log == ["2 starts left of app, a trigger that there is no more: they wait until there is one"]


def test_once_asks_once_and_leaves_what_fails_to_the_next(world: Any) -> None:
    db = {"name": "db", "source": "events", "every": "1s", "steps": ["ingest", "run"]}
    made = world(db, once=True)
    made.says = lambda asked: Failed("there is no such table", code=2)

    made.pass_time(60)

    assert (made.steps, made.supervisor.seen.worst) == (["ingest"], 2)
    assert made.journal.waiting() == {"db": 1}


def test_a_worker_that_holds_half_more_than_after_its_first_chains_is_replaced(world: Any) -> None:
    made = world(APP)
    begins = [400, 620, 1024, 810, 810, 810, 810, 810, 810, 810]  # the largest of ten is what it usually is

    def holds(mebibytes: int) -> int:
        made.held_bytes = mebibytes << 20
        made.signal(42)
        made.pass_time(3)
        return int(made.workers)

    assert [holds(one) for one in (*begins, 1200, 1536)] == [1] * 12
    assert not any("replaced" in line for line in made.log)
    holds(1537)
    assert made.log[-1] == "the worker is replaced: it holds 1.5 GiB, after its first chains it was 1.0 GiB"
    assert [holds(one) for one in (*begins, 1536)] == [2] * 11  # one that is new begins anew
