"""What a process and all that it has started have cost: CPU seconds, and the most memory. Of this machine only."""

import re
from dataclasses import dataclass
from pathlib import Path

import psutil

__all__ = ["Usage"]

_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.MULTILINE)


@dataclass(frozen=True)
class Usage:
    """cpu_seconds: user and system, of what has ended, too. peak_bytes: the sum of the peaks of those that live, so at
    least what they ever had together."""

    cpu_seconds: float
    peak_bytes: int

    @classmethod
    def now(cls) -> "Usage":
        me = psutil.Process()
        cpu, peak = 0.0, 0
        for process in [me, *me.children(recursive=True)]:
            try:
                cpu += sum(process.cpu_times()[:4])
                peak += _peak(process)
            except psutil.Error:  # it has just ended
                continue
        return cls(cpu, peak)


def _peak(process: psutil.Process) -> int:
    try:
        found = _PEAK.search(Path(f"/proc/{process.pid}/status").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return int(found[1]) * 1024 if found else int(process.memory_info().rss)
