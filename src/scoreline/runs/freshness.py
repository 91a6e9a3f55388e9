"""How old what readers see is, and whether that keeps the promise that the configuration makes.

A row is as old as the last moment at which it is known to have been right: when it was scored, or when a later run
found that nobody was due. So a user without news grows no older while runs look; if they stop, everybody does.
"""

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
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
_ROUNDING = 1e-9  # 0.07 of 100 is 7.000000000000001


@dataclass(frozen=True)
class Freshness:
    """When the rows were scored; `known_at`: when a run last saw that they all are right, None if none has lately.

    users: whom the promise is about: everyone who has a history, or a row of the input. fresh_share: of them those
    whose row is younger than `max_age`. until: when the promise will be broken if no run looks before; None if it is
    for want of rows. All are None, and nothing is stale, without a promise.
    """

    oldest: datetime | None
    newest: datetime | None
    rows: int
    known_at: datetime | None
    users: int | None = None
    fresh_share: float | None = None
    max_age: timedelta | None = None
    share: float | None = None
    until: datetime | None = None

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
    ages: Counter[datetime] = Counter()
    known_at = None
    if target is not None:
        ages = _ages(target)
        known_at = _known_at(readers, target.commits(), max(ages, default=None))
    rows = ages.total()
    found = Freshness(min(ages, default=None), max(ages, default=None), rows, known_at)
    if promise is None:
        return found
    history = readers.table("user_history")
    users = history.count() if readers.settings.input is None and history.exists() else rows
    right_at: Counter[datetime] = Counter()
    for scored_at, count in ages.items():
        right_at[max(scored_at, known_at or scored_at)] += count
    young = sum(count for at, count in right_at.items() if at >= now - promise.max_age)
    return replace(
        found,
        users=users,
        fresh_share=min(young, users) / users if users else 0.0,
        max_age=promise.max_age,
        share=promise.share,
        until=_until(right_at, math.ceil(promise.share * users - _ROUNDING), promise.max_age),
    )


def _ages(target: TableReader) -> Counter[datetime]:
    """How many rows were scored when: all of a run at one moment."""
    found: Counter[datetime] = Counter()
    for batch in target.batches([SCORED_AT]):
        for one in pc.value_counts(batch[0].cast(pa.int64()).drop_null()).to_pylist():
            found[_EPOCH + timedelta(microseconds=one["values"])] += one["counts"]
    return found


def _until(right_at: Counter[datetime], wanted: int, max_age: timedelta) -> datetime | None:
    """When fewer than `wanted` of the rows will be young; None if there are fewer."""
    for at in sorted(right_at, reverse=True):
        wanted -= right_at[at]
        if wanted <= 0:
            return at + max_age
    return None


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
