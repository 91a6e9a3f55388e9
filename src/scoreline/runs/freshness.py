"""How old what readers see is, and whether that keeps the promise that the configuration makes.

A row is as old as the last moment at which it is known to have been right: when it was scored, or when a later run
found that nobody was due. So a user without news grows no older while runs look; if they stop, everybody does.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from scoreline.runs.rows import logged
from scoreline.tables.commit_note import Publication, Verified
from scoreline.tables.history import Commit, published_commit
from scoreline.tables.names import SCORED_AT
from scoreline.tables.reading import Readers, TableReader

__all__ = ["Freshness", "measure"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROUNDING = 1e-9  # 0.07 of 100 is 7.000000000000001


@dataclass(frozen=True)
class Freshness:
    """When the rows were scored; `known_at`: when a run last saw that they all are right, None if none has lately; but
    for so many whom it could not score (`failed`).

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
    failed: int = 0

    @property
    def stale(self) -> bool:
        return self.fresh_share is not None and self.share is not None and self.fresh_share < self.share

    @property
    def longest(self) -> str:
        """How old a row may be, as people say it."""
        seconds = (self.max_age or timedelta()).total_seconds()
        units = (("h", 3600), ("min", 60), ("s", 1))
        unit, long = next(unit for unit in units if seconds % unit[1] == 0 or seconds > 2 * unit[1])
        return f"{seconds / long:g} {unit}"

    def __str__(self) -> str:
        lines = []
        if self.oldest and self.newest:
            but = f" but for {self.failed:,} who failed" if self.failed else ""
            known = f", all right as of {self.known_at:%Y-%m-%d %H:%M:%S} UTC{but}" if self.known_at else ""
            lines.append(
                f"freshness  rows scored between {self.oldest:%Y-%m-%d %H:%M:%S} UTC and "
                f"{self.newest:%Y-%m-%d %H:%M:%S} UTC{known}"
            )
        if self.fresh_share is not None and self.share is not None:
            lines.append(
                f"{'STALE' if self.stale else 'fresh':<10} {self.fresh_share:.2%} of {self.users:,} users have a row "
                f"younger than {self.longest}, promised are {self.share:.2%}"
            )
        return "\n".join(lines)


def measure(readers: Readers, target: TableReader | None, *, now: datetime) -> Freshness | None:
    """How fresh the published rows are; None where nothing is published and nothing is promised."""
    promise = readers.settings.freshness
    if target is None and promise is None:
        return None
    ages = {} if target is None else target.counts(SCORED_AT)
    moments = Counter({at: count for at, count in ages.items() if at is not None})
    oldest, newest = min(moments, default=None), max(moments, default=None)
    known_at, failed = (None, 0) if target is None else _known(readers, target.commits(), newest)
    rows = sum(ages.values())
    found = Freshness(oldest, newest, rows, known_at, failed=failed)
    if promise is None:
        return found
    history = readers.table("user_history")
    users = history.count() if readers.settings.input is None and history.exists() else rows
    right_at = _right_at(moments, known_at, failed)
    young = sum(count for at, count in right_at.items() if at >= now - promise.max_age)
    return replace(
        found,
        users=users,
        fresh_share=min(young, users) / users if users else 0.0,
        max_age=promise.max_age,
        share=promise.share,
        until=_until(right_at, math.ceil(promise.share * users - _ROUNDING), promise.max_age),
    )


def _right_at(scored_at: Counter[datetime], known_at: datetime | None, failed: int) -> Counter[datetime]:
    """As of when rows are known to be right. Those that `failed`, which are taken for the oldest, age on."""
    found: Counter[datetime] = Counter()
    for at in sorted(scored_at):
        aging = min(failed, scored_at[at])
        failed -= aging
        found[at] += aging
        found[max(at, known_at or at)] += scored_at[at] - aging
    return found


def _until(right_at: Counter[datetime], wanted: int, max_age: timedelta) -> datetime | None:
    """When fewer than `wanted` of the rows will be young; None if there are fewer."""
    for at in sorted(right_at, reverse=True):
        wanted -= right_at[at]
        if wanted <= 0:
            return at + max_age
    return None


def _known(readers: Readers, commits: Sequence[Commit], newest: datetime | None) -> tuple[datetime | None, int]:
    """When a run last saw that everybody is right, after publishing for all who were due or as it found nobody; and how
    many it had to leave as they were, since the model failed.
    """
    moments: list[tuple[datetime | None, int]] = [(None, 0)]
    changed = next((commit for commit in commits if commit.kind in ("publish", "rollback")), None)
    shown = published_commit(commits)
    if changed is not None and shown is changed and isinstance(shown.note, Publication) and shown.note.complete:
        moments.append((newest, 0))
    for commit in commits:
        if commit is changed:
            break
        if isinstance(commit.note, Verified):
            moments.append((commit.note.verified_at, 0))
    if changed is not None:
        moments += _looked(readers, changed)
    return max(moments, key=lambda known: (known[0] or _EPOCH, -known[1]))


def _looked(readers: Readers, changed: Commit) -> list[tuple[datetime | None, int]]:
    """Runs for everyone that left the rows of `changed` as they are, or made them: when they began, and who failed."""
    made = changed.published.run_id if changed.published else None
    states = ["nothing_due", "only_failures", "published"]
    columns = ["run_id", "state", "started_at", "finished_at", "figures"]
    return [
        (row["started_at"], int(figures.get("failed") or 0))
        for row in logged(readers, columns, where={"kind": ["run"], "state": states})
        if (figures := row["figures"]).get("fraction") == 1 and figures.get("selection") is None
        if (row["run_id"] == made if row["state"] == "published" else row["finished_at"] > changed.at)
    ]
