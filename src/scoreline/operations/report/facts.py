"""What a run's page says, as values: read by `gather`, written by `run_page`. Decides, does no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import takewhile
from typing import Any, Literal

from scoreline.runs.record import figures_of

ENDED_BADLY = ("refused", "failed", "interrupted")
Unit = Literal["share", "count", "number"]
# the audit's figures by the name of their gate: how they are written, and how they follow from what a run recorded
FIGURES: Mapping[str, tuple[Unit, str, str | None]] = {
    "failed users": ("count", "failed", None),
    "users scored or failed": ("count", "scored+failed", None),
    "users scored": ("count", "scored", None),
    "different users staged": ("count", "distinct_users", None),
    "seen items recommended": ("count", "seen", None),
    "items recommended that the rules forbid": ("count", "forbidden", None),
    "results that are null or NaN": ("count", "unusable", None),
    "scores that are NaN or infinite": ("count", "not_finite", None),
    "share of empty lists": ("share", "empty", "scored"),
    "share of lists shorter than asked for": ("share", "short", "scored"),
    "share of fallbacks": ("share", "fallback", "scored"),
    "share of the top item": ("share", "top_item_share", None),
    "different items recommended": ("count", "distinct_items", None),
    "overlap with the lists replaced": ("share", "overlap", None),
    "shift of the scores (PSI)": ("number", "score_psi", None),
    "share of users still there": ("share", "users_share", None),
}


@dataclass(frozen=True)
class Limit:
    """One limit of the audit as the run was judged by it; `value` is None for what no number says."""

    name: str
    found: float
    text: str
    value: float | None
    passed: bool
    warns: bool = False


@dataclass(frozen=True)
class Recorded:
    """One row of `runs`. `figures`: what it says, by name; what an earlier version of ours did not write is absent."""

    run_id: str
    kind: str
    state: str
    started_at: datetime
    finished_at: datetime | None
    model: str | None
    users: int
    figures: Mapping[str, Any] = field(default_factory=dict)

    @property
    def went_wrong(self) -> bool:
        return self.state in ENDED_BADLY

    @property
    def why(self) -> str:
        """Why it went wrong: the limits that refused it, else the first line of its error."""
        return "; ".join(self.broken) or str(self.figures.get("error") or "").strip().partition("\n")[0]

    @property
    def seconds(self) -> dict[str, float]:
        """Seconds of each step, in their order."""
        steps = self.figures.get("steps")
        if not isinstance(steps, Mapping):  # as it was written before there was a log of all commands
            steps = {
                step: self.figures.get(f"{step}_seconds") for step in ("open", "plan", "score", "audit", "publish")
            }
        return {step: float(lap) for step, lap in steps.items() if isinstance(lap, int | float)}

    def number(self, name: str) -> float | None:
        """A figure that is a number; None where there is none."""
        found = self.figures.get(name)
        return float(found) if isinstance(found, int | float) else None

    @property
    def users_per_second(self) -> float | None:
        """While scoring; None for a run that has taken up slices: who was scored when is not recorded."""
        if self.figures.get("resumed_slices"):
            return None
        score = self.seconds.get("score")
        return self.figures.get("scored", 0) / score if score else None

    @property
    def took(self) -> float | None:
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None

    @property
    def limits(self) -> tuple[Limit, ...] | None:
        """The limits that it was judged by, with what was found; None where they were not recorded."""
        gates = self.figures.get("limits")
        if not isinstance(gates, list):
            return None
        return tuple(
            Limit(g["name"], g["found"], g["limit"], g.get("bound"), bool(g["passed"]), bool(g.get("warns")))
            for g in gates
            if isinstance(g, Mapping) and {"name", "found", "limit", "passed"} <= g.keys()
        )

    @property
    def broken(self) -> tuple[str, ...]:
        """The limits that refused it, or that somebody has approved it in spite of, in words."""
        if isinstance(broken := self.figures.get("broken"), list):
            return tuple(map(str, broken))
        if self.state != "refused":
            return ()
        lines = str(self.figures.get("error", "")).splitlines()[1:]  # other lists follow, such as why users failed
        return tuple(line.strip().removeprefix("- ") for line in takewhile(lambda line: line.startswith("  - "), lines))

    def figure(self, name: str) -> float | None:
        """A figure of the audit by its gate's name; None where there is none."""
        if (limit := next((limit for limit in self.limits or () if limit.name == name), None)) is not None:
            return limit.found
        _, numerator, denominator = FIGURES[name]
        parts = [self.figures.get(part) for part in numerator.split("+")]
        if any(not isinstance(part, int | float) for part in parts):
            return None
        total = sum(parts)  # type: ignore[arg-type]
        if denominator is None:
            return total
        whole = self.figures.get(denominator)
        return total / whole if whole else None


def recorded(row: Mapping[str, Any]) -> Recorded:
    """A row of `runs`; what its figures are no JSON object of counts as not written."""
    return Recorded(
        run_id=row["run_id"],
        kind=row.get("kind") or "",
        state=row.get("state") or "",
        started_at=row["started_at"],
        finished_at=row.get("finished_at"),
        model=row.get("model"),
        users=row.get("users") or 0,
        figures=figures_of(row.get("figures")),
    )


@dataclass(frozen=True)
class Point:
    """A figure in an earlier run, or in this one."""

    run_id: str
    at: datetime
    value: float


@dataclass(frozen=True)
class Trend:
    """A figure over the last runs, oldest first, this run last. `limit`: what this run was judged by, if recorded."""

    name: str
    unit: Unit
    points: tuple[Point, ...]
    limit: Limit | None = None

    @property
    def now(self) -> float:
        return self.points[-1].value


@dataclass(frozen=True)
class Failures:
    """Failed users of one code: how many, and one of them with what was said of it."""

    code: str
    users: int
    example: str
    message: str


@dataclass(frozen=True)
class SeenAgain:
    """Users whose lists have items that they have seen: how many, and some of them with an item each.

    None for an item that the history no longer holds.
    """

    users: int
    examples: tuple[tuple[object, object | None], ...]


@dataclass(frozen=True)
class Due:
    """Who was due and what became of them. `reasons` is None where it was not recorded.

    rows_before, rows_after: of the published table, around the run's commit; None where nothing was published. counted:
    False for a run that ended before its figures were there. slices: how many are staged, and of how many.
    """

    wanted: int
    scored: int
    fallback: int
    failed: int
    left: int
    reasons: Mapping[str, int] | None = None
    failures: tuple[Failures, ...] = ()
    rows_before: int | None = None
    rows_after: int | None = None
    counted: bool = True
    slices: tuple[int, int] | None = None

    @property
    def difference(self) -> int:
        """Users of whom nobody knows what became of them: 0."""
        return self.wanted - self.scored - self.failed


@dataclass(frozen=True)
class Histogram:
    """Counts between `edges`, one less than these; `before` is None where nothing is replaced."""

    edges: tuple[float, ...]
    now: tuple[int, ...]
    before: tuple[int, ...] | None = None


@dataclass(frozen=True)
class ItemShare:
    """An item and the share of the lists that it is in, now and before; ranks begin at 1, None for in no list."""

    item_id: object
    now: float
    before: float
    rank: int | None
    rank_before: int | None


@dataclass(frozen=True)
class Part:
    """A part of all items: what is watched of it, and recommended now and before, as shares.

    items: of the catalogue, or of the items watched. different: of these, how many are recommended now.
    """

    name: str
    items: int
    different: int
    watched: float
    now: float
    before: float | None


@dataclass(frozen=True)
class ListChanges:
    """The lists of a sample of the run's users against those that they replace, by whoever has both.

    users: in the sample, of `of` users in the run; replaced: with a list before. lengths: users by length of the list,
    now and before. items, items_before: different ones. came, went: items in lists now alone and before alone, with
    their number. repeated: the mean share of a list that stays. same: users whose lists have the same items; other:
    none in common.
    """

    users: int
    of: int
    replaced: int
    overlap: Histogram | None
    repeated: float | None
    same: int
    other: int
    scores: Histogram | None
    lengths: tuple[tuple[int, int, int], ...]
    items: int
    items_before: int
    top: tuple[ItemShare, ...]
    came_count: int
    came: tuple[ItemShare, ...]
    went_count: int
    went: tuple[ItemShare, ...]
    popularity: tuple[Part, ...] = ()
    genres: tuple[Part, ...] = ()


@dataclass(frozen=True)
class Spread:
    """How an output is distributed among users of one model version."""

    label: str
    users: int
    mean: float
    low: float
    median: float
    high: float


@dataclass(frozen=True)
class Output:
    """An output of a model that is no recommender: numbers as a histogram and its spread, others as counts."""

    name: str
    histogram: Histogram | None = None
    spreads: tuple[Spread, ...] = ()
    values: tuple[tuple[str, int, int], ...] = ()


@dataclass(frozen=True)
class OutputChanges:
    """Outputs of a sample of the run's users against those that they replace."""

    users: int
    of: int
    replaced: int
    outputs: tuple[Output, ...]


@dataclass(frozen=True)
class Watched:
    item_id: object
    at: datetime | None


@dataclass(frozen=True)
class Listed:
    """An item of a list; `was`: its rank in the other list, None if it is in none."""

    item_id: object
    score: float
    was: int | None = None


@dataclass(frozen=True)
class Example:
    """A user, and why this one is shown. history: newest first. before: None for who had no list.

    outputs: of a model that is no recommender, by name: now and before.
    """

    user_id: object
    why: str
    source: str | None
    events: int | None = None
    history: tuple[Watched, ...] = ()
    now: tuple[Listed, ...] = ()
    before: tuple[Listed, ...] | None = None
    repeated: float | None = None
    outputs: Mapping[str, tuple[object, object]] = field(default_factory=dict)


@dataclass(frozen=True)
class ModelFacts:
    """The model's version with its figures on the events held out; `link` to MLflow's page, where it has one."""

    name: str
    version: str
    run_id: str | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    link: str | None = None
    unknown: str | None = None


@dataclass(frozen=True)
class RunFacts:
    """All that the page of a run says.

    shown: the run whose rows readers see now; overtaken: it began later than this one. earlier: runs before this one,
    oldest first, at most 29. missing: what could not be said, and why, by section. titles: of the items that are named.
    exported: what the application's database was sent last; None where nothing is exported. model_before: the version
    whose rows readers see, if an alias can be moved back to it from this run's.
    """

    pipeline: str
    run: Recorded
    made_at: datetime
    earlier: tuple[Recorded, ...]
    trends: tuple[Trend, ...]
    due: Due
    lists: ListChanges | None = None
    outputs: OutputChanges | None = None
    examples: tuple[Example, ...] = ()
    titles: Mapping[object, str] = field(default_factory=dict)
    model: ModelFacts | None = None
    versions: tuple[tuple[str, str], ...] = ()
    exported: str | None = None
    shown: str | None = None
    model_before: str | None = None
    overtaken: bool = False
    missing: Mapping[str, str] = field(default_factory=dict)
    seen: SeenAgain | None = None

    def title(self, item_id: object) -> str:
        return self.titles.get(item_id) or str(item_id)
