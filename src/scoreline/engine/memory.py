"""How much memory there is, and whether work fits into it: asked before anything is read."""

import os
from pathlib import Path

from scoreline.errors import BeyondMemory

__all__ = ["SHARE", "bytes_of_memory", "require_memory"]

SHARE = 0.5  # of the memory that work may take by its estimate; the rest is Python's, the model's and the page cache's


def bytes_of_memory() -> int:
    """Of this machine, or of the container or unit that this process is in, whichever is less."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *(limit for file in _limits() if (limit := _number(file)) is not None)])


def require_memory(needed: float, what: str) -> None:
    """Raise BeyondMemory where grouping `what`, by an estimate in bytes, takes more than our share of the memory."""
    memory = bytes_of_memory()
    if needed > memory * SHARE:
        raise BeyondMemory(
            f"{what}. To group it the embedded engine would take some {needed / 2**30:,.1f} GiB of memory, and expects "
            f"at most {SHARE:.0%} of the {memory / 2**30:,.1f} GiB there are. Ingest it in smaller files, or say "
            "engine: spark, which spills to disk."
        )


def _limits() -> list[Path]:
    """The files that may limit this process: of its own cgroup and all above it, of version 2 and 1."""
    root = Path("/sys/fs/cgroup")
    found = [root / "memory.max", root / "memory" / "memory.limit_in_bytes"]
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return found
    for line in lines:
        _, kinds, group = line.split(":", 2)
        if kinds and "memory" not in kinds.split(","):
            continue
        top, name = (root / "memory", "memory.limit_in_bytes") if kinds else (root, "memory.max")
        own = top / group.lstrip("/")
        found += [folder / name for folder in (own, *own.parents) if folder.is_relative_to(top)]
    return found


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):  # no such file, or the word max
        return None
