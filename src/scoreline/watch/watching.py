"""`scoreline watch` from its beginning to its end."""

import re
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from scoreline.config.settings import Settings
from scoreline.config.watch import TriggerSettings
from scoreline.redaction import redacted
from scoreline.tables.lock import locked
from scoreline.watch.journal import Journal
from scoreline.watch.schedule import NextStarts, next_starts
from scoreline.watch.supervisor import Supervisor, watch_of

__all__ = ["planned", "watch"]

_FILE = "watch.db"


def planned(settings: Settings) -> NextStarts:
    """What would be started next, and what of it is not there to be looked at; nothing is started."""
    triggers = watch_of(settings).triggers
    absent = {one.name for one in triggers if _is_absent(one)}
    found = next_starts(triggers, now=datetime.now(UTC))
    return replace(
        found,
        starts=[
            replace(one, when=f"{one.when} (not there yet)") if one.trigger in absent else one for one in found.starts
        ],
    )


def _is_absent(trigger: TriggerSettings) -> bool:
    """Whether a folder of this machine is not there; of what is elsewhere nobody is asked."""
    if trigger.files is not None and "://" not in trigger.files:
        fixed = re.split(r"[*?\[{]", trigger.files)[0]
        return not Path(fixed if fixed == trigger.files else fixed.rpartition("/")[0] or ".").exists()
    if trigger.table is not None and "/" in trigger.table and "://" not in trigger.table:
        return not Path(trigger.table, "_delta_log").is_dir()
    return False


def watch(settings: Settings, *, once: bool, told: Callable[[str], None]) -> int:
    """Watch until SIGTERM or Ctrl-C; `once`: do what is due now and come back. `told` is given a line for each event.

    Returns 0, or as the exit codes of docs/codes.md how the worst of what `once` has done ended. Raises RunInProgress
    where another process watches these tables from here.
    """
    http = watch_of(settings).http

    def log(said: str) -> None:
        with suppress(OSError):  # a full disk, a terminal that was closed: what is to be done is done
            told(redacted(f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S} {said}"))

    with ExitStack() as stack:
        stack.enter_context(locked(settings, "watch"))
        journal = Journal(settings.home / _FILE)
        stack.callback(journal.close)
        supervisor, wake = Supervisor(settings, journal, log=log, once=once), threading.Event()
        stack.enter_context(_stopped_by_signals(supervisor))
        stack.callback(supervisor.close)
        supervisor.begin()
        for trigger in supervisor.triggers.values():
            if _is_absent(trigger):
                log(f"{trigger.name}: {trigger.files or trigger.table} is not there yet")
        if once:
            return _once(supervisor, journal, log)
        if http is not None:
            from scoreline.watch.http import application, serving

            routes = application(settings, http, journal, supervisor, wake.set)
            log(f"answers on {stack.enter_context(serving(routes, http))}")
        log(f"watches {settings.name}: {', '.join(supervisor.triggers)}")
        supervisor.warm_up()
        while not supervisor.stopping:
            wake.clear()
            if not supervisor.step():
                wake.wait(supervisor.wait_seconds())
    log("stopped")
    return 0


def _once(supervisor: Supervisor, journal: Journal, log: Callable[[str], None]) -> int:
    done = 0
    while supervisor.step():
        done += 1
    if left := [name for name in journal.waiting() if name in supervisor.triggers]:
        log(f"left to the next watch: {', '.join(left)}")
        return max(1, supervisor.seen.worst)
    if not done:
        log("nothing was to be started")
    return supervisor.seen.worst


@contextmanager
def _stopped_by_signals(supervisor: Supervisor) -> Iterator[None]:
    """A handler sets no event: who waits for it is interrupted with its lock in hand; the wait is a second at most."""

    def stop(*_: Any) -> None:
        supervisor.stop()

    if threading.current_thread() is not threading.main_thread():  # a test's: nobody sends it signals
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
