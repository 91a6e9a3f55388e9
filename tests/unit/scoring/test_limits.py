"""Limits that a process puts on itself, seen in children that may die of them."""

import os
import resource
import signal
import threading

import pytest

from scoreline.scoring.limits import alarm, limit_memory


def ended(work: object) -> int:
    """How a child ends that does the work: its exit code, or minus the signal that killed it."""
    if (child := os.fork()) == 0:
        try:
            work()  # type: ignore[operator]
        except MemoryError:
            os._exit(7)
        except BaseException:
            os._exit(8)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_work_that_takes_longer_is_killed_and_quick_work_is_not() -> None:
    def hang() -> None:
        with alarm(0.1):
            signal.pause()

    def quick() -> None:
        with alarm(0.2):
            pass
        threading.Event().wait(0.4)

    assert ended(hang) == -signal.SIGALRM
    assert ended(quick) == 0


@pytest.mark.parametrize("seconds", [None, 60])
def test_a_handler_that_was_there_is_there_again(seconds: float | None) -> None:
    def handlers() -> None:
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0)
        with alarm(seconds):
            assert signal.getsignal(signal.SIGALRM) == (signal.SIG_IGN if seconds is None else signal.SIG_DFL)
        assert signal.getsignal(signal.SIGALRM) == signal.SIG_IGN
        assert signal.getitimer(signal.ITIMER_REAL) == (0.0, 0.0)

    assert ended(handlers) == 0


def test_what_goes_beyond_the_share_of_memory_is_an_error_of_python() -> None:
    def greedy() -> None:
        limit_memory(0.001)
        bytearray(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))

    assert ended(greedy) == 7


def test_a_limit_that_is_there_is_not_raised() -> None:
    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_DATA, (1 << 40, 1 << 40))
        limit_memory(1e9)
        if resource.getrlimit(resource.RLIMIT_DATA) != (1 << 40, 1 << 40):
            os._exit(1)

    assert ended(limited) == 0
