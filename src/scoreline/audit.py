"""Judge a staged run as a whole: figures against the limits of the configuration. Decides, does no I/O."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from scoreline.schema import RECOMMENDATIONS, USER_ID
from scoreline.settings import AuditSettings

_IDS = f"{RECOMMENDATIONS}.item_id"


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


def item_figures(sample: DataFrame) -> DataFrame:
    """One row about the items recommended to a sample of users (`user_id, recommendations`).

    `sampled_users`, `distinct_items`, `top_item_share` (of the sampled users, the item recommended most often).
    """
    items = sample.select(F.explode(F.concat(F.array(F.lit(None)), F.col(_IDS))).alias("item_id"))
    # the null that each list begins with counts the users in the same pass
    per_item = items.groupBy("item_id").agg(F.count(F.lit(1)).alias("users"))
    users = F.max(F.when(F.col("item_id").isNull(), F.col("users")))
    top = F.max(F.when(F.col("item_id").isNotNull(), F.col("users")))
    return per_item.agg(
        F.coalesce(users, F.lit(0)).alias("sampled_users"),
        F.count("item_id").alias("distinct_items"),
        (top / users).alias("top_item_share"),
    )


def overlap(sample: DataFrame, published: DataFrame) -> DataFrame:
    """One row: `overlap_at_k`, the mean share of a list that was in the list it replaces; null if none is replaced.

    Both frames have `user_id, recommendations`; the share is of the longer list.
    """
    old = published.select(USER_ID, F.col(_IDS).alias("old"))
    new = sample.select(USER_ID, F.col(_IDS).alias("new"))
    both = new.join(old, on=USER_ID, how="inner")
    longer = F.greatest(F.size("old"), F.size("new"))
    share = F.when(longer > 0, F.size(F.array_intersect("old", "new")) / longer)
    return both.agg(F.avg(share).alias("overlap_at_k"), F.count(F.lit(1)).alias("overlap_users"))


def judge(found: Mapping[str, Any], limits: AuditSettings) -> list[Gate]:
    """All gates of a run. `found` has the summed figures, `wanted` (users) and, of a sample, those of items and overlap."""
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
