"""What a process and all that it has started have cost: CPU seconds, and the most memory. Of this machine only."""

import os
import re
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Usage", "held_bytes", "peak_of_forks", "processors"]

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Usage:
    """cpu_seconds: user and system, of what has ended, too. peak_bytes: the sum of the peaks of those that live, so at
    least what they ever had together."""

    cpu_seconds: float
    peak_bytes: int

    @classmethod
    def now(cls) -> "Usage":
        cpu, peak = 0.0, 0
        for process in _tree(psutil.Process()):
            try:
                cpu += sum(process.cpu_times()[:4])
                peak += _peak(process)
            except psutil.Error:  # it has just ended
                continue
        return cls(cpu, peak)


def held_bytes(pid: int) -> int:
    """What a process and all that it has started hold in memory now; nothing once it has ended."""
    held = 0
    with suppress(psutil.Error):
        for process in _tree(psutil.Process(pid)):
            with suppress(psutil.Error):  # it has just ended
                held += process.memory_info().rss
    return held


def peak_of_forks(word: str) -> int | None:
    """The most memory that one process below this one had, of those forked by another with `word` in its command line.

    None if there is none. Spark's workers are forks of its daemon, and live on for a while.
    """
    found: dict[int, int] = {}
    parents: dict[int, int] = {}
    for process in psutil.Process().children(recursive=True):
        try:
            if word in " ".join(process.cmdline()):
                parents[process.pid], found[process.pid] = process.ppid(), _peak(process)
        except psutil.Error:  # it has just ended
            continue
    return max((found[pid] for pid, parent in parents.items() if parent in found), default=None)


def _tree(top: psutil.Process) -> list[psutil.Process]:
    return [top, *top.children(recursive=True)]


def processors() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0))


def _peak(process: psutil.Process) -> int:
    try:
        found = _PEAK.search(Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else int(process.memory_info().rss)
