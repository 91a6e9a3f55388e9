"""A run that has only so much time: which buckets fit into it, and when at this pace everybody will be fresh."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise, takewhile
from statistics import median

from scoreline.errors import InputError
from scoreline.pipeline.estimate import Learned, spoken
from scoreline.runs.past import PastRun

__all__ = ["Pace", "pace", "within_budget"]

_LATELY = 10  # runs that say how often there is one, and how many users become due between two
_FEW = 3  # less of these say nothing


def within_budget(
    waiting: Sequence[int],
    counts: Mapping[int, Mapping[str, int]],
    learned: Learned | None,
    budget: timedelta,
) -> list[int]:
    """As many of the `waiting` buckets, from the first on, as take at most `budget` by the upper bound of the estimate.

    counts: due users by bucket and reason. learned: of the seconds of past runs; None gives one bucket, to learn from.
    Raises InputError if not even the first fits.
    """
    if learned is None:
        return list(waiting[:1])
    sums: list[Counter[str]] = []
    for bucket in waiting:
        sums.append(Counter(counts[bucket]) + (sums[-1] if sums else Counter()))
    highest = (learned.estimated(reasons).high for reasons in sums)
    fitting = sum(1 for _ in takewhile(lambda seconds: seconds <= budget.total_seconds(), highest))
    if waiting and not fitting:
        first = learned.estimated(sums[0])
        raise InputError(
            f"--budget is {spoken(budget.total_seconds())}, and the bucket that has waited longest "
            f"({sum(sums[0].values()):,} users) may take {spoken(first.high)} (expected: {spoken(first.expected)}). "
            f"Nothing was scored. Give at least {math.ceil(first.high)}s."
        )
    return list(waiting[:fitting])


@dataclass(frozen=True)
class Pace:
    """How a run that took a part of the due users goes on.

    every: seconds from one run to the next, lately. becoming: users who become due between two. Both None if the log
    does not say. runs: as many more are needed; None: at this pace there will always be somebody due, or it was
    `to_learn` only: one bucket, as no past run said what fits into the time. fresh_at: when the last of them begins;
    None where that is not known.
    """

    taken: int
    left: int
    every: float | None
    becoming: int | None
    runs: int | None
    fresh_at: datetime | None
    to_learn: bool = False

    def __str__(self) -> str:
        found = f"{self.taken:,} due users were taken, {self.left:,} are left"
        if self.to_learn:
            return f"{found}: this run was to learn what one takes, the next takes as many as fit into the time"
        if self.runs is None:
            return (
                f"{found}: never will all be fresh at this pace, {self.becoming:,} users become due from one run to "
                "the next. Take more of them, or run more often"
            )
        if self.becoming is None:
            given = "if nobody else becomes due"
        else:
            given = f"{self.becoming:,} users become due from one run to the next"
        more = f"{self.runs} more such run{'s' * (self.runs > 1)} ({given})"
        if self.fresh_at is None or self.every is None:
            return f"{found}: everybody will be fresh after {more}"
        return (
            f"{found}: at this pace everybody will be fresh on {self.fresh_at:%Y-%m-%d at %H:%M} UTC, after {more}, "
            f"one every {spoken(self.every)}"
        )


def pace(
    past: Sequence[PastRun],
    *,
    now: datetime,
    taken: int,
    left: int,
    full_refresh: bool = False,
    to_learn: bool = False,
) -> Pace:
    """Of the run that began at `now`; `past` are those before it, oldest first.

    In a full refresh everybody is due again and again: whoever becomes due meanwhile does not count.
    """
    if to_learn:
        return Pace(taken, left, None, None, None, None, to_learn=True)
    begun = [*(run.started_at for run in past), now][-_LATELY - 1 :]
    gaps = [(later - before).total_seconds() for before, later in pairwise(begun)]
    every = median(gaps) if gaps else None
    becoming = None if full_refresh else _becoming_due(past)
    net = taken - (becoming or 0)
    runs = math.ceil(left / net) if net > 0 else None
    fresh_at = now + runs * timedelta(seconds=every) if runs is not None and every is not None else None
    return Pace(taken, left, every, becoming, runs, fresh_at)


def _becoming_due(past: Sequence[PastRun]) -> int | None:
    """Between two runs, lately: what one found due beyond what the one before it had left."""
    known = [run for run in past if run.waiting is not None]
    found = [
        max(0, sum(later.reasons.values()) + (later.waiting or 0) - (before.waiting or 0))
        for before, later in pairwise(known)
    ][-_LATELY:]
    return round(median(found)) if len(found) >= _FEW else None
