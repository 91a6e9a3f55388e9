"""Who has begun and not ended: a small file each, which its process holds locked, and the kernel lets go if it dies."""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

from scoreline.runs.record import Record

__all__ = ["Begun", "begun", "left_behind", "marked"]


@dataclass(frozen=True)
class Begun:
    """A command that has begun; `alive` while its process is. begun_as: see Record."""

    kind: str
    run_id: str
    started_at: datetime
    process: int
    host: str
    command: str
    alive: bool
    begun_as: str = ""

    @property
    def error(self) -> str | None:
        """Of one whose process is gone: what is to be said of it."""
        if self.alive:
            return None
        gone = "It has begun and never ended: its process is gone."
        more = " Readers see what was published last; run again, and what is staged is taken up."
        return gone + more * (self.kind == "run")


@contextmanager
def marked(home: Path, record: Record, command: str) -> Iterator[None]:
    """Inside, a file says that this has begun; it is gone afterwards. Without a place for it nothing is said."""
    folder = home / ".begun"
    fresh = folder / f".{uuid4().hex}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = fresh.open("w", encoding="utf-8")
        fcntl.flock(file, fcntl.LOCK_EX)
    except OSError:  # no place, or a file system without locks
        yield
        return
    place = fresh.with_name(f"{fresh.name[1:]}.json")
    with file:

        def say() -> None:
            said = {
                "kind": record.kind,
                "run_id": record.run_id,
                "started_at": record.started_at.isoformat(),
                "process": os.getpid(),
                "host": socket.gethostname(),
                "command": command,
                "begun_as": record.begun_as,
            }
            with suppress(OSError):
                file.seek(0)
                file.write(json.dumps(said))
                file.truncate()

        say()
        record.renamed = say
        fresh.rename(place)  # locked before it can be seen
        try:
            yield
        finally:
            with suppress(OSError):
                place.unlink()


def begun(home: Path) -> list[Begun]:
    """All that have begun and not ended, oldest first."""
    found = []
    for place in (home / ".begun").glob("*.json"):
        with suppress(OSError, ValueError, KeyError), place.open("r", encoding="utf-8") as file:
            alive = not _taken(file)
            if alive or _is_at(file, place):
                found.append(_read(file, alive=alive))
    return sorted(found, key=lambda one: one.started_at)


@contextmanager
def left_behind(home: Path) -> Iterator[list[Begun]]:
    """Those whose process is gone, this one alone has them; their files are removed at the end, unless it raises."""
    held: list[tuple[Any, Path]] = []
    found: list[Begun] = []
    try:
        for place in (home / ".begun").glob("*.json"):
            with suppress(OSError, ValueError, KeyError):
                file = place.open("r", encoding="utf-8")
                if _taken(file) and _is_at(file, place):
                    held.append((file, place))
                    found.append(_read(file, alive=False))
                else:
                    file.close()
        yield found
        for _, place in held:
            place.unlink(missing_ok=True)
    finally:
        for file, _ in held:
            file.close()


def _taken(file: Any) -> bool:
    """Whether the lock could be had: its process is gone."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _is_at(file: Any, place: Path) -> bool:
    """Whether the file is still what its name says: its process may have removed it a moment ago."""
    try:
        return os.fstat(file.fileno()).st_ino == place.stat().st_ino
    except FileNotFoundError:
        return False


def _read(file: Any, *, alive: bool) -> Begun:
    said = json.loads(file.read())
    return Begun(**{**said, "started_at": datetime.fromisoformat(said["started_at"])}, alive=alive)
