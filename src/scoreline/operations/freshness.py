"""How old what readers see is, and whether that keeps the promise that the configuration makes.

A row is as old as the last moment at which it is known to have been right: when it was scored, or when a later run
found that nobody was due. So a user without news grows no older while runs look; if they stop, everybody does.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scoreline.tables.commit_note import Publication, Verified
from scoreline.tables.history import Commit, published_commit
from scoreline.tables.names import SCORED_AT
from scoreline.tables.reading import Readers, TableReader, records

__all__ = ["Freshness", "measure"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Freshness:
    """When the rows were scored; `known_at`: when a run last saw that they all are right, None if none has lately.

    users: whom the promise is about: everyone who has a history, or a row of the input. fresh_share: of them those
    whose row is younger than `max_age`. Both are None, and nothing is stale, without a promise.
    """

    oldest: datetime | None
    newest: datetime | None
    rows: int
    known_at: datetime | None
    users: int | None = None
    fresh_share: float | None = None
    max_age: timedelta | None = None
    share: float | None = None

    @property
    def stale(self) -> bool:
        return self.fresh_share is not None and self.share is not None and self.fresh_share < self.share

    def __str__(self) -> str:
        lines = []
        if self.oldest and self.newest:
            known = f", all right as of {self.known_at:%Y-%m-%d %H:%M:%S} UTC" if self.known_at else ""
            lines.append(
                f"freshness  rows scored between {self.oldest:%Y-%m-%d %H:%M:%S} UTC and "
                f"{self.newest:%Y-%m-%d %H:%M:%S} UTC{known}"
            )
        if self.fresh_share is not None and self.share is not None:
            lines.append(
                f"{'STALE' if self.stale else 'fresh':<10} {self.fresh_share:.2%} of {self.users:,} users have a row "
                f"younger than {_hours(self.max_age)}, promised are {self.share:.2%}"
            )
        return "\n".join(lines)


def measure(readers: Readers, target: TableReader | None, *, now: datetime) -> Freshness | None:
    """How fresh the published rows are; None where nothing is published and nothing is promised."""
    promise = readers.settings.freshness
    if target is None and promise is None:
        return None
    oldest, newest, rows, young = None, None, 0, 0
    known_at = None
    if target is not None:
        cutoff = None if promise is None else now - promise.max_age
        oldest, newest, rows, young = _ages(target, cutoff)
        known_at = _known_at(readers, target.commits(), newest)
        if cutoff is not None and known_at is not None and known_at >= cutoff:
            young = rows
    if promise is None:
        return Freshness(oldest, newest, rows, known_at)
    history = readers.table("user_history")
    users = history.count() if readers.settings.input is None and history.exists() else rows
    share = min(young, users) / users if users else 0.0
    return Freshness(oldest, newest, rows, known_at, users, share, promise.max_age, promise.share)


def _ages(target: TableReader, cutoff: datetime | None) -> tuple[datetime | None, datetime | None, int, int]:
    """The oldest and newest row, how many there are, and how many are younger than `cutoff`."""
    oldest, newest, rows, young = [], [], 0, 0
    for batch in target.batches([SCORED_AT]):
        rows += batch.num_rows
        micros = batch[0].cast(pa.int64())
        bounds = pc.min_max(micros)
        oldest.append(bounds["min"].as_py())
        newest.append(bounds["max"].as_py())
        if cutoff is not None:
            young += pc.sum(pc.greater_equal(micros, (cutoff - _EPOCH) // timedelta(microseconds=1))).as_py() or 0
    return _at(min, oldest), _at(max, newest), rows, young


def _at(end: Callable[[list[int]], int], micros: Sequence[int | None]) -> datetime | None:
    known = [at for at in micros if at is not None]
    return _EPOCH + timedelta(microseconds=end(known)) if known else None


def _known_at(readers: Readers, commits: Sequence[Commit], newest: datetime | None) -> datetime | None:
    """When a run last saw that nobody was due: after publishing for all who were, or as it found none."""
    moments: list[datetime | None] = []
    changed = next((commit for commit in commits if commit.kind in ("publish", "rollback")), None)
    shown = published_commit(commits)
    if changed is not None and shown is changed and isinstance(shown.note, Publication) and shown.note.complete:
        moments.append(newest)
    for commit in commits:
        if commit is changed:
            break
        if isinstance(commit.note, Verified):
            moments.append(commit.note.verified_at)
    if changed is not None:
        moments += [run["started_at"] for run in _idle(readers) if run["finished_at"] > changed.at]
    return max((at for at in moments if at is not None), default=None)


def _idle(readers: Readers) -> list[Mapping[str, Any]]:
    """Runs for everyone that found nobody due."""
    table = readers.table("runs")
    if not table.exists():
        return []
    rows = table.rows(["started_at", "finished_at", "figures"], where={"kind": ["run"], "state": ["nothing_due"]})
    said = [(row, json.loads(row["figures"] or "{}")) for row in records(rows)]
    return [row for row, figures in said if figures.get("fraction") == 1 and figures.get("selection") is None]


def _hours(age: timedelta | None) -> str:
    hours = (age or timedelta()).total_seconds() / 3600
    return f"{hours:g} h"
