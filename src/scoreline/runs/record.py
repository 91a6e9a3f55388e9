"""What a command says of itself while it works, and how it ended: the content of a row of `runs`."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import uuid4

from scoreline.errors import AuditRefused, Mistyped, RunInProgress, ScorelineError, Superseded
from scoreline.redaction import redacted
from scoreline.tables.names import Kind, State

__all__ = ["Record", "figures_of"]

_ENDS: Mapping[type[ScorelineError], State] = {AuditRefused: "refused", Superseded: "superseded"}


@dataclass
class Record:
    """One command. `facts` are written as they are into `figures`; `state` is None until it has ended.

    laps: seconds of each step, in the order in which they were taken. page: writes the page about it once its row is
    there, and gives its path; None if there is to be none. begun_as: the `run_id` that it began with; a run that takes
    up an interrupted one has the id of that later. renamed: is called when it has. left: what it could not do although
    it ended well, which somebody has to hear of; no part of the row.
    """

    kind: Kind
    started_at: datetime
    run_id: str = ""
    state: State | None = None
    model: str | None = None
    users: int = 0
    facts: dict[str, Any] = field(default_factory=dict)
    laps: dict[str, float] = field(default_factory=dict)
    page: Callable[[], str | None] | None = None
    begun_as: str = ""
    renamed: Callable[[], None] | None = None
    left: str | None = None

    def __post_init__(self) -> None:
        self.run_id = self.run_id or f"{self.started_at:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}"
        self.begun_as = self.begun_as or self.run_id
        self._began = self._last = time.monotonic()

    def take_up(self, run_id: str) -> None:
        """Go on as this run, which an earlier attempt has begun."""
        if run_id != self.run_id:
            self.run_id = run_id
            if self.renamed is not None:
                self.renamed()

    def lap(self, step: str) -> None:
        """End a step: what has gone by since the last one is its time."""
        now = time.monotonic()
        self.laps[step] = round(now - self._last, 3)
        self._last = now

    def say(self, **facts: object) -> None:
        """Add facts; of two of one name the later counts, of None nothing is written."""
        self.facts |= facts

    def read(self, name: str, version: int | None) -> None:
        """A table, or another input, that was read in a version; None for one without versions."""
        self.facts.setdefault("read", {})[name] = version

    def wrote(self, name: str, version: int | None) -> None:
        self.facts.setdefault("written", {})[name] = version

    def fail(self, error: BaseException, said: str) -> None:
        """It ended by an error, with the state that was said before, if any; what a person stopped was interrupted."""
        if isinstance(error, Exception):
            self.state = self.state or next(
                (state for kind, state in _ENDS.items() if isinstance(error, kind)), "failed"
            )
        else:
            self.state = "interrupted"
        if isinstance(error, RunInProgress):
            self.say(held_off="by another command")  # it has done nothing, and says nothing of those that work
        if isinstance(error, Mistyped):
            self.say(held_off="by a mistake in what was typed")
        self.say(error=said)

    @property
    def held_off(self) -> bool:
        """Whether another command, or a typing error, kept it from beginning: that is no news of the tables."""
        return "held_off" in self.facts

    @property
    def seconds(self) -> float:
        return round(time.monotonic() - self._began, 3)

    def figures(self) -> str:
        """The facts as JSON, without a secret in it."""
        said = {"steps": self.laps, "seconds": self.seconds, **self.facts}
        return redacted(json.dumps({k: v for k, v in said.items() if v not in (None, {})}, default=str))


def figures_of(text: str | None) -> dict[str, Any]:
    """What a row says in `figures`; nothing where that is no JSON object."""
    try:
        found = json.loads(text or "{}")
    except ValueError:  # somebody else's row
        return {}
    return found if isinstance(found, dict) else {}
