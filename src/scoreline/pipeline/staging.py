"""Staged slices of a run: one idempotent append each, found again after a crash.

The staging table's name is a fingerprint of everything the run depends on. A run with the same pinned inputs therefore
finds what an interrupted one has done and goes on; with other inputs it finds nothing. There is no state to repair.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta

import pyarrow as pa
from pyspark.sql import DataFrame

from scoreline.engine.failures import explained
from scoreline.errors import Mistyped, ScorelineError
from scoreline.hashing import fingerprint
from scoreline.pipeline.manifest import Manifest, read_manifest
from scoreline.tables.commit_note import Staged
from scoreline.tables.delta import Table, Tables

log = logging.getLogger(__name__)

PREFIX = "_staging_"
SCRATCH = "_scratch_"
LEFT = -1  # the slice that holds the departures
_KEYS_ONLY = {"delta.dataSkippingNumIndexedCols": "2"}  # what else is in a file nobody asks for by value


@dataclass(frozen=True)
class Staging:
    """The staging table of one run, and the slices that were in it when the run took it up."""

    table: Table
    manifest: Manifest
    done: frozenset[int] = frozenset()

    @classmethod
    def new(cls, tables: Tables, dependencies: Mapping[str, object], manifest: Manifest) -> "Staging":
        return cls(_table(tables, dependencies), manifest)


def find_staging(tables: Tables, dependencies: Mapping[str, object]) -> Staging | None:
    """What an interrupted run with the same dependencies has left, None if there is nothing."""
    return _found(_table(tables, dependencies))


def find_run(tables: Tables, run_id: str) -> Staging:
    """The staged rows of a run that was not published; raises Mistyped if there are none, with those there are."""
    there = [staging for name in tables.names(PREFIX) if (staging := _found(tables.table(name)))]
    for staging in there:
        if staging.manifest.run_id == run_id:
            return staging
    listed = ", ".join(sorted(staging.manifest.run_id for staging in there)) or "none"
    raise Mistyped(
        f"There are no staged rows of run {run_id}; runs that are staged and not published: {listed}. They are removed "
        "when the run is published, and a day after their last write."
    )


def _found(table: Table) -> Staging | None:
    if not table.exists():
        return None
    notes = [note for commit in table.commits() if isinstance(note := commit.note, Staged)]
    manifest = next((found for note in notes if (found := read_manifest(note.manifest))), None)
    if manifest is None:
        return None
    return Staging(table, manifest, frozenset(note.slice for note in notes if note.slice is not None))


def _table(tables: Tables, dependencies: Mapping[str, object]) -> Table:
    return tables.table(PREFIX + fingerprint(dependencies))


def stage(table: Table, rows: DataFrame | pa.RecordBatchReader, *, number: int, manifest: Manifest | None) -> None:
    """Append one slice; doing it twice appends once.

    The first slice of a run brings the `manifest`. In each commit it would make a log that grows with the square of the
    number of slices: more than 1 GB at 5,000.
    """
    note = Staged(slice=number, manifest=asdict(manifest) if manifest else None)
    options = {"txnAppId": f"{table.name}/{number}", "txnVersion": "1", "userMetadata": note.text(), **_KEYS_ONLY}
    table.write(rows, "append", options)


def discard(tables: Tables, staging: Staging) -> None:
    """Remove the rows of a run that is published, and leftovers; the publication stands, whatever becomes of this."""
    try:
        with explained("staged rows could not be removed"):
            staging.table.drop()
            clean_staging(tables)
    except ScorelineError as error:
        log.warning("%s; scoreline vacuum removes them later", error)


def clean_staging(tables: Tables, *, older_than: timedelta = timedelta(days=1)) -> int:
    """Drop staging and scratch tables whose last write is older than `older_than`; returns how many.

    What has no commit yet may belong to somebody who is just beginning: its age is that of its newest file.
    """
    dropped = 0
    for name in [*tables.names(PREFIX), *tables.names(SCRATCH)]:
        table = tables.table(name)
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
