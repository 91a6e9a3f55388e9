"""CPU seconds, wall seconds and memory of a process and everything it started: Python, JVM, Python workers.

From /proc, so Linux only. CPU seconds are those of the processes that live plus those their parents have reaped.
"""

import ctypes
import json
import os
import resource
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TICK = os.sysconf("SC_CLK_TCK")
_SAMPLE_SECONDS = 0.5
_PR_SET_CHILD_SUBREAPER = 36


def tree(root: int) -> list[int]:
    """A process and all its living descendants."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents.setdefault(int(fields[1]), []).append(int(entry.name))
    found, todo = [], [root]
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


def cpu_seconds(root: int | None = None) -> float:
    """User and system seconds of a process (None: this one) and its descendants, ended ones included."""
    ticks = 0
    for pid in tree(root or os.getpid()):
        if fields := _stat(pid):
            ticks += sum(int(value) for value in fields[11:15])
    return ticks / _TICK


def memory_mib(pid: int) -> float:
    """Proportional set size of a process: what it shares with others is divided among them; 0 once it is gone."""
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) for line in lines if line.startswith("Pss:")), 0) / 1024


def is_worker(pid: int) -> bool:
    """Whether it is one of Spark's Python workers (or the daemon that forks them)."""
    try:
        return b"pyspark" in Path(f"/proc/{pid}/cmdline").read_bytes() and b"java" not in _name(pid)
    except OSError:
        return False


def _name(pid: int) -> bytes:
    return Path(f"/proc/{pid}/comm").read_bytes()


class Stages:
    """Collects named stages of a peer's work; `report` prints them as the last line of its output."""

    def __init__(self) -> None:
        self.found: dict[str, dict[str, float]] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        cpu, wall = cpu_seconds(), time.monotonic()
        yield
        self.found[name] = {"cpu": cpu_seconds() - cpu, "wall": time.monotonic() - wall}

    def report(self, **facts: Any) -> None:
        print(json.dumps({"stages": self.found, **facts}), flush=True)


@dataclass(frozen=True)
class Outcome:
    """What a process left: its last line as JSON, what its tree took. `error` is empty if all went well.

    `cpu` is seconds from its start to the end of the last process of its tree, nothing excluded.
    """

    found: dict[str, Any]
    cpu: float
    peak_mib: float
    workers_mib: float
    workers: int
    seconds: float
    error: str


def watched(command: Sequence[str], *, environment: Mapping[str, str], folder: Path, limit: float) -> Outcome:
    """Run a command in `folder`, look at its memory twice a second, end it and its children after `limit` seconds."""
    folder.mkdir(parents=True, exist_ok=True)
    adopt_orphans()
    spent, began = reaped_cpu(), time.monotonic()
    with (folder / "out.txt").open("w") as out, (folder / "err.txt").open("w") as err:
        process = subprocess.Popen(command, stdout=out, stderr=err, cwd=folder, env=dict(environment))
        peak, workers, most = _sampled(process, lambda: time.monotonic() - began > limit)
    seconds = time.monotonic() - began
    cpu = reaped_cpu() - spent
    lines = (folder / "out.txt").read_text(encoding="utf-8", errors="replace").splitlines()
    if process.returncode == 0 and lines and lines[-1].startswith("{"):
        return Outcome(json.loads(lines[-1]), cpu, peak, workers, most, seconds, "")
    said = (folder / "err.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    late = f"ended after {limit:.0f} s; " if seconds > limit else ""
    reason = next((line for line in reversed(said) if "Error" in line or "Exception" in line), said[-1] if said else "")
    return Outcome({}, cpu, peak, workers, most, seconds, f"{late}exit code {process.returncode}: {reason[:300]}")


def adopt_orphans() -> None:
    """A JVM that outlives its Python becomes this process's child, and its seconds count."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)


def reaped_cpu() -> float:
    """Seconds of all children that have ended, once the last of them has."""
    with suppress(ChildProcessError):
        while True:
            os.wait()
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return ended.ru_utime + ended.ru_stime


def _sampled(process: subprocess.Popen[bytes], is_late: Callable[[], bool]) -> tuple[float, float, int]:
    peak, workers_peak, most = 0.0, 0.0, 0
    while process.poll() is None:
        pids = tree(process.pid)
        memory = {pid: memory_mib(pid) for pid in pids}
        workers = [pid for pid in pids if is_worker(pid)]
        peak = max(peak, sum(memory.values()))
        workers_peak = max(workers_peak, sum(memory[pid] for pid in workers))
        most = max(most, len(workers) - 1)  # without the daemon
        if is_late():
            for pid in pids:
                _kill(pid)
        time.sleep(_SAMPLE_SECONDS)
    return peak, workers_peak, max(most, 0)


def _kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
