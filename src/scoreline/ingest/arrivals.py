"""Which files of a place are new, by what is remembered of those that were taken. Decides, reads nothing.

The cheap look comes first: path, size and time of the last change. Only of what looks new are the bytes looked at.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from scoreline.engine.listing import ListedFile

_SECOND = 1_000_000


@dataclass(frozen=True)
class Remembered:
    """What an ingest, the last one at `tried_us`, knows of a file. `refused`: why it was not taken, None if it was."""

    size: int
    modified_us: int
    digest: str | None
    refused: str | None = None
    tried_us: int = 0


@dataclass(frozen=True)
class Looks:
    """The files that look new, those that were refused before, and those to be left for next time, with the reason."""

    new: Sequence[ListedFile]
    again: Sequence[ListedFile]
    waiting: Mapping[str, str]


def looks_new(
    files: Iterable[ListedFile], memory: Mapping[str, Remembered], *, now: datetime, settle: timedelta
) -> Looks:
    """Sort files by their size and time alone.

    What is empty, or was changed less than `settle` ago, may still be written. So may a file of the near future: clocks
    of two hosts differ. One of the far future was unpacked or copied with a time of its own.
    """
    new, again, waiting = [], [], {}
    for file in files:
        known = memory.get(file.address)
        is_same = known is not None and (known.size, known.modified_us) == (file.size, file.modified_us)
        if is_same and known is not None and known.refused is None:
            continue
        age = now - datetime.fromtimestamp(file.modified_us / _SECOND, now.tzinfo)
        if file.size == 0:
            waiting[file.address] = "it is empty"
        elif abs(age) < settle:
            waiting[file.address] = f"it was changed {abs(age).total_seconds():.0f} s ago, and may still be written"
        elif is_same:
            again.append(file)
        else:
            new.append(file)
    return Looks(new, again, waiting)


@dataclass(frozen=True)
class Content:
    """What files are by their bytes. `take`: to be read; `changed`: of them those that were taken as something else.

    `same`: files by the one with the same bytes, which was taken or is among `take`; it may be the same path, where
    only the time is another.
    """

    take: list[ListedFile] = field(default_factory=list)
    changed: list[str] = field(default_factory=list)
    same: dict[str, str] = field(default_factory=dict)


def by_content(files: Iterable[ListedFile], digests: Mapping[str, str], memory: Mapping[str, Remembered]) -> Content:
    """Tell copies, renamed and changed files from new ones; the first of several that are the same is taken."""
    found = Content()
    owners = {known.digest: path for path, known in memory.items() if known.refused is None}
    for file in files:
        digest, known = digests.get(file.address), memory.get(file.address)
        was_taken = known is not None and known.refused is None
        if was_taken and known is not None and known.digest == digest:
            found.same[file.address] = file.address
        elif digest in owners:
            found.same[file.address] = owners[digest]
        else:
            found.take.append(file)
            if digest:
                owners[digest] = file.address
            if was_taken:
                found.changed.append(file.address)
    return found
