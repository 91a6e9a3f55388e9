"""Score and stage a run, slice by slice: scan, map, append. No shuffle, one pass, the figures observed on the way."""

import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import TypeAlias

import pyarrow as pa
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.context import Context
from scoreline.engine.engine import Figures, engine_of
from scoreline.engine.failures import WorkerDied, worker_explained
from scoreline.engine.sql import quoted
from scoreline.errors import AuditRefused
from scoreline.pipeline import audit
from scoreline.pipeline.distribute import scored
from scoreline.pipeline.due_users import Due
from scoreline.pipeline.manifest import Slice
from scoreline.pipeline.progress import Progress, following
from scoreline.pipeline.reasons import why_failed
from scoreline.pipeline.snapshot import RunSnapshot
from scoreline.pipeline.staging import LEFT, Staging, stage
from scoreline.scoring.task import WorkerLimits
from scoreline.tables.names import BUCKET, USER_ID

log = logging.getLogger(__name__)

Staged: TypeAlias = DataFrame | pa.RecordBatchReader  # of Spark, or of our own workers


def stage_slices(
    context: Context, snapshot: RunSnapshot, staging: Staging, due: Due, progress: Progress
) -> dict[str, int]:
    """Stage every slice that an earlier attempt has not; returns the figures of the whole run, summed.

    Raises AuditRefused as soon as more users have failed than the whole run may have.
    """
    manifest, slices = staging.manifest, staging.manifest.slices
    tolerated = context.settings.audit.tolerated(manifest.to_score, manifest.judged_among)
    parts: list[Mapping[str, int]] = [counted(staging)] if staging.done else []
    finished = sum(part.users for part in slices if part.number in staging.done)
    sized = context.sized_batches(_columns(snapshot).schema)
    with sized, progress.work(sum(part.users for part in slices), done=finished) as advance:
        for part in slices:
            if part.number not in staging.done:
                _require_in_budget(staging, audit.added(parts), tolerated)
                with following(context.spark, part.users, advance):
                    parts.append(_scored_and_staged(snapshot, staging, part, due, tolerated, first=not parts))
    if manifest.reasons.get("left") and LEFT not in staging.done:
        left = F.col("outcome") == "left"
        parts.append(_staged(staging, departures(due.keys, snapshot.pinned.staged), LEFT, left, first=not parts))
    return audit.added(parts)


def _require_in_budget(staging: Staging, so_far: Mapping[str, int], tolerated: int) -> None:
    if (failed := so_far.get("failed", 0)) > tolerated:
        raise AuditRefused(
            f"Run {staging.manifest.run_id} was stopped: {failed} users have failed so far, expected at most "
            f"{tolerated} (audit.max_failed_share). The table keeps its last good state.\n"
            f"{why_failed(staging.table.read())}\n"
            f"{staging.table.location} has the failed users (columns code and message). With the model mended, run "
            "again with --restart."
        )


def _scored_and_staged(
    snapshot: RunSnapshot, staging: Staging, part: Slice, due: Due, tolerated: int, *, first: bool
) -> Mapping[str, int]:
    """Score and stage a slice; if a Python worker dies of it, once more in a sandbox that finds out by which user."""
    whole_table = staging.manifest.whole_table
    guard = replace(snapshot.pinned.task.guard, failures=tolerated)
    try:
        rows = scored_slice(snapshot, part, due, whole_table=whole_table, guard=guard)
        return _staged(staging, rows, part.number, _inside(part), first=first)
    except WorkerDied as death:
        log.warning("slice %d is scored again in a sandbox run_id=%s: %s", part.number, staging.manifest.run_id, death)
    boxed = replace(guard, sandbox=True)
    rows = scored_slice(snapshot, part, due, whole_table=whole_table, guard=boxed)
    return _staged(staging, rows, part.number, _inside(part), first=first)


def scored_slice(snapshot: RunSnapshot, part: Slice, due: Due, *, whole_table: bool, guard: WorkerLimits) -> Staged:
    """The staged rows of one slice."""
    inside, pinned = _inside(part), snapshot.pinned
    rows = snapshot.inputs.rows.where(inside) if whole_table else due.rows(inside)
    return scored(rows, pinned.shipment, replace(pinned.task, guard=guard), pinned.staged)


def _columns(snapshot: RunSnapshot) -> DataFrame:
    """What of the rows the workers read."""
    return snapshot.inputs.rows.select(*map(quoted, snapshot.pinned.task.columns))


def _inside(part: Slice) -> Column:
    first, last = part.buckets[0], part.buckets[-1]
    if len(part.buckets) == last - first + 1:
        return F.col(BUCKET).between(first, last)
    return F.col(BUCKET).isin(list(part.buckets))


def _staged(staging: Staging, rows: Staged, number: int, inside: Column, *, first: bool) -> Mapping[str, int]:
    manifest = staging.manifest if first else None
    engine = engine_of(staging.table.spark)
    with worker_explained(f"slice {number} of run {staging.manifest.run_id} could not be scored"):
        seen: Figures | None = None
        if isinstance(rows, DataFrame):
            rows, seen = engine.observed(rows, *audit.figures(rows, k=staging.manifest.lineage.k))
        stage(staging.table, rows, number=number, manifest=manifest)
        # a write that creates a catalogue's table does not hand its observations on (Spark 4.1)
        figures = (seen() if seen is not None else None) or counted(staging, inside)
    log.info("staged run_id=%s slice=%d figures=%s", staging.manifest.run_id, number, figures)
    return figures


def counted(staging: Staging, rows: Column | None = None) -> Mapping[str, int]:
    """The figures of what is staged, all of it or those rows."""
    staged = staging.table.read()
    chosen = staged if rows is None else staged.where(rows)
    figures = audit.figures(staged, k=staging.manifest.lineage.k)
    return chosen.agg(*figures).first().asDict()  # type: ignore[union-attr]


def departures(due: DataFrame, staged: T.StructType) -> DataFrame:
    """Of due users those who have left, as staged rows."""
    known = {USER_ID: F.col(USER_ID), BUCKET: F.col(BUCKET), "outcome": F.lit("left")}
    columns = [known.get(f.name, F.lit(None)).cast(f.dataType).alias(f.name) for f in staged]
    return due.where(F.col("reason") == "left").select(*columns)
