"""Staged slices of a run: one idempotent append each, found again after a crash.

The staging table's name is a fingerprint of everything the run depends on. A run with the same pinned inputs therefore
finds what an interrupted one has done and goes on; with other inputs it finds nothing. There is no state to repair.
"""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pyspark.sql import DataFrame

from scoreline.config.settings import fingerprint
from scoreline.context import Context
from scoreline.engine.failures import explained
from scoreline.errors import InputError, ScorelineError
from scoreline.pipeline.plan import Slice
from scoreline.tables.delta import Table

log = logging.getLogger(__name__)

PREFIX = "_staging_"
SCRATCH = "_scratch_"
LEFT = -1  # the slice that holds the departures
_KEYS_ONLY = {"delta.dataSkippingNumIndexedCols": "2"}  # what else is in a file nobody asks for by value


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
    """What the first attempt of a run decided; a later attempt keeps to it.

    `sequence`: the number it was drawn when it opened the table. `complete`: whoever is due is in it; `compared`: found
    by the keys of both tables, not by their logs.
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

    @property
    def began(self) -> datetime:
        return datetime.fromisoformat(self.started_at)

    @property
    def to_score(self) -> int:
        return sum(part.users for part in self.slices)

    @property
    def judged_among(self) -> int:
        """Of how many users a few may fail: of the table's, or of the run's if it takes a part of those who are due."""
        return self.users if self.complete else self.to_score


@dataclass(frozen=True)
class Staging:
    """The staging table of one run, and the slices that were in it when the run took it up."""

    table: Table
    manifest: Manifest
    done: frozenset[int] = frozenset()

    @classmethod
    def new(cls, context: Context, pinned: Mapping[str, Any], manifest: Manifest) -> "Staging":
        return cls(_table(context, pinned), manifest)


def find_staging(context: Context, pinned: Mapping[str, Any]) -> Staging | None:
    """What an interrupted run with the same pinned inputs has left, None if there is nothing."""
    return _found(_table(context, pinned))


def find_run(context: Context, run_id: str) -> Staging:
    """The staged rows of a run that was not published; raises InputError if there are none, with those there are."""
    there = [staging for name in context.tables.names(PREFIX) if (staging := _found(context.tables.table(name)))]
    for staging in there:
        if staging.manifest.run_id == run_id:
            return staging
    listed = ", ".join(sorted(staging.manifest.run_id for staging in there)) or "none"
    raise InputError(
        f"There are no staged rows of run {run_id}; runs that are staged and not published: {listed}. They are removed "
        "when the run is published, and a day after their last write."
    )


def _found(table: Table) -> Staging | None:
    if not table.exists():
        return None
    notes = [commit.note for commit in table.commits() if isinstance(commit.note.get("slice"), int)]
    manifest = next((found for note in notes if (found := _manifest(note.get("manifest")))), None)
    if manifest is None:
        return None
    return Staging(table, manifest, frozenset(note["slice"] for note in notes))


def _table(context: Context, pinned: Mapping[str, Any]) -> Table:
    return context.tables.table(PREFIX + fingerprint(pinned))


def _manifest(said: Any) -> Manifest | None:
    """What a note says of a run; None if it says nothing, or was written by another version of ours."""
    try:
        slices = tuple(Slice(s["number"], tuple(s["buckets"]), s["users"]) for s in said["slices"])
        return Manifest(**{**said, "slices": slices, "lineage": Lineage(**said["lineage"])})
    except (KeyError, TypeError):
        return None


def stage(table: Table, rows: DataFrame, *, number: int, manifest: Manifest | None) -> None:
    """Append one slice; doing it twice appends once.

    The first slice of a run brings the `manifest`. In each commit it would make a log that grows with the square of the
    number of slices: more than 1 GB at 5,000.
    """
    note = {"slice": number, **({"manifest": asdict(manifest)} if manifest else {})}
    options = {"txnAppId": f"{table.name}/{number}", "txnVersion": "1", "userMetadata": json.dumps(note), **_KEYS_ONLY}
    table.write(rows, "append", options)


def discard(context: Context, staging: Staging) -> None:
    """Remove the rows of a run that is published, and leftovers; the publication stands, whatever becomes of this."""
    try:
        with explained("staged rows could not be removed"):
            staging.table.drop()
            clean_staging(context)
    except ScorelineError as error:
        log.warning("%s; scoreline vacuum removes them later", error)


def clean_staging(context: Context, *, older_than: timedelta = timedelta(days=1)) -> int:
    """Drop staging and scratch tables whose last write is older than `older_than`; returns how many.

    What has no commit yet may belong to somebody who is just beginning: its age is that of its newest file.
    """
    dropped = 0
    for name in [*context.tables.names(PREFIX), *context.tables.names(SCRATCH)]:
        table = context.tables.table(name)
        if datetime.now(UTC) - _last_write(table) < older_than:
            continue
        table.drop()
        log.info("dropped leftover=%s", table.location)
        dropped += 1
    return dropped


def _last_write(table: Table) -> datetime:
    if table.exists():
        return _utc(table.commits(limit=1)[0].at)
    return table.touched_at()


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)
