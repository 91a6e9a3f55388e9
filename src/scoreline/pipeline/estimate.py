"""What a run will cost, from what past runs have cost: a pure function of the run log.

A run costs a fixed part and a part for each due user by reason. Of its seconds those until it knew who is due are in
the log, and no part of the fit. The fit is one of least absolute deviations, relative to what each run cost, none of
its parts below 0; older runs count less. A reason of which the log has seen too little costs what the others do. How
far off an estimate may be is what the estimates before were off: each past run is estimated once more from the runs
before it alone (split conformal prediction, Lei et al. 2018, arXiv:1604.04173), and after each miss more of these
errors count (Gibbs and Candès 2021, arXiv:2106.00170).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median

import numpy as np

from scoreline.runs.past import COSTS, PastRun

__all__ = ["Costs", "Estimate", "Estimated", "Learned", "learn", "learn_costs", "spoken"]

Counts = Mapping[str, int]

_FITTED = 30  # runs of a fit
_FADING = 0.85  # what a run counts, of what the one after it counts
_COMPARED = 40  # estimates that the spread is taken from
_TELLING = 5  # fewer estimates say nothing of how good they are
_SHARE = 0.87  # of them that it would have held, at least; 0.8 is promised, and not every week is like the last
_GAIN = 0.05  # by how much that share grows by misses, and shrinks again
_AT_FIRST = math.log(2)  # spread while nearly nothing is known: half to double
_ROUNDS = 10
_LIKE = (
    2  # times the users of the largest run: a worker's memory is not told of more. It is full of a batch, not of all
)
_NEAR = 0.01  # deviations below count as equal; nothing is said more exactly


@dataclass(frozen=True)
class Estimated:
    """One figure of a run to come: four times of five between `low` and `high`.

    fixed, per_user: its parts, the latter by reason of those who are due. compared: how many of the newest runs could
    be estimated from those before them; held: of them, how many came to lie between their bounds; usual_error: the
    median of their errors, as a share of the estimate. None without any.
    """

    expected: float
    low: float
    high: float
    fixed: float
    per_user: Mapping[str, float]
    compared: int
    held: int
    usual_error: float | None


@dataclass(frozen=True)
class Estimate:
    """What a run would cost by that many past `runs`; None of what they have not recorded.

    Of memory also None if none of them had half as many users: how it grows, smaller runs do not say.
    """

    runs: int
    seconds: Estimated
    cpu_seconds: Estimated | None
    worker_peak_mib: Estimated | None

    def __str__(self) -> str:
        time = self.seconds
        rates = ", ".join(f"{1000 * rate:.3g} ms ({reason})" for reason, rate in time.per_user.items())
        lines = [
            f"It would take, by {self.runs} past run{'s' * (self.runs != 1)} and four times of five within the bounds:",
            f"  {'time':<10} {_bounded(time, spoken)}: {spoken(time.fixed)}, and for each user {rates}",
        ]
        if self.cpu_seconds:
            lines.append(f"  {'CPU':<10} {_bounded(self.cpu_seconds, spoken)}")
        if self.worker_peak_mib:
            lines.append(f"  {'a worker':<10} {_bounded(self.worker_peak_mib, _mib)} of memory")
        if time.usual_error is not None and time.compared >= _TELLING:
            lines.append(
                f"Of the last {time.compared} estimates of time {time.held} held, "
                f"half of them were off by {time.usual_error:.0%} or less."
            )
        return "\n".join(lines)


@dataclass(frozen=True)
class Learned:
    """How one figure depends on who is due. other: per user of a reason that no run has had.

    opening: what a run costs before it knows who is due, beside `fixed`. fewest, most: users of the runs it was learned
    from. spread: the logarithm of the factor that bounds are off.
    """

    fixed: float
    per_user: Mapping[str, float]
    other: float
    fewest: int
    most: int
    opening: float = 0.0
    spread: float = _AT_FIRST
    errors: tuple[float, ...] = ()
    held: int = 0

    def estimated(self, reasons: Counts) -> Estimated:
        low, expected, high = self.band(reasons)
        factor = math.exp(self.spread)
        return Estimated(
            expected=expected,
            low=low / factor,
            high=high * factor,
            fixed=self.opening + self.fixed,
            per_user={reason: self._rate(reason) for reason in reasons},
            compared=len(self.errors),
            held=self.held,
            usual_error=math.expm1(median(self.errors)) if self.errors else None,
        )

    def band(self, reasons: Counts) -> tuple[float, float, float]:
        """The estimate and what it may be by the fit alone: one value within the sizes of the past.

        Beyond them it may be all fixed or all per user; so it lies between what the nearest size costs, and that in
        proportion.
        """
        users = sum(reasons.values())
        nearest = min(max(users, self.fewest), self.most)
        expected = self._at(reasons, 1.0)
        if nearest == users:
            same = self.opening + expected
            return same, same, same
        there = self._at(reasons, nearest / users)
        low, high = sorted((there, there * users / nearest))
        return self.opening + low, self.opening + min(max(expected, low), high), self.opening + high

    def _at(self, reasons: Counts, scale: float) -> float:
        return self.fixed + scale * sum(self._rate(reason) * users for reason, users in reasons.items())

    def _rate(self, reason: str) -> float:
        return self.per_user.get(reason, self.other)


@dataclass(frozen=True)
class Costs:
    """What past runs have taught; None of what none of them has recorded."""

    runs: int = 0
    seconds: Learned | None = None
    cpu_seconds: Learned | None = None
    worker_peak_mib: Learned | None = None

    def estimate(self, reasons: Counts) -> Estimate | None:
        """Of a run for these due users; None while no run like it is known."""
        if self.seconds is None:
            return None
        cpu, worker = self.cpu_seconds, self.worker_peak_mib
        if worker and sum(reasons.values()) > _LIKE * worker.most:
            worker = None
        cpu_seconds, peak = (known.estimated(reasons) if known else None for known in (cpu, worker))
        return Estimate(self.runs, self.seconds.estimated(reasons), cpu_seconds, peak)


def learn_costs(past: Sequence[PastRun], *, selected: bool) -> Costs:
    """From runs for everybody, or from those for some users: these open otherwise."""
    alike = [run for run in past if run.selected == selected and run.reasons and run.costs]
    learned = {}
    for name in COSTS:
        known = [run for run in alike if name in run.costs]
        opened = [run.opening for run in known] if name == "seconds" else None
        learned[name] = learn([(run.reasons, run.costs[name]) for run in known], opened)
    return Costs(min(len(alike), _FITTED), **learned)


def learn(runs: Sequence[tuple[Counts, float]], opened: Sequence[float] | None = None) -> Learned | None:
    """From what runs had to do and what it cost, oldest first; None without any.

    opened: of each cost the part that no user has caused, where the log says so. None: none.
    """
    if not runs:
        return None
    apart = [0.0] * len(runs) if opened is None else opened
    users_part = [(counts, max(cost - part, _NEAR * cost)) for (counts, cost), part in zip(runs, apart, strict=True)]

    def fitted(number: int) -> Learned:
        """Of so many of the oldest runs."""
        return replace(_fitted(users_part[:number]), opening=median(apart[:number][-_FITTED:]))

    scores: list[float] = []  # by how much the bounds of the fit alone were missed, as logarithms
    errors: list[float] = []
    held: list[bool] = []
    share = _SHARE
    newest = range(max(1, len(runs) - 2 * _COMPARED), len(runs))
    for place in newest:
        reasons, cost = runs[place]
        low, expected, high = fitted(place).band(reasons)
        score = max(math.log(low / cost), math.log(cost / high))
        held.append(score <= _spread(scores, share))
        share = min(1.0, max(_SHARE, share + _GAIN * (_SHARE - held[-1])))
        errors.append(abs(math.log(cost / expected)))
        scores.append(score)
    return replace(
        fitted(len(runs)),
        spread=_spread(scores, share),
        errors=tuple(errors[-_COMPARED:]),
        held=sum(held[-_COMPARED:]),
    )


def _spread(scores: Sequence[float], share: float) -> float:
    """What that share of the newest scores stays below, the one to come among them: of too few that is a guess."""
    known = sorted(scores[-_COMPARED:])
    known.append(max([_AT_FIRST, *known]))
    return max(_NEAR, known[math.ceil(share * len(known)) - 1])


def _fitted(runs: Sequence[tuple[Counts, float]]) -> Learned:
    """Least absolute deviations by least squares that are weighted anew until each weight is one over its deviation.

    Unknown are the fixed part, what any user costs, and what a user of each reason costs. For each reason a row more
    holds it to any user's: the runs have to outweigh it.
    """
    from scipy.optimize import nnls  # a fifth of a second

    newest = runs[-_FITTED:]
    reasons = sorted({reason for counts, _ in newest for reason in counts})
    users = np.array([[counts.get(reason, 0) for reason in reasons] for counts, _ in newest], dtype=float)
    costs = np.array([cost for _, cost in newest])
    said = np.column_stack([np.ones(len(costs)), np.zeros(len(costs)), users]) / costs[:, None]
    ties = np.column_stack([np.zeros(len(reasons)), -np.ones(len(reasons)), np.eye(len(reasons))])
    rows = np.vstack([said, ties * np.median(users.sum(axis=1) / costs)])
    wanted = np.concatenate([np.ones(len(costs)), np.zeros(len(reasons))])
    trust = np.concatenate([_FADING ** np.arange(len(costs))[::-1], np.ones(len(reasons))])
    units = np.abs(rows).max(axis=0)
    weights = np.sqrt(trust)
    for _ in range(_ROUNDS):
        parts, _ = nnls(rows / units * weights[:, None], wanted * weights)
        weights = np.sqrt(trust / np.maximum(np.abs(rows / units @ parts - wanted), _NEAR))
    fixed, other, *rates = (parts / units).tolist()
    sizes = users.sum(axis=1)
    return Learned(fixed, dict(zip(reasons, rates, strict=True)), other, int(sizes.min()), int(sizes.max()))


def spoken(seconds: float) -> str:
    """
    >>> spoken(0.256), spoken(5.64), spoken(95), spoken(1500), spoken(9000)
    ('0.3 s', '5.6 s', '95 s', '25 min', '2.5 h')
    """
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _mib(size: float) -> str:
    return f"{size:,.0f} MiB"


def _bounded(figure: Estimated, said: Callable[[float], str]) -> str:
    return f"{said(figure.expected)} ({said(figure.low)} to {said(figure.high)})"
