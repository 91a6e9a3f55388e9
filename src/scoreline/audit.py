"""Judge a staged run as a whole: figures against the limits of the configuration. Decides, does no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from scoreline.lists import common_count
from scoreline.schema import RECOMMENDATIONS
from scoreline.settings import AuditSettings


@dataclass(frozen=True)
class Gate:
    """One limit: what was found, what the configuration asks, whether it holds."""

    name: str
    found: float
    limit: str
    passed: bool

    def __str__(self) -> str:
        return f"{self.name} is {self.found:g}, expected {self.limit}"


def figures(rows: DataFrame) -> list[Column]:
    """Aggregates over staged rows: counts that add up over slices. Used as an observation and as a query alike."""
    scored = F.col("outcome") == "scored"
    found = [
        F.count(F.when(scored, 1)).alias("scored"),
        F.count(F.when(F.col("outcome") == "failed", 1)).alias("failed"),
        F.count(F.when(F.col("outcome") == "left", 1)).alias("left"),
        F.count(F.when(scored & (F.col("source") == "fallback"), 1)).alias("fallback"),
        F.coalesce(F.sum("violations"), F.lit(0)).alias("violations"),
    ]
    if RECOMMENDATIONS in rows.columns:
        length = F.size(RECOMMENDATIONS)
        found += [
            F.count(F.when(scored & (length == 0), 1)).alias("empty"),
            F.coalesce(F.sum(F.when(scored, length)), F.lit(0)).alias("items"),
        ]
    return found


def added(parts: list[Mapping[str, Any]]) -> dict[str, int]:
    """Sum the figures of slices."""
    names = sorted({name for part in parts for name in part})
    return {name: sum(int(part.get(name) or 0) for part in parts) for name in names}


def item_figures(sample: pa.Table) -> dict[str, Any]:
    """About the items recommended to a sample of users (`user_id, item_ids`).

    `sampled_users`, `distinct_items`, `top_item_share` (of the sampled users, the item recommended most often).
    """
    counts = pc.value_counts(_column(sample, "item_ids").flatten())
    most = pc.max(counts.field("counts")).as_py() if len(counts) else 0
    users = sample.num_rows
    return {"sampled_users": users, "distinct_items": len(counts), "top_item_share": most / users if users else None}


def overlap_figures(sample: pa.Table, published: pa.Table) -> dict[str, Any]:
    """How much of the sampled lists was in the lists they replace; both tables have `user_id, item_ids`.

    `overlap_at_k` is the mean over users of |old and new| / length of the longer; None if no list is replaced.
    """
    place = pc.index_in(_column(sample, "user_id"), value_set=_column(published, "user_id"))
    both = place.is_valid()
    new = _column(sample, "item_ids").filter(both)
    old = _column(published, "item_ids").take(place.drop_null())
    longer = np.maximum(_lengths(new), _lengths(old))
    shares = common_count(old, new)[longer > 0] / longer[longer > 0]
    return {"overlap_at_k": float(shares.mean()) if len(shares) else None, "overlap_users": len(shares)}


def _column(table: pa.Table, name: str) -> pa.Array:
    return table.column(name).combine_chunks()


def _lengths(lists: pa.Array) -> Any:
    return pc.fill_null(lists.value_lengths(), 0).to_numpy(zero_copy_only=False)


def judge(found: Mapping[str, Any], limits: AuditSettings) -> list[Gate]:
    """All gates of a run. `found` has the summed figures, `wanted` (users) and those of the sample."""
    wanted = int(found["wanted"])
    scored, failed = int(found["scored"]), int(found["failed"])
    tolerated = max(limits.max_failed_floor, int(limits.max_failed_share * wanted))
    gates = [
        Gate(
            "users scored or failed",
            scored + failed,
            f"{wanted}, the users that are due",
            scored + failed == wanted,
        ),
        Gate("seen or forbidden items recommended", found["violations"], "0", found["violations"] == 0),
        Gate("failed users", failed, f"at most {tolerated} (audit.max_failed_share)", failed <= tolerated),
    ]
    # a floor must not let a table through in which everybody failed
    gates.append(Gate("users scored", scored, "at least 1", scored > 0 or wanted == 0))
    shares = [
        ("share of empty lists", found.get("empty"), limits.max_empty_share, "audit.max_empty_share"),
        ("share of fallbacks", found.get("fallback"), limits.max_fallback_share, "audit.max_fallback_share"),
    ]
    for name, count, limit, key in shares:
        if count is not None and limit is not None and scored:
            gates.append(Gate(name, count / scored, f"at most {limit:g} ({key})", count / scored <= limit))
    return gates + _sampled_gates(found, limits)


def _sampled_gates(found: Mapping[str, Any], limits: AuditSettings) -> list[Gate]:
    gates = []
    top, least = found.get("top_item_share"), found.get("overlap_at_k")
    if top is not None and limits.max_top_item_share is not None:
        limit = limits.max_top_item_share
        gates.append(Gate("share of the top item", top, f"at most {limit:g} (audit.max_top_item_share)", top <= limit))
    if least is not None and limits.min_overlap is not None:
        limit = limits.min_overlap
        gates.append(
            Gate(
                "overlap with the lists replaced",
                least,
                f"at least {limit:g} (audit.min_overlap)",
                least >= limit,
            )
        )
    return gates
