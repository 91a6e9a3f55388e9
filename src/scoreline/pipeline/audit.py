"""Judge a staged run as a whole: figures against the limits of the configuration. Decides, does no I/O."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.config.settings import AuditSettings
from scoreline.scoring.arrow_lists import repeated_shares
from scoreline.tables.names import RECOMMENDATIONS

_BINS = 10
FEW = 100  # users: a share of fewer says nothing

Floats = npt.NDArray[np.floating[Any]]
Figures = dict[str, Any]  # fields of AuditMetrics, by name


@dataclass(frozen=True)
class Gate:
    """One limit: what was found, what the configuration asks, whether it holds, and whether it only warns.

    bound: the limit as a number of the kind of `found`; None for a number of users that has to be met. least: it is the
    least that has to be found, otherwise the most.
    """

    name: str
    found: float
    limit: str
    passed: bool
    warns: bool = False
    bound: float | None = None
    least: bool = False

    @property
    def refuses(self) -> bool:
        return not (self.passed or self.warns)

    def __str__(self) -> str:
        return f"{self.name} is {self.found:g}, expected {self.limit}"


@dataclass(frozen=True)
class AuditMetrics:
    """The figures of a run as a whole; None where there is nothing to count or to compare with.

    wanted: users that were to be scored. among: of how many users a few may fail; None for
    `wanted`, where that is the whole table. scored, failed,
    left (gone from the input), fallback, unusable (a null or NaN where none may be), empty and short (lists): users, by
    what became of them. seen, forbidden: items recommended all the same. items: in all lists. distinct_users: staged.
    sampled_users, distinct_items, top_item_share (of the sampled lists, with the item recommended most often), overlap
    (mean share of a list that was in the one it replaces, of overlap_users), score_psi, not_finite (scores): of the
    sample. quarantined: rows without a key.
    """

    wanted: int = 0
    among: int | None = None
    scored: int = 0
    failed: int = 0
    left: int = 0
    fallback: int = 0
    seen: int = 0
    forbidden: int = 0
    unusable: int = 0
    empty: int | None = None
    short: int | None = None
    items: int | None = None
    distinct_users: int | None = None
    sampled_users: int | None = None
    distinct_items: int | None = None
    top_item_share: float | None = None
    overlap: float | None = None
    overlap_users: int | None = None
    score_psi: float | None = None
    not_finite: int | None = None
    quarantined: int = 0

    def known(self) -> dict[str, int | float]:
        """The figures there are, by name."""
        return {name: value for name, value in asdict(self).items() if value is not None}

    def __str__(self) -> str:
        scored = max(self.scored, 1)
        if self.items is None:  # no recommender: outputs are numbers and texts
            return f"{self.unusable} results that are null or NaN, {self.not_finite or 0} scores that are not finite"
        parts = [
            f"{self.seen} seen and {self.forbidden} forbidden items",
            f"{self.items / scored:.1f} items per list",
            f"{self.empty} empty lists",
            f"{self.fallback / scored:.1%} fallbacks",
        ]
        if self.distinct_items:
            parts.append(f"{self.distinct_items:,} different items")
        if self.top_item_share is not None:
            parts.append(f"top item in {self.top_item_share:.1%} of the lists")
        if self.overlap is not None:
            shown = self.overlap if self.overlap == 1 else min(self.overlap, 0.999)  # 100 % is all of them
            parts.append(f"{shown:.1%} overlap with the lists replaced")
        return ", ".join(parts)


def figures(rows: DataFrame, *, k: int) -> list[Column]:
    """Aggregates over staged rows: counts that add up over slices. Used as an observation and as a query alike."""
    scored = F.col("outcome") == "scored"
    found = [
        F.count(F.when(scored, 1)).alias("scored"),
        F.count(F.when(F.col("outcome") == "failed", 1)).alias("failed"),
        F.count(F.when(F.col("outcome") == "left", 1)).alias("left"),
        F.count(F.when(scored & (F.col("source") == "fallback"), 1)).alias("fallback"),
        F.coalesce(F.sum("seen_count"), F.lit(0)).alias("seen"),
        F.coalesce(F.sum("forbidden_count"), F.lit(0)).alias("forbidden"),
        F.count(F.when(scored & _unusable(rows), 1)).alias("unusable"),
    ]
    if RECOMMENDATIONS in rows.columns:
        length = F.size(RECOMMENDATIONS)
        found += [
            F.count(F.when(scored & (length == 0), 1)).alias("empty"),
            F.count(F.when(scored & (length < k), 1)).alias("short"),
            F.coalesce(F.sum(F.when(scored, length)), F.lit(0)).alias("items"),
        ]
    return found


def _unusable(rows: DataFrame) -> Column:
    """Whether a list is null, or an output is NaN.

    Scores inside of lists are looked at in the sample; an output that is null got past the worker, which knows the
    optional ones.
    """
    nothing = F.lit(False)
    for field in _outputs(rows):
        if field.name == RECOMMENDATIONS:
            nothing = nothing | F.col(RECOMMENDATIONS).isNull()
        if isinstance(field.dataType, T.DoubleType | T.FloatType):
            escaped = field.name.replace("`", "``")
            nothing = nothing | F.coalesce(F.isnan(f"`{escaped}`"), F.lit(False))
    return nothing


def _outputs(rows: DataFrame) -> list[T.StructField]:
    own = {"user_id", "bucket", "history_hash", "outcome", "source", "seen_count", "forbidden_count", "code", "message"}
    return [field for field in rows.schema if field.name not in own]


def added(parts: list[Mapping[str, int]]) -> dict[str, int]:
    """Sum the figures of slices."""
    names = sorted({name for part in parts for name in part})
    return {name: sum(int(part.get(name) or 0) for part in parts) for name in names}


def item_figures(sample: pa.Table) -> Figures:
    """About the items recommended to a sample of users (`user_id, item_ids`).

    `sampled_users`, `distinct_items`, `top_item_share` (of the sampled users, the item recommended most often).
    """
    counts = pc.value_counts(_column(sample, "item_ids").flatten())
    most = pc.max(counts.field("counts")).as_py() if len(counts) else 0
    users = sample.num_rows
    return {"sampled_users": users, "distinct_items": len(counts), "top_item_share": most / users if users else None}


def overlap_figures(sample: pa.Table, published: pa.Table) -> Figures:
    """How much of the sampled lists was in the lists they replace; both tables have `user_id, item_ids`.

    `overlap` is the mean over users of |old and new| / length of the longer; None if no list is replaced.
    """
    _, shares = repeated_shares(sample, published)
    return {"overlap": float(shares.mean()) if len(shares) else None, "overlap_users": len(shares)}


def score_figures(new: Floats, old: Floats) -> Figures:
    """`score_psi`, how far the distribution of scores has moved from the one replaced, and `not_finite`, NaNs in it.

    The population stability index over the deciles of the old scores: below 0.1 is quiet, above 0.25 is another
    distribution. None where there is nothing to compare.
    """
    finite = np.isfinite(new)
    found = {"not_finite": int((~finite).sum()), "score_psi": None}
    old = old[np.isfinite(old)]
    if not len(old) or not finite.any():
        return found
    edges = np.unique(np.quantile(old, np.linspace(0, 1, _BINS + 1)[1:-1]))
    shares = [
        np.bincount(np.searchsorted(edges, x, side="right"), minlength=len(edges) + 1) for x in (new[finite], old)
    ]
    # an empty bin would be infinitely far
    now, before = (np.maximum(counts / counts.sum(), 1e-4) for counts in shares)
    return {**found, "score_psi": float(((now - before) * np.log(now / before)).sum())}


def _column(table: pa.Table, name: str) -> pa.Array:
    return table.column(name).combine_chunks()


def users_gate(users: int, before: int, limits: AuditSettings) -> list[Gate]:
    """Whether there are far fewer users than were published before: known before anything is scored."""
    least = limits.min_users_share
    if not before or least is None:
        return []
    limit = f"at least {least:g} (audit.min_users_share): {users} users now, {before} published before"
    share = users / before
    warns = "min_users_share" in limits.warn
    return [Gate("share of users still there", share, limit, share >= least, warns, least, least=True)]


def evaluate_gates(
    found: AuditMetrics, limits: AuditSettings, *, whole_table: bool = True, selected: bool = False
) -> list[Gate]:
    """All gates of a run.

    `selected`: of one for users who were asked for. What limits say of everybody, shares of lists and how different and
    how new they are, says nothing of a few of them: below `FEW` they do not count.

    A run for everybody has to score somebody. One for a few may find that just those fail again whom the budget lets
    fail: they are due each night, and nobody is to be woken for them.
    """
    wanted, scored, failed = found.wanted, found.scored, found.failed
    among = wanted if found.among is None and whole_table else found.among
    tolerated = limits.tolerated(wanted, among)
    everybody = f"{wanted}, the users that are due"
    gates = [
        Gate("users scored or failed", scored + failed, everybody, scored + failed == wanted),
    ]
    if scored or (wanted and whole_table):
        gates.append(Gate("users scored", scored, "at least 1", scored > 0))
    if (different := found.distinct_users) is not None:
        gates.append(Gate("different users staged", different, everybody, different == wanted))
    zero = {
        "seen": "seen items recommended",
        "forbidden": "items recommended that the rules forbid",
        "unusable": "results that are null or NaN",
        "not_finite": "scores that are NaN or infinite",
    }
    counts = {name: getattr(found, key) or 0 for key, name in zero.items()}
    gates += [Gate(name, count, "0", count == 0, bound=0) for name, count in counts.items()]
    shares = {
        "max_empty_share": ("share of empty lists", _share(found.empty, scored)),
        "max_short_share": ("share of lists shorter than asked for", _share(found.short, scored)),
        "max_fallback_share": ("share of fallbacks", _share(found.fallback, scored)),
        "max_top_item_share": ("share of the top item", found.top_item_share),
        "min_distinct_items": ("different items recommended", found.distinct_items),
        "min_overlap": ("overlap with the lists replaced", found.overlap),
        "max_overlap": ("overlap with the lists replaced", found.overlap),
        "max_psi": ("shift of the scores (PSI)", found.score_psi),
    }
    gates.append(_limited("failed users", failed, "max_failed_share", tolerated, limits))
    if selected and scored < FEW:
        return gates
    gates += [
        _limited(name, value, key, limit, limits)
        for key, (name, value) in shares.items()
        if value is not None and (limit := getattr(limits, key)) is not None
    ]
    return gates


def _limited(name: str, value: float, key: str, limit: float, limits: AuditSettings) -> Gate:
    least = key.startswith("min_")
    passed = value >= limit if least else value <= limit
    text = f"at {'least' if least else 'most'} {limit:g} (audit.{key})"
    return Gate(name, value, text, passed, key in limits.warn, limit, least)


def _share(count: int | None, scored: int) -> float | None:
    return None if count is None or not scored else count / scored
