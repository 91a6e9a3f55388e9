"""From staged rows to published ones: audit figures, failures to `scoring_errors`, one commit on the target.

Everything needed is in the staged run's manifest, so that a person can also publish a run that the audit refused.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.context import Context
from scoreline.engine.frames import collected
from scoreline.engine.sql import quoted
from scoreline.pipeline import audit
from scoreline.pipeline.audit import AuditMetrics
from scoreline.pipeline.fence import replace_all, replace_some
from scoreline.pipeline.inputs import require_unique
from scoreline.pipeline.staging import Lineage, Manifest, Staging
from scoreline.tables import schema
from scoreline.tables.delta import Table
from scoreline.tables.schema import BUCKET, HISTORY_HASH, RECOMMENDATIONS, USER_ID


def target_of(context: Context, lineage: Lineage) -> Table:
    """The table that a run publishes to."""
    return context.tables.table(lineage.target)


def audit_metrics(
    context: Context, staging: Staging, counted: Mapping[str, int], *, quarantined: int = 0
) -> AuditMetrics:
    """The counts of the run completed by figures about users, items and scores.

    Items and scores come from a sample of at most `audit.sample_users` users; what is compared is compared with the
    rows of the same users. Raises NotUnique if a user is staged twice.
    """
    manifest, most = staging.manifest, context.settings.audit.sample_users
    staged = staging.table.read()
    few = sum(counted.get(outcome, 0) for outcome in ("scored", "failed", "left")) <= most
    sample, replaced, different = _looked_at(staged, *_samples(context, staging, staged, most, few=few), few=few)
    if different < counted.get("scored", 0) + counted.get("failed", 0):
        require_unique(staged.where(F.col("outcome") != "left"), manifest.lineage.input)
    of_sample: dict[str, Any] = {}
    if counted.get("scored"):
        figures = _list_figures if RECOMMENDATIONS in staged.columns else _tabular_figures
        of_sample = figures(sample, replaced)
    return AuditMetrics(
        wanted=manifest.to_score,
        among=manifest.judged_among,
        distinct_users=different,
        quarantined=quarantined,
        **counted,
        **of_sample,
    )


def _samples(
    context: Context, staging: Staging, staged: DataFrame, most: int, *, few: bool
) -> tuple[DataFrame, DataFrame]:
    """The staged rows that are looked at, of at most `most` users, and the published rows of these users.

    A hash of the user's id chooses, in the buckets that `_sample` names; `few`: all that is staged. A table with so few
    rows needs no condition, which would cost more than it saves.
    """
    manifest, lineage = staging.manifest, staging.manifest.lineage
    inside = F.col(BUCKET).isin(_sample(manifest, most))
    looked_at = staged
    if not few:
        scored = staged.where(inside & (F.col("outcome") == "scored"))
        looked_at = scored.orderBy(F.xxhash64(F.col(USER_ID), F.lit("audit")), USER_ID).limit(most)
    if not lineage.target_version:  # created by this run
        return looked_at, staged.limit(0)
    published = target_of(context, lineage).read(lineage.target_version)
    if manifest.complete and manifest.users + manifest.reasons.get("left", 0) <= most:
        return looked_at, published
    users = F.broadcast(looked_at.select(USER_ID))
    return looked_at, published.where(inside).join(users, on=USER_ID, how="left_semi")


def _looked_at(
    staged: DataFrame, sampled: DataFrame, published: DataFrame, *, few: bool
) -> tuple[pa.Table, pa.Table, int]:
    """What was scored and what it replaces on the driver, and the number of different users, all by one query.

    `few`: all staged rows are looked at, and the users counted here. A filter or an aggregate of Spark costs more than
    they are, and Delta looks at the statistics of all files for any filter.
    """
    columns = [F.col(USER_ID), *_columns(staged, published)]
    new = sampled.select("outcome", *columns)
    samples = new.withColumn("_new", F.lit(True)).unionByName(
        published.select(F.lit(None).cast("string").alias("outcome"), *columns, F.lit(False).alias("_new"))
    )
    if few:
        found = collected(samples)
        users = found.filter(pc.field("_new") & (pc.field("outcome") != "left"))[USER_ID]
        different = pc.count_distinct(users).as_py()
    else:
        user = F.when(F.col("outcome") != "left", F.col(USER_ID))
        number = staged.agg(F.count_distinct(user).alias("_different"))
        found = collected(samples.unionByName(number, allowMissingColumns=True))
        different = pc.sum(found["_different"]).as_py()
    return found.filter(pc.field("outcome") == "scored"), found.filter(~pc.field("_new")), different


def _columns(new: DataFrame, old: DataFrame) -> list[Column]:
    """Of lists `item_ids, scores`; of other outputs those that are floating-point."""
    if RECOMMENDATIONS in new.columns:
        made = F.col(RECOMMENDATIONS)
        return [made["item_id"].alias("item_ids"), made["score"].alias("scores")]
    floating = [field.name for field in new.schema if isinstance(field.dataType, T.DoubleType | T.FloatType)]
    return [F.col(quoted(name)) for name in floating if name in old.columns]


def _known(values: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    return values.drop_null().to_numpy()  # type: ignore[no-any-return]


def _flat(lists: pa.ChunkedArray) -> np.ndarray[Any, Any]:
    return pc.fill_null(lists.combine_chunks().flatten(), np.nan).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _list_figures(new: pa.Table, old: pa.Table) -> dict[str, Any]:
    """About the items and scores of lists."""
    return audit.item_figures(new) | audit.overlap_figures(new, old) | _shifts(new, old, ["scores"], _flat)


def _tabular_figures(new: pa.Table, old: pa.Table) -> dict[str, Any]:
    """The widest shift of any floating-point output."""
    names = [name for name in new.column_names if name not in (USER_ID, "outcome", "_new", "_different")]
    return _shifts(new, old, names, _known) if names else {}


def _shifts(
    new: pa.Table, old: pa.Table, names: Sequence[str], values: Callable[[pa.ChunkedArray], np.ndarray[Any, Any]]
) -> dict[str, Any]:
    """The widest shift of scores among the users that both have, and how many scores of all the new are not finite."""
    again = new.filter(pc.is_in(new[USER_ID], value_set=old[USER_ID].combine_chunks()))
    before = old.filter(pc.is_in(old[USER_ID], value_set=new[USER_ID].combine_chunks()))
    shifts = [audit.score_figures(values(again[name]), values(before[name]))["score_psi"] for name in names]
    return {
        "score_psi": max((shift for shift in shifts if shift is not None), default=None),
        "not_finite": sum(int((~np.isfinite(values(new[name]))).sum()) for name in names),
    }


def _sample(manifest: Manifest, users: int) -> list[int]:
    """Buckets, spread over the run, in which the table has about `users` users, due or not: all that is read.

    At least one, however many users that has: what of it reaches the driver is bounded by `_samples`.
    """
    buckets = [bucket for part in manifest.slices for bucket in part.buckets]
    wanted = max(1, manifest.buckets * users // max(manifest.users, 1))
    step = max(1, len(buckets) // wanted)
    return buckets[::step][:wanted]


def record_failures(context: Context, staging: Staging) -> None:
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
            F.lit(manifest.lineage.model_version).alias("model_version"),
            F.lit(manifest.run_id).alias("run_id"),
            F.lit(manifest.began).cast("timestamp").alias("failed_at"),
        )
    )
    table.write(failed.coalesce(1), "append", {"txnAppId": f"errors/{manifest.run_id}", "txnVersion": "1"})


def publish_staged(
    context: Context,
    staging: Staging,
    metrics: AuditMetrics,
    *,
    said: Mapping[str, Any] | None = None,
) -> int:
    """Publish in one commit; returns the version. Overwrites when everyone was due, merges otherwise.

    A user who has two rows is a reason to overwrite, too: a MERGE would replace both.

    `said` goes into the commit's note: what the next run may build upon, or who accepted a refused run.
    """
    manifest, lineage = staging.manifest, staging.manifest.lineage
    note = {
        "kind": "publish",
        "pipeline": context.settings.name,
        "run_id": manifest.run_id,
        "base_version": lineage.target_version,
        "model": lineage.model,
        "model_version": lineage.model_version,
        "input": lineage.input,
        "input_version": lineage.input_version,
        "rules_hash": lineage.rules_hash,
        "users": metrics.scored,
        **(said or {}),
    }
    target, staged, sequence = target_of(context, lineage), staging.table.read(), manifest.sequence
    rows = _finished(target, manifest, staged.where(F.col("outcome") == "scored"))
    if manifest.whole_table:
        everyone = (
            rows.unionByName(_kept(target, lineage, staged), allowMissingColumns=True) if metrics.failed else rows
        )
        return replace_all(target, everyone, sequence=sequence, note=note)
    if manifest.reasons.get("doubled"):
        everyone = rows.unionByName(_others(target, lineage, staged), allowMissingColumns=True)
        return replace_all(target, everyone, sequence=sequence, note=note)
    some = rows.withColumn("_left", F.lit(False))
    if metrics.left:
        leaving = _finished(target, manifest, staged.where(F.col("outcome") == "left"))
        some = some.unionByName(leaving.withColumn("_left", F.lit(True)))
    return replace_some(target, some, sequence=sequence, note=note)


def _finished(target: Table, manifest: Manifest, staged: DataFrame) -> DataFrame:
    """Staged rows with the lineage columns of the published table, in its order."""
    lineage = manifest.lineage
    own = {USER_ID, BUCKET, *(field.name for field in schema.scored_columns())}
    # a column that somebody else has added to the table is theirs to fill
    names = [name for name in target.read().columns if name not in own and name in staged.columns]
    outputs = [F.col(quoted(name)) for name in names]
    return staged.select(
        USER_ID,
        BUCKET,
        *outputs,
        "source",
        F.lit(lineage.model).alias("model_name"),
        F.lit(lineage.model_version).alias("model_version"),
        HISTORY_HASH,
        F.lit(lineage.rules_hash).alias("rules_hash"),
        F.lit(manifest.run_id).alias("run_id"),
        F.lit(manifest.began).cast("timestamp").alias("scored_at"),
    )


def _kept(target: Table, lineage: Lineage, staged: DataFrame) -> DataFrame:
    """Last night's rows of the users whose scoring failed tonight."""
    failed = staged.where(F.col("outcome") == "failed").select(USER_ID)
    return target.read(lineage.target_version).join(F.broadcast(failed), on=USER_ID, how="left_semi")


def _others(target: Table, lineage: Lineage, staged: DataFrame) -> DataFrame:
    """The rows of everyone whom this run neither scored nor found gone, each user once."""
    done = staged.where(F.col("outcome") != "failed").select(USER_ID)
    return target.read(lineage.target_version).join(done, on=USER_ID, how="left_anti").dropDuplicates([USER_ID])
