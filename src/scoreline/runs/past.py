"""What the run log says of this installation's own runs: for whom they were, what they cost, whom they left."""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scoreline.runs.rows import logged
from scoreline.runs.usage import processors
from scoreline.tables.reading import Readers

__all__ = ["COSTS", "PastRun", "read_past"]

COSTS = ("seconds", "cpu_seconds", "worker_peak_mib")  # as `figures` call them
_LOOKED_AT = 200  # of the newest runs
_STATES = ("published", "only_failures", "nothing_due")


@dataclass(frozen=True)
class PastRun:
    """A run that ended well.

    reasons: due users that it took. waiting: due users that it left to later runs, None where that is not known: of a
    run for some users, a full refresh, an older log. costs: those of COSTS that are recorded; none of a run that found
    nobody due, or took over slices of an interrupted one. opening: of its seconds those before it knew who is due.
    """

    started_at: datetime
    reasons: Mapping[str, int]
    waiting: int | None
    costs: Mapping[str, float]
    selected: bool = False
    opening: float = 0.0


def read_past(readers: Readers, *, engine: str) -> list[PastRun]:
    """The newest runs of this engine, on this host or one with as many processors; oldest first."""
    where = {"kind": ["run"], "state": list(_STATES)}
    rows = logged(readers, ["state", "started_at", "figures"], where=where)
    newest = sorted(rows, key=lambda row: row["started_at"])[-_LOOKED_AT:]
    return [_past(row) for row in newest if row["figures"].get("engine") == engine and _is_here(row["figures"])]


def _is_here(figures: Mapping[str, Any]) -> bool:
    return figures.get("host") == socket.gethostname() or figures.get("processors") == processors()


def _past(row: Mapping[str, Any]) -> PastRun:
    figures = row["figures"]
    whole = row["state"] == "published" and not figures.get("resumed_slices")
    return PastRun(
        started_at=row["started_at"],
        reasons=figures.get("reasons") or {},
        waiting=figures.get("waiting"),
        costs={name: figures[name] for name in COSTS if figures.get(name)} if whole else {},
        selected=figures.get("selection") is not None,
        opening=(figures.get("steps") or {}).get("open", 0.0) if whole else 0.0,
    )
