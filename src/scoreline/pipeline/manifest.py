"""What the first attempt of a run decided: it stands in its staging table, and later attempts keep to it."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, get_args

from scoreline.tables.commit_note import Publication

Reason = Literal["left", "new", "doubled", "other_model", "other_rules", "changed", "too_old", "asked"]
REASONS: tuple[Reason, ...] = get_args(Reason)
MEANING: Mapping[Reason, str] = {
    "left": "no history any more; the row is removed",
    "new": "no recommendation yet",
    "doubled": "more than one row, by whoever else writes the table",
    "other_model": "made by another model version",
    "other_rules": "made with other rules",
    "changed": "history changed since",
    "too_old": "older than scoring.max_age",
    "asked": "up to date, but asked for by --full-refresh",
}


@dataclass(frozen=True)
class Slice:
    """A group of buckets that is scored and staged as one; `users` of them are to be scored."""

    number: int
    buckets: tuple[int, ...]
    users: int


@dataclass(frozen=True)
class Lineage:
    """Where a run's rows come from and go to: enough to publish them without opening the run anew."""

    target: str
    target_version: int
    model: str
    model_version: str
    input: str
    input_version: int | None
    rules_hash: str
    k: int


@dataclass(frozen=True)
class Manifest:
    """What a run is to do.

    `sequence`: the number it was drawn when it opened the table. `complete`: whoever is due is in it; `compared`: found
    by the keys of both tables, not by their logs. `selection`: which users it is for, as a fingerprint of their ids;
    None for everybody. `waiting`: due users in buckets that are left to later runs.
    """

    run_id: str
    sequence: int
    started_at: str
    slices: tuple[Slice, ...]
    reasons: Mapping[str, int]
    whole_table: bool
    complete: bool
    users: int
    buckets: int
    lineage: Lineage
    fraction: float = 1.0
    compared: bool = False
    selection: str | None = None
    waiting: int = 0

    @property
    def began(self) -> datetime:
        return datetime.fromisoformat(self.started_at)

    @property
    def to_score(self) -> int:
        return sum(part.users for part in self.slices)

    @property
    def judged_among(self) -> int:
        """Of how many users a few may fail: of the table's, or of the run's if it takes a part of those who are due.

        Users who were asked for are few on a good night, too.
        """
        return self.users if self.complete or self.selection else self.to_score


def read_manifest(said: Mapping[str, Any] | None) -> Manifest | None:
    """What a note says of a run; None if it says nothing, or was written by another version of ours."""
    try:
        fields = dict(said or {})
        slices = tuple(Slice(s["number"], tuple(s["buckets"]), s["users"]) for s in fields["slices"])
        return Manifest(**{**fields, "slices": slices, "lineage": Lineage(**fields["lineage"])})
    except (KeyError, TypeError):
        return None


def as_published(manifest: Manifest, pipeline: str, **more: Any) -> Publication:
    """The note of the commit that publishes the run, or would; `more` fields, which its manifest does not know."""
    lineage = manifest.lineage
    return Publication(
        pipeline=pipeline,
        run_id=manifest.run_id,
        sequence=manifest.sequence,
        base_version=lineage.target_version,
        model=lineage.model,
        model_version=lineage.model_version,
        input=lineage.input,
        input_version=lineage.input_version,
        rules_hash=lineage.rules_hash,
        **{"users": manifest.to_score, **more},
    )
