"""The process that works, warm: its session, its imports and its model stay from one step to the next.

It is another one than that which listens, so that whatever ends it (a JVM that died, memory, a signal) ends neither the
applications' answers nor the clock. It is told what to do and answers through a socket, a pickle at a time, and ends
when nobody is at the other end.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from socket import socketpair
from typing import Any

from scoreline.config.settings import Settings
from scoreline.config.watch import Step, TriggerSettings
from scoreline.errors import told
from scoreline.runs.usage import held_bytes
from scoreline.watch.journal import Ask

__all__ = ["Done", "Failed", "Gone", "Order", "Seen", "Worker"]

_WAIT = 0.2  # seconds between two looks whether it is to be stopped, or has ended
_ENDING = 10  # seconds that an abandoned step has to say how it ended


@dataclass(frozen=True)
class Order:
    """A step to be done for a trigger. last: if it fails, nobody will try it again.

    given_up: why it is not to be done any more, which is told to whom `notify` names.
    """

    step: Step
    trigger: TriggerSettings
    ask: Ask
    last: bool = False
    given_up: str | None = None


@dataclass(frozen=True)
class Done:
    """What a step did. said: in words; changed: whether it left other tables; the rest of a run, None of others.

    asked: of a run for some users, how many they were and who of them is unknown.
    """

    said: str
    changed: bool
    state: str | None = None
    run_id: str | None = None
    version: int | None = None
    asked: str | None = None


@dataclass(frozen=True)
class Seen:
    """What a trigger sees: its mark, None for nothing. seconds: that the look took, without the start of a session."""

    mark: str | None
    seconds: float


@dataclass(frozen=True)
class Failed:
    """Why a step was not done. held_off: others work on the tables; refused: by the audit.

    broken: by what no step should raise; the process may have lost what it works with. gone: with its process. code: as
    the command's own exit code.
    """

    said: str
    held_off: bool = False
    refused: bool = False
    broken: bool = False
    gone: bool = False
    code: int = 1


class Gone(Exception):
    """The worker could not be started, ended before it answered, or was stopped; `said` is in words how."""

    def __init__(self, said: str) -> None:
        super().__init__(said)
        self.said = said


class Worker:
    """The process, from the side of who tells it what to do; raises Gone. Not for two threads at once."""

    def __init__(self, settings: Settings, arguments: Sequence[str]) -> None:
        self._is_asked = False
        ours, theirs = socketpair()
        with ours, theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "scoreline.watch.worker", str(theirs.fileno())],
                    stdin=subprocess.DEVNULL,
                    stdout=sys.stderr.fileno() if _has_file(sys.stderr) else None,
                    pass_fds=(theirs.fileno(),),
                    start_new_session=True,  # Ctrl-C is for who listens, who stops it in its time
                )
            except OSError as error:
                raise Gone(f"the worker could not be started: {told(error)}") from None
            self._connection = Connection(ours.detach())
        self._send((settings, list(arguments)))

    def look(self, trigger: TriggerSettings, is_over: Callable[[], bool]) -> Seen | Failed:
        """What a trigger sees, or why it cannot look; raises Gone as `do`."""
        return self._answer(trigger, is_over)  # type: ignore[no-any-return]

    def do(self, order: Order, is_over: Callable[[], bool]) -> Done | Failed:
        """Do a step; raises Gone if the process ended, or has been stopped because `is_over`."""
        return self._answer(order, is_over)  # type: ignore[no-any-return]

    def _answer(self, asked: object, is_over: Callable[[], bool]) -> Any:
        self._send(asked)
        self._is_asked = True
        try:
            while not self._connection.poll(_WAIT):
                if is_over():
                    self.stop()
                    raise Gone("the worker was stopped before it was done")
                if self._process.poll() is not None:  # what it had started may hold its end of the socket
                    raise EOFError
            answer = self._connection.recv()
        except (EOFError, OSError):
            raise self._ended() from None
        self._is_asked = False
        return answer

    def _send(self, said: object) -> None:
        try:
            self._connection.send(said)
        except OSError:
            raise self._ended() from None

    def _ended(self) -> Gone:
        self.stop()
        return Gone(f"the worker's process ended (exit code {self._process.returncode})")

    def memory_bytes(self) -> int:
        """What it and all that it has started hold now."""
        return held_bytes(self._process.pid)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def stop(self) -> None:
        """End it and all that it has started; what it works on is interrupted first, so that it can say so."""
        with suppress(OSError):
            self._connection.close()  # one that waits to be asked ends by this
        if self._process.poll() is None:
            if self._is_asked:
                self._process.send_signal(signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_ENDING)
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)  # the JVM and its workers are of its group
        self._process.wait()


def _has_file(stream: Any) -> bool:
    try:
        stream.fileno()
    except (AttributeError, OSError, ValueError):  # a test's, or a notebook's
        return False
    return True
