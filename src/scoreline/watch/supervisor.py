"""What watches: it asks the triggers, writes down what is to be started, and has one chain of steps done at a time."""

import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from scoreline.config.settings import Settings
from scoreline.config.watch import TriggerSettings, WatchSettings
from scoreline.engine.memory import bytes_of_memory
from scoreline.errors import ConfigurationError
from scoreline.watch.journal import Chain, Journal, JournalFailed
from scoreline.watch.process import Done, Failed, Gone, Order, Seen, Worker
from scoreline.watch.schedule import come, next_starts

__all__ = ["Supervisor", "Watched"]

_SOON, _ELSEWHERE, _NEWS = timedelta(seconds=5), timedelta(minutes=1), timedelta(minutes=5)
_LOOKING = ("files", "table", "model", "source")
_NEWS_LEFT = "*news"  # no trigger's name
_SHARE, _RARELY = 0.05, 60.0  # of the time, what a look may take; seconds to the next one at most
_LONGEST_LOOK = 600.0  # seconds: a place or a registry that hangs; the session of a cluster has begun within them
_FIRST_PAUSE, _LONGEST_PAUSE = 5.0, 300.0  # seconds between two attempts
_LONGEST_WAIT = 60.0  # seconds between two looks whether others are done with the tables
_FIRST, _GROWN = 10, 1.5  # chains after which a worker is what it is; how many times that it may hold later


@dataclass
class Watched:
    """What one watch has done since it began, for `/healthz` and `/metrics`."""

    beat_at: float
    chains: dict[tuple[str, str], int] = field(default_factory=dict)
    ended_at: dict[str, float] = field(default_factory=dict)
    workers: int = 0
    worker_bytes: int = 0
    running: str | None = None
    worst: int = 0

    def ended(self, trigger: str, state: str, at: float) -> None:
        self.chains[trigger, state] = self.chains.get((trigger, state), 0) + 1
        self.ended_at[trigger] = at


class Supervisor:
    """One pipeline's watch. clock: seconds since 1970. log: is given a line for each event."""

    def __init__(
        self,
        settings: Settings,
        journal: Journal,
        *,
        log: Callable[[str], None],
        clock: Callable[[], float] = time.time,
        once: bool = False,
    ) -> None:
        self._settings, self._journal, self._log, self.clock = settings, journal, log, clock
        self._watch = watch_of(settings)
        self.triggers: Mapping[str, TriggerSettings] = {trigger.name: trigger for trigger in self._watch.triggers}
        self.seen = Watched(beat_at=clock())
        self._worker: Worker | None = None
        self._held: list[int] = []  # by the worker, after each of its first chains
        self._began = self._now()
        self._is_once = once  # each trigger is looked at once, and a chain that fails is left to the next watch
        self._left: set[str] = set()
        self._look_at: dict[str, float] = {}
        self._said: dict[str, str] = {}
        self._blind: dict[str, int] = {}  # looks in a row that cost the worker
        self._held_off: dict[str, int] = {}  # attempts in a row that others held off
        self._is_unsure = False  # whether the journal could not be written, and may say that something runs
        self._stop_at: float | None = None
        self._has_said_stop = False
        next_starts(self._watch.triggers, now=self._began)  # a time that is none is found now, not in the night

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self.clock(), UTC)

    def stop(self) -> None:
        """Begin nothing more; what works now may go on for `stop_within`, and who says it twice waits no longer."""
        patience = 0.0 if self.stopping else self._watch.stop_within.total_seconds()
        self._stop_at = time.monotonic() + patience

    @property
    def stopping(self) -> bool:
        return self._stop_at is not None

    def close(self) -> None:
        if self._worker is not None:
            self._worker.stop()
            self._worker = None

    def begin(self) -> None:
        """Take up what a process that is gone has left."""
        if count := self._journal.recover(now=self.clock()):
            self._log(f"{_starts(count)} of a watch that was interrupted: taken up again")
        for name, count in self._journal.waiting().items():
            gone = "" if name in self.triggers else ", a trigger that there is no more: they wait until there is one"
            self._log(f"{_starts(count)} left of {name}{gone}")

    def warm_up(self) -> None:
        """Start the worker before there is something for it to do."""
        try:
            self._warm()
        except Gone as error:
            self._lost(error.said)

    def step(self) -> bool:
        """Ask all triggers, then have one chain done; whether there was one. A journal that fails is tried again."""
        self.seen.beat_at = self.clock()
        try:
            if self._is_unsure:
                self._journal.recover(now=self.clock())
                self._is_unsure = False
                self._log("the journal can be used again")
            return self._step()
        except JournalFailed as error:
            if not self._is_unsure:
                self._log(f"waits: {error}")
            self._is_unsure = True
            return False

    def _step(self) -> bool:
        self._tell_time()
        self._look()
        if self.stopping:
            return False
        triggers = tuple(name for name in self.triggers if name not in self._left)
        chain = self._journal.take(triggers, now=self.clock(), longest=self._longest()) if triggers else None
        if chain is None:
            return False
        self._do(chain)
        self._renew_if_grown()
        return True

    def _longest(self) -> float:
        return max(_LONGEST_PAUSE, *(one.debounce.total_seconds() for one in self.triggers.values()))

    def wait_seconds(self) -> float:
        """How long there is certainly nothing to do, but for signals; at most a second, as clocks are set."""
        try:
            due = None if self._is_unsure else self._journal.next_due(tuple(self.triggers))
        except JournalFailed:
            due = None
        return max(0.0, min(1.0, 1.0 if due is None else due - self.clock()))

    def _tell_time(self) -> None:
        now = self._now()
        self._began = min(self._began, now)  # a clock that was set back
        for trigger in (one for one in self.triggers.values() if one.at is not None):
            before = self._journal.mark(trigger.name)
            found = come(trigger, last=_moment(before), now=now, began=self._began)
            if found.at is not None:
                self._come(trigger, found.at, found.mark.isoformat(), missed=found.missed)
            elif before != found.mark.isoformat():
                self._journal.set_mark(trigger.name, found.mark.isoformat())

    def _come(self, trigger: TriggerSettings, at: datetime, mark: str, *, missed: bool) -> None:
        key, said = at.astimezone(UTC).isoformat(), f"{at:%Y-%m-%d %H:%M}"
        if missed or self._journal.has(trigger.name, key):
            self._journal.set_mark(trigger.name, mark)
            why = f"was missed, and is more than {trigger.grace} ago" if missed else "came before, by another clock"
            self._log(f"{trigger.name}: {said} {why}")
        else:
            late = f", was missed at {said}" if at < self._began else ""
            self._fire(trigger.name, mark, f"its time has come{late}", key=key)

    def _fire(self, name: str, mark: str, why: str, *, key: str | None = None) -> None:
        queued = self._journal.fire(name, mark, now=self.clock(), key=key)
        self._log(f"{name}: {why}" + ("" if queued else "; it waits already"))

    def _look(self) -> None:
        for trigger in self.triggers.values():
            now = time.monotonic()
            first = trigger.name not in self._look_at
            if trigger.kind not in _LOOKING or self._look_at.get(trigger.name, 0) > now or self.stopping:
                continue
            if self._is_once and not first:
                continue
            if trigger.source is not None:
                self._look_at[trigger.name] = now + (trigger.every or _NEWS).total_seconds()
                self._journal.fire(trigger.name, self._now().isoformat(), now=self.clock())
                continue
            seen = self._looked(trigger)
            ended = time.monotonic()
            took = 0.0 if first else seen.seconds if isinstance(seen, Seen) else ended - now  # the first one imports
            every = (trigger.every or _usual(trigger)).total_seconds()
            pause = _pause(blind) if (blind := self._blind.get(trigger.name, 0)) else 0
            self._look_at[trigger.name] = ended + max(every, pause, min(took / _SHARE, _RARELY))
            self._note(trigger, seen)

    def _looked(self, trigger: TriggerSettings) -> Seen | Failed:
        until = time.monotonic() + _LONGEST_LOOK
        try:
            seen = self._warm().look(trigger, lambda: self._is_over() or time.monotonic() > until)
        except Gone as error:
            seen = Failed(error.said, broken=True)
        if isinstance(seen, Failed) and seen.broken:
            self._blind[trigger.name] = self._blind.get(trigger.name, 0) + 1
            self._lost(seen.said)  # what it has lost, such as its JVM, the next one has
        else:
            self._blind.pop(trigger.name, None)
        return seen

    def _note(self, trigger: TriggerSettings, seen: Seen | Failed) -> None:
        if isinstance(seen, Failed):
            if self._said.get(trigger.name) != seen.said and not self.stopping:
                self._log(f"{trigger.name}: cannot look: {seen.said}")
            self._said[trigger.name] = seen.said
            return
        mark = seen.mark
        self._said.pop(trigger.name, None)
        if mark is not None and mark != self._journal.mark(trigger.name):
            what = {"files": "new or changed files", "table": f"{trigger.table} has version {mark}"}
            self._fire(trigger.name, mark, what.get(trigger.kind, f"the model is {mark}"))

    def _do(self, chain: Chain) -> None:
        trigger = self.triggers[chain.trigger]
        asked = "" if chain.ask.users is None else f" for {len(chain.ask.users):,} users"
        many = f" ({len(chain.ids):,} signals)" if len(chain.ids) > 1 else ""
        again = f", attempt {chain.attempt}" if chain.attempt > 1 else ""
        if chain.trigger not in self._held_off:
            self._log(f"{chain.trigger}: begins {', '.join(trigger.steps)}{asked}{many}{again}")
        outcome, state = dict(chain.outcome), "done" if chain.outcome.get("version") is None else "published"
        self.seen.running = chain.trigger
        try:
            for step in trigger.steps:
                if self.stopping:
                    self._journal.put_back(chain, due_at=self.clock(), outcome=outcome)
                    self._log(f"{chain.trigger}: stopped before {step}; taken up next time")
                    return
                ask = chain.ask if outcome.get("version") is None else replace(chain.ask, everyone=False)
                order = Order(step, trigger, ask, last=self._is_last(chain))
                done = self._done(order)
                if isinstance(done, Failed):
                    self._failed(chain, order, done, outcome)
                    return
                self._log(f"{chain.trigger}: {step}: {done.said}")
                if step == "run" and (done.changed or outcome.get("version") is None):
                    state = str(done.state)
                    outcome |= {"run_id": done.run_id, "version": done.version}
                    outcome |= {"asked": done.asked} if done.asked else {}
                self._note_news(chain, step, done)
                if step == "ingest" and self._brought_nothing(chain, done):
                    state = "nothing_new"
                    self._log(f"{chain.trigger}: nothing is new: the other steps are left out")
                    break
        finally:
            self.seen.running = None
        self._held_off.pop(chain.trigger, None)
        self._journal.end(chain, state, outcome, now=self.clock())
        self.seen.ended(chain.trigger, state, self.clock())

    def _note_news(self, chain: Chain, step: str, done: Done) -> None:
        """Remember that somebody may be due: from an ingest that brought something to a run for all users."""
        trigger = self.triggers[chain.trigger]
        whole = trigger.fraction is None and trigger.budget is None
        if step == "ingest" and done.changed:
            self._journal.set_mark(_NEWS_LEFT, "yes")
        elif step == "run" and chain.ask.users is None and (whole or done.state == "nothing_due"):
            self._journal.set_mark(_NEWS_LEFT, "no")

    def _brought_nothing(self, chain: Chain, done: Done) -> bool:
        """Whether the rest can be left out: nothing is left of an attempt before, or of news that others brought."""
        asks = self.triggers[chain.trigger].kind in ("files", "source")
        return asks and chain.attempt == 1 and not done.changed and self._journal.mark(_NEWS_LEFT) != "yes"

    def _done(self, order: Order) -> Done | Failed:
        try:
            return self._warm().do(order, self._is_over)
        except Gone as error:
            self._lost(error.said)
            return Failed(error.said, gone=True)

    def _failed(self, chain: Chain, order: Order, why: Failed, outcome: dict[str, Any]) -> None:
        now, step = self.clock(), order.step
        outcome = {**outcome, "message": f"{step}: {why.said}"}
        held_off = self._held_off.pop(chain.trigger, 0)
        if self._is_once:
            self._left.add(chain.trigger)
            self.seen.worst = max(self.seen.worst, why.code)
        if self.stopping:
            self._journal.put_back(chain, due_at=now, outcome=outcome)
            self._log(f"{chain.trigger}: {step} was abandoned; taken up next time")
        elif why.refused:
            self._journal.end(chain, "refused", outcome, now=now)
            self._log(f"{chain.trigger}: {step} was refused: {why.said}")
            self.seen.ended(chain.trigger, "refused", now)
        elif why.held_off:
            self._held_off[chain.trigger] = held_off + 1
            if not held_off:
                self._log(f"{chain.trigger}: waits: {why.said}")
            due_at, begun = now + min(_LONGEST_WAIT, _pause(held_off + 1)), step != order.trigger.steps[0]
            self._journal.put_back(chain, due_at=due_at, outcome=outcome, counts=False, begun=begun)
        elif order.last:
            if why.gone:  # and with it who would have told of it
                self._done(replace(order, given_up=why.said))
            self._journal.end(chain, "failed", outcome, now=now)
            self._log(f"{chain.trigger}: {step} failed, and is given up after {chain.attempt} attempts: {why.said}")
            self.seen.ended(chain.trigger, "failed", now)
        else:
            pause = _pause(chain.attempt)
            self._journal.put_back(chain, due_at=now + pause, outcome=outcome)
            self._log(f"{chain.trigger}: {step} failed, tried again in {pause:.0f} s: {why.said}")
            self.close()  # whatever it was that the process holds on to, the next one has not

    def _is_last(self, chain: Chain) -> bool:
        """Whether nobody tries again if this attempt fails."""
        tried = self.clock() - chain.first_tried_at
        return tried + _pause(chain.attempt) > self._watch.retry_for.total_seconds()

    def _is_over(self) -> bool:
        self.seen.beat_at = self.clock()
        with suppress(JournalFailed):  # which the next step tells
            self._tell_time()
        if self.stopping and not self._has_said_stop:  # not by the handler: it may interrupt another line
            self._has_said_stop = True
            self._log(f"stops when what it does now is done, within {self._watch.stop_within}; told once more, at once")
        return self._stop_at is not None and time.monotonic() > self._stop_at

    def _warm(self) -> Worker:
        if self._worker is not None and self._worker.has_ended:
            self._lost("it ended while it had nothing to do")
        if self._worker is None:
            self._worker = Worker(self._settings, sys.argv)
            self._held = []
            self.seen.workers += 1
        return self._worker

    def _lost(self, why: str) -> None:
        self.close()
        if not self.stopping:
            self._log(f"the worker is replaced: {why}")

    def _renew_if_grown(self) -> None:
        """After a chain: libraries keep a little of each, which only the end of their process gives back."""
        if self._worker is None:
            return
        held = self.seen.worker_bytes = self._worker.memory_bytes()
        if len(self._held) < _FIRST:
            self._held.append(held)
        if held > (most := self._watch.memory_share * bytes_of_memory()):
            why = f"watch.memory_share allows {_gib(most)}"
        elif held > (usual := max(self._held)) * _GROWN:
            why = f"after its first chains it was {_gib(usual)}"
        else:
            return
        self._log(f"the worker is replaced: it holds {_gib(held)}, {why}")
        self.close()


def _gib(held: float) -> str:
    return f"{held / 2**30:.1f} GiB"


def watch_of(settings: Settings) -> WatchSettings:
    """The section; raises ConfigurationError for a pipeline without it."""
    if settings.watch is None:
        raise ConfigurationError(
            'The configuration says nothing to watch: watch: {triggers: [{name: nightly, at: "30 2 * * *", steps: '
            "[ingest, run, export]}]} (docs/triggers.md)."
        )
    return settings.watch


def _starts(count: int) -> str:
    return f"{count} start{'s' * (count > 1)}"


def _usual(trigger: TriggerSettings) -> timedelta:
    return _ELSEWHERE if "://" in f"{trigger.files}{trigger.table}" else _SOON


def _moment(mark: str | None) -> datetime | None:
    """What a mark says; None for that of a trigger that was of another kind."""
    try:
        found = None if mark is None else datetime.fromisoformat(mark)
    except ValueError:
        return None
    return found if found is not None and found.tzinfo else None


def _pause(attempt: int) -> float:
    return min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(attempt - 1, 10))  # a float ends at 2.0 ** 1024
