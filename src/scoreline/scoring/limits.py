"""Limits of time and memory that a Python worker puts on itself while it calls a model."""

import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scoreline.engine.memory import bytes_of_memory

__all__ = ["alarm", "limit_memory"]


@contextmanager
def alarm(seconds: float | None) -> Iterator[None]:
    """Let this process be killed by SIGALRM if what is inside takes longer; None or 0 for no limit.

    The signal's default action runs no Python, so it also ends C code that never comes back. Only a process's main
    thread can do this; elsewhere there is no limit.
    """
    if not seconds or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def limit_memory(share: float) -> None:
    """Let this process take at most `share` of the machine's (or container's) memory beyond what it holds now.

    What goes beyond gets a MemoryError, before the kernel chooses a process to kill. Files mapped for reading do not
    count (RLIMIT_DATA). Where the operating system has no such limit, nothing happens.
    """
    held = _held_bytes()
    if held is None:
        return
    wanted = held + int(bytes_of_memory() * share)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    if hard == resource.RLIM_INFINITY or wanted < hard:
        resource.setrlimit(resource.RLIMIT_DATA, (wanted, hard))


def _held_bytes() -> int | None:
    try:
        lines = Path("/proc/self/status").read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("VmData")), None)
