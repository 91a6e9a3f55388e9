"""Score and stage a run, slice by slice: scan, map, append. No shuffle, one pass, the figures observed on the way."""

import logging
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from pyspark.sql import Column, DataFrame, Observation
from pyspark.sql import functions as F

from scoreline import audit, schema
from scoreline.context import Context
from scoreline.opening import Due, Opened
from scoreline.plan import Slice
from scoreline.progress import Progress, following
from scoreline.schema import BUCKET, USER_ID
from scoreline.shipping import scored
from scoreline.staging import LEFT, Staging, stage
from scoreline.tables import explained

log = logging.getLogger(__name__)


def stage_slices(context: Context, opened: Opened, staging: Staging, due: Due, progress: Progress) -> dict[str, int]:
    """Stage every slice that an earlier attempt has not; returns the figures of the whole run, summed."""
    slices = staging.manifest.slices
    parts: list[Mapping[str, Any]] = [_counted(staging, F.lit(True))] if staging.done else []
    finished = sum(part.users for part in slices if part.number in staging.done)
    with progress.work(sum(part.users for part in slices), done=finished) as advance:
        for part in slices:
            if part.number not in staging.done:
                rows = scored_slice(context, opened, part, due, whole_table=staging.manifest.whole_table)
                with following(context.spark, part.users, advance):
                    parts.append(_staged(staging, rows, part.number, _inside(part), first=not parts))
    if staging.manifest.reasons.get("left") and LEFT not in staging.done:
        left = F.col("outcome") == "left"
        parts.append(_staged(staging, _departures(context, opened, due.keys), LEFT, left, first=not parts))
    return audit.added(parts)


def scored_slice(context: Context, opened: Opened, part: Slice, due: Due, *, whole_table: bool) -> DataFrame:
    """The staged rows of one slice."""
    everyone, inside = opened.inputs.rows, _inside(part)
    rows = everyone.where(inside) if whole_table else due.to_score(everyone, inside)
    task = opened.pinned.task
    columns = dict.fromkeys([*task.carried, *task.inputs])
    staged = schema.staged(context.keys, opened.pinned.output_fields)
    return scored(rows.select(*columns), opened.pinned.shipment, task, staged)


def _inside(part: Slice) -> Column:
    first, last = part.buckets[0], part.buckets[-1]
    if len(part.buckets) == last - first + 1:
        return F.col(BUCKET).between(first, last)
    return F.col(BUCKET).isin(list(part.buckets))


def _staged(staging: Staging, rows: DataFrame, number: int, inside: Column, *, first: bool) -> Mapping[str, Any]:
    manifest = staging.manifest if first else None
    seen = Observation(f"slice {number} {uuid4().hex[:8]}")
    with explained(f"slice {number} of run {staging.manifest.run_id} could not be scored"):
        stage(staging.table, rows.observe(seen, *audit.figures(rows)), number=number, manifest=manifest)
        # a write that creates a catalogue's table does not hand its observations on (Spark 4.1)
        figures = _observed(seen) or _counted(staging, inside)
    log.info("staged run_id=%s slice=%d figures=%s", staging.manifest.run_id, number, figures)
    return figures


def _observed(seen: Observation) -> Mapping[str, Any] | None:
    try:
        return seen.get
    except Exception:  # py4j's, for an observation that is empty
        return None


def _counted(staging: Staging, rows: Column) -> Mapping[str, Any]:
    staged = staging.table.read()
    return staged.where(rows).agg(*audit.figures(staged)).first().asDict()  # type: ignore[union-attr]


def _departures(context: Context, opened: Opened, due: DataFrame) -> DataFrame:
    known = {USER_ID: F.col(USER_ID), BUCKET: F.col(BUCKET), "outcome": F.lit("left")}
    fields = schema.staged(context.keys, opened.pinned.output_fields)
    columns = [known.get(f.name, F.lit(None)).cast(f.dataType).alias(f.name) for f in fields]
    return due.where(F.col("reason") == "left").select(*columns)
