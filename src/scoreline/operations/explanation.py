"""Why a user got a list, or none, as people and programs read it: what `explain` gives back."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from scoreline.report import Report

__all__ = [
    "METHODS", "Absence", "AbsenceReason", "Cause", "Difference", "ExplainedItem", "Explanation", "Method",
    "Recomputed", "WhyNot", "WhyNotReason",
]  # fmt: skip

# sum: each score is the sum of what the events add. without_each: each number is by how much the score falls when the
# event is left out; these need not add up
Method = Literal["sum", "without_each"]
AbsenceReason = Literal["never", "quarantined", "left", "failed", "waiting", "removed"]
WhyNotReason = Literal[
    "listed", "seen", "blocked", "not_allowed", "unknown", "not_in_training", "no_signal", "outscored", "cannot_say"
]  # fmt: skip
METHODS: dict[Method, str] = {
    "sum": "Each score is the sum of what the events add.",
    "without_each": "Behind an event: by how much the score falls without it. These need not add up to the score.",
}


@dataclass(frozen=True)
class Cause:
    """An event of the history, and what it adds to a score; `adds` is None where the item is not listed without it."""

    item_id: Any
    title: str | None
    at: datetime | None
    weight: float
    adds: float | None

    def __str__(self) -> str:
        when = f", {self.at:%Y-%m-%d}" if self.at else ""
        adds = "not listed without" if self.adds is None else f"{self.adds:.4g}"
        return f"{adds:>10}  {self.title or self.item_id}{when}"


@dataclass(frozen=True)
class ExplainedItem:
    """An item of the list. `causes`: largest first; of `others` events, not shown, the sum is `rest`.

    place: among all items by number of users, of an item that is listed for its popularity; else None.
    """

    rank: int
    item_id: Any
    title: str | None
    score: float
    place: int | None = None
    causes: tuple[Cause, ...] = ()
    others: int = 0
    rest: float | None = None

    def lines(self) -> list[str]:
        popular = "" if self.place is None else f"  popular: place {self.place:,} of all items"
        lines = [f"{self.rank:>5}. {self.title or self.item_id}  ({self.score:.4g}){popular}"]
        lines += [f"       {cause}" for cause in self.causes]
        if self.others:
            rest = "" if self.rest is None else f"{self.rest:.4g}"
            lines.append(f"       {rest:>10}  {self.others:,} other event{'s' * (self.others > 1)}")
        return lines


@dataclass(frozen=True)
class Difference:
    """A place of the list where what is published is not what was computed now; None where a list has no such place."""

    rank: int
    published_item: Any
    published_score: float | None
    item: Any
    score: float | None

    def __str__(self) -> str:
        shown = [
            "nothing" if item is None else f"{item} ({score!r})"
            for item, score in ((self.published_item, self.published_score), (self.item, self.score))
        ]
        return f"place {self.rank}: listed {shown[0]}, now {shown[1]}"


@dataclass(frozen=True)
class Recomputed:
    """Whether the list computed again is the published one.

    state: identical, bit for bit; differs, at `differences`; failed: the model gave no list; impossible: what it was
    made from is not there any more. said: that in a sentence.
    """

    state: Literal["identical", "differs", "failed", "impossible"]
    said: str
    differences: tuple[Difference, ...] = ()


@dataclass(frozen=True)
class WhyNot:
    """Why an item is not in the list. rank, score: its own, where the model says; last_score: of the last listed."""

    item_id: Any
    title: str | None
    reason: WhyNotReason
    said: str
    rank: int | None = None
    score: float | None = None
    last_score: float | None = None

    def __str__(self) -> str:
        return f"Why not {self.title or self.item_id}: {self.said}"


@dataclass(frozen=True)
class Absence:
    """Why a user has no list. code: of `scoring_errors`; quarantined: rows of the user there by reason."""

    reason: AbsenceReason
    said: str
    code: str | None = None
    quarantined: dict[str, int] | None = None


@dataclass(frozen=True)
class Explanation(Report):
    """One user, as the table shows it or as a run left it: the list and what made it, or why there is none.

    run_id: the run that made the list. input_version: of `user_history` that it was made from. events: of the history.
    """

    user_id: Any
    run_id: str | None = None
    model: str | None = None
    input_version: int | None = None
    scored_at: datetime | None = None
    source: str | None = None
    recomputed: Recomputed | None = None
    method: Method | None = None
    events: int | None = None
    items: tuple[ExplainedItem, ...] = ()
    why_not: WhyNot | None = None
    absent: Absence | None = None
    notes: tuple[str, ...] = ()

    def rows(self) -> list[dict[str, Any]]:
        """A row an item and event that adds to it."""
        return [
            {"user_id": self.user_id, "rank": item.rank, "item_id": item.item_id, "title": item.title,
             "score": item.score, "event_item_id": cause.item_id, "event_title": cause.title, "event_at": cause.at,
             "adds": cause.adds}
            for item in self.items
            for cause in item.causes
        ]  # fmt: skip

    def __str__(self) -> str:
        if self.absent is not None:
            return "\n".join([f"User {self.user_id} has no list: {self.absent.said}", *self.notes])
        return "\n".join([*self._head(), *(line for item in self.items for line in item.lines()), *self._tail()])

    def _head(self) -> Sequence[str]:
        made = f"{self.model}, run {self.run_id}"
        when = f" of {self.scored_at:%Y-%m-%d %H:%M} UTC" if self.scored_at else ""
        history = "" if self.input_version is None else f", user_history version {self.input_version}"
        lines = [f"User {self.user_id}: list of {made}{when}{history}"]
        if self.recomputed is not None:
            lines += [self.recomputed.said, *(f"  {difference}" for difference in self.recomputed.differences)]
        return [*lines, *self.notes]

    def _tail(self) -> Sequence[str]:
        lines = [METHODS[self.method]] if self.method and any(item.causes for item in self.items) else []
        return [*lines, str(self.why_not)] if self.why_not else lines
