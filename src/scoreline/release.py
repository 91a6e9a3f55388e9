"""From staged rows to published ones: audit figures, failures to `scoring_errors`, one commit on the target."""

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from scoreline import audit, schema
from scoreline.context import Context
from scoreline.news import complete_note, oldest_row
from scoreline.opening import Opened
from scoreline.publish import next_sequence, replace_all, replace_some
from scoreline.schema import BUCKET, HISTORY_HASH, RECOMMENDATIONS, USER_ID
from scoreline.staging import Manifest, Staging
from scoreline.tables import collected


def audit_figures(context: Context, opened: Opened, staging: Staging, counted: Mapping[str, int]) -> dict[str, Any]:
    """The counts of the run completed by figures about items, from a sample of whole buckets of staged users."""
    figures: dict[str, Any] = {"wanted": staging.manifest.to_score, **counted}
    if opened.pinned.task.kind != "recommender" or not counted.get("scored"):
        return figures
    inside = F.col(BUCKET).isin(_sample(staging.manifest, context.settings.audit.sample_users))
    sample = _lists(staging.table.read().where(inside & (F.col("outcome") == "scored")))
    replaced = _lists(opened.published().where(inside))
    return figures | audit.item_figures(sample) | audit.overlap_figures(sample, replaced)


def _lists(rows: DataFrame) -> pa.Table:
    """`user_id, item_ids` on the driver: the sample's size is bounded by `audit.sample_users`."""
    return collected(rows.select(USER_ID, F.col(f"{RECOMMENDATIONS}.item_id").alias("item_ids")))


def _sample(manifest: Manifest, users: int) -> list[int]:
    """Buckets, spread over the run, in which the table has about `users` users, due or not: all that is read."""
    buckets = [bucket for part in manifest.slices for bucket in part.buckets]
    wanted = max(1, manifest.buckets * users // max(manifest.users, 1))
    step = max(1, len(buckets) // wanted)
    return buckets[::step][:wanted]


def record_failures(context: Context, opened: Opened, staging: Staging) -> None:
    """Append the failed users to `scoring_errors`, once per run however often it is tried."""
    table = context.tables.table("scoring_errors")
    table.create(schema.scoring_errors(context.keys))
    manifest = staging.manifest
    failed = (
        staging.table.read()
        .where(F.col("outcome") == "failed")
        .select(
            USER_ID,
            BUCKET,
            "code",
            "message",
            F.lit(opened.wanted.model_version).alias("model_version"),
            F.lit(manifest.run_id).alias("run_id"),
            F.lit(manifest.began).cast("timestamp").alias("failed_at"),
        )
    )
    table.write(failed.coalesce(1), "append", {"txnAppId": f"errors/{manifest.run_id}", "txnVersion": "1"})


def publish_staged(context: Context, opened: Opened, staging: Staging, figures: Mapping[str, Any]) -> int:
    """Publish in one commit; returns the version. Overwrites when everyone was due, merges otherwise."""
    manifest = staging.manifest
    complete = manifest.complete and not figures["failed"]
    oldest = oldest_row(opened.news, whole_table=manifest.whole_table, began=manifest.began)
    note = {
        "kind": "publish",
        "run_id": manifest.run_id,
        "model": opened.wanted.model_name,
        "model_version": opened.wanted.model_version,
        "input": opened.inputs.name,
        "input_version": opened.inputs.version,
        "rules_hash": opened.rules.hash,
        "users": figures["scored"],
        **complete_note(opened.inputs.commits, version=opened.inputs.version, complete=complete, oldest=oldest),
    }
    sequence = next_sequence(opened.target, context.now)
    staged = staging.table.read()
    rows = _finished(opened, manifest, staged.where(F.col("outcome") == "scored"))
    if manifest.whole_table:
        everyone = rows.unionByName(_kept(opened, staged)) if figures["failed"] else rows
        return replace_all(opened.target, everyone, sequence=sequence, note=note)
    some = rows.withColumn("_left", F.lit(False))
    if figures.get("left"):
        leaving = _finished(opened, manifest, staged.where(F.col("outcome") == "left"))
        some = some.unionByName(leaving.withColumn("_left", F.lit(True)))
    return replace_some(opened.target, some, sequence=sequence, note=note)


def _finished(opened: Opened, manifest: Manifest, staged: DataFrame) -> DataFrame:
    """Staged rows with the lineage columns of the published table, in its order."""
    outputs = [f.name for f in opened.pinned.output_fields] if opened.pinned.output_fields else [RECOMMENDATIONS]
    return staged.select(
        USER_ID,
        BUCKET,
        *outputs,
        "source",
        F.lit(opened.wanted.model_name).alias("model_name"),
        F.lit(opened.wanted.model_version).alias("model_version"),
        HISTORY_HASH,
        F.lit(opened.rules.hash).alias("rules_hash"),
        F.lit(manifest.run_id).alias("run_id"),
        F.lit(manifest.began).cast("timestamp").alias("scored_at"),
    )


def _kept(opened: Opened, staged: DataFrame) -> DataFrame:
    """Last night's rows of the users whose scoring failed tonight."""
    failed = staged.where(F.col("outcome") == "failed").select(USER_ID)
    return opened.published().join(F.broadcast(failed), on=USER_ID, how="left_semi")
