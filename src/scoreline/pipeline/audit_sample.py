"""The audit's figures about users, items and scores: of what is staged, or a sample, beside the rows it replaces."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.engine.frames import collected
from scoreline.engine.sql import quoted
from scoreline.pipeline import audit
from scoreline.pipeline.audit import AuditMetrics, Figures, Floats
from scoreline.pipeline.inputs import require_unique
from scoreline.pipeline.manifest import Manifest
from scoreline.pipeline.staging import Staging
from scoreline.tables.delta import Table
from scoreline.tables.names import BUCKET, RECOMMENDATIONS, USER_ID


def audit_metrics(
    staging: Staging, target: Table, counted: Mapping[str, int], *, sample_users: int, quarantined: int = 0
) -> AuditMetrics:
    """The counts of the run completed by figures about users, items and scores.

    Items and scores come from a sample of at most `sample_users` users; what is compared is compared with the rows of
    the same users in `target`. Raises NotUnique if a user is staged twice.
    """
    manifest, staged = staging.manifest, staging.table.read()
    few = sum(counted.get(outcome, 0) for outcome in ("scored", "failed", "left")) <= sample_users
    sampled = staged if few else _sampled(staged, manifest, sample_users)
    replaced = _replaced(sampled, target, manifest, sample_users)
    columns = _columns(staged, staged if replaced is None else replaced)
    new = collected(sampled.select("outcome", USER_ID, *columns))
    # where all is looked at the users are counted here: a query of Spark's costs more than they are
    users = _different(new) if few else _different_of(staged)
    if users < counted.get("scored", 0) + counted.get("failed", 0):
        require_unique(staged.where(F.col("outcome") != "left"), manifest.lineage.input)
    of_sample: Figures = {}
    if counted.get("scored"):
        scored = new.filter(pc.field("outcome") == "scored").drop_columns(["outcome"])
        old = scored.slice(0, 0) if replaced is None else collected(replaced.select(USER_ID, *columns))
        figures = _list_figures if RECOMMENDATIONS in staged.columns else _tabular_figures
        of_sample = figures(scored, old)
    return AuditMetrics(
        wanted=manifest.to_score,
        among=manifest.judged_among,
        distinct_users=users,
        quarantined=quarantined,
        **counted,
        **of_sample,
    )


def _sampled(staged: DataFrame, manifest: Manifest, most: int) -> DataFrame:
    """Scored rows of at most `most` users, chosen by a hash of the user's id in a few buckets."""
    scored = staged.where(_in_sample(manifest, most) & (F.col("outcome") == "scored"))
    return scored.orderBy(F.xxhash64(F.col(USER_ID), F.lit("audit")), USER_ID).limit(most)


def _replaced(sampled: DataFrame, target: Table, manifest: Manifest, most: int) -> DataFrame | None:
    """The published rows of the sampled users; None for a table that this run has created.

    A table with so few rows is read whole: a condition would cost more than it saves.
    """
    if not manifest.lineage.target_version:
        return None
    published = target.read(manifest.lineage.target_version)
    if manifest.complete and manifest.users + manifest.reasons.get("left", 0) <= most:
        return published
    users = F.broadcast(sampled.select(USER_ID))
    return published.where(_in_sample(manifest, most)).join(users, on=USER_ID, how="left_semi")


def _in_sample(manifest: Manifest, users: int) -> Column:
    return F.col(BUCKET).isin(_buckets(manifest, users))


def _buckets(manifest: Manifest, users: int) -> list[int]:
    """Buckets, spread over the run, in which the table has about `users` users, due or not: all that is read.

    At least one, however many users that has: what of it reaches the driver is bounded by `_sampled`.
    """
    buckets = [bucket for part in manifest.slices for bucket in part.buckets]
    wanted = max(1, manifest.buckets * users // max(manifest.users, 1))
    step = max(1, len(buckets) // wanted)
    return buckets[::step][:wanted]


def _different(rows: pa.Table) -> int:
    return int(pc.count_distinct(rows.filter(pc.field("outcome") != "left")[USER_ID]).as_py())


def _different_of(staged: DataFrame) -> int:
    user = F.when(F.col("outcome") != "left", F.col(USER_ID))
    return int(staged.agg(F.count_distinct(user)).first()[0])  # type: ignore[index]


def _columns(new: DataFrame, old: DataFrame) -> list[Column]:
    """Of lists `item_ids, scores`; of other outputs those that are floating-point."""
    if RECOMMENDATIONS in new.columns:
        # by path: Sail takes an item of a list for an index
        return [F.col(f"{RECOMMENDATIONS}.{name}").alias(f"{name}s") for name in ("item_id", "score")]
    floating = [field.name for field in new.schema if isinstance(field.dataType, T.DoubleType | T.FloatType)]
    return [F.col(quoted(name)) for name in floating if name in old.columns]


def _known(values: pa.ChunkedArray) -> Floats:
    return values.drop_null().to_numpy()  # type: ignore[no-any-return]


def _flat(lists: pa.ChunkedArray) -> Floats:
    return pc.fill_null(lists.combine_chunks().flatten(), np.nan).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]


def _list_figures(new: pa.Table, old: pa.Table) -> Figures:
    """About the items and scores of lists."""
    return audit.item_figures(new) | audit.overlap_figures(new, old) | _shifts(new, old, ["scores"], _flat)


def _tabular_figures(new: pa.Table, old: pa.Table) -> Figures:
    """The widest shift of any floating-point output."""
    names = [name for name in new.column_names if name != USER_ID]
    return _shifts(new, old, names, _known) if names else {}


def _shifts(new: pa.Table, old: pa.Table, names: Sequence[str], values: Callable[[pa.ChunkedArray], Floats]) -> Figures:
    """The widest shift of scores among the users that both have, and how many scores of all the new are not finite."""
    again = new.filter(pc.is_in(new[USER_ID], value_set=old[USER_ID].combine_chunks()))
    before = old.filter(pc.is_in(old[USER_ID], value_set=new[USER_ID].combine_chunks()))
    shifts = [audit.score_figures(values(again[name]), values(before[name]))["score_psi"] for name in names]
    return {
        "score_psi": max((shift for shift in shifts if shift is not None), default=None),
        "not_finite": sum(int((~np.isfinite(values(new[name]))).sum()) for name in names),
    }
