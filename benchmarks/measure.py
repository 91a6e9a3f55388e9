"""CPU and wall seconds of a piece of work, over the whole process tree: Python, JVM, Python workers.

Figures are of the processes that live when they are read plus what those have reaped, from /proc; Linux only.
"""

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_TICK = os.sysconf("SC_CLK_TCK")


def tree() -> list[int]:
    """This process and all its living descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [os.getpid()]
    while todo:
        found.append(pid := todo.pop())
        todo += parents.get(pid, [])
    return found


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return []
    return text.rpartition(")")[2].split()


def cpu_seconds() -> float:
    """User and system seconds of the tree, children that have ended included."""
    ticks = 0
    for pid in tree():
        if fields := _stat(pid):
            ticks += sum(int(value) for value in fields[11:15])
    return ticks / _TICK


def resident_mib() -> float:
    """Peak proportional memory can't be read afterwards; this is the sum of each process's own peak (VmHWM)."""
    total = 0
    for pid in tree():
        try:
            status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        except OSError:
            continue
        total += next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM")), 0)
    return total / 1024


class Stages:
    """Collects named stages; `report` prints them as the last line of a peer's output."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        cpu, wall = cpu_seconds(), time.monotonic()
        yield
        self.found[name] = {"cpu": cpu_seconds() - cpu, "wall": time.monotonic() - wall}

    def report(self, **facts: Any) -> None:
        print(json.dumps({"stages": self.found, "mib": resident_mib(), **facts}), flush=True)
