"""Who is due and why: a pure function of what the tables hold, the pinned model, the rules and the clock.

Nothing here reads, writes or looks at the time.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from scoreline.pipeline.changes import Changes
from scoreline.pipeline.estimate import Estimate
from scoreline.pipeline.manifest import MEANING, REASONS, Slice
from scoreline.report import Report
from scoreline.tables.names import ADDED_AT, BUCKET, HISTORY_HASH, SCORED_AT, UPDATED_AT, USER_ID


@dataclass(frozen=True)
class DesiredState:
    """What an up-to-date row says."""

    model_name: str
    model_version: str
    rules_hash: str
    max_age: timedelta | None
    now: datetime
    full_refresh: bool = False

    @property
    def too_old(self) -> datetime | None:
        """A row that was scored then or before is too old."""
        return None if self.max_age is None else self.now - self.max_age


@dataclass(frozen=True)
class Plan:
    """The due users by bucket and reason, and the slices a run works through; `complete` if that is all of them.

    `selected`: it looked at some users only, and says nothing of the others. `waiting`: due users in other buckets.
    """

    counts: Mapping[int, Mapping[str, int]]
    slices: tuple[Slice, ...]
    users: int
    buckets: int
    complete: bool = True
    selected: bool = False
    waiting: int = 0

    @property
    def reasons(self) -> dict[str, int]:
        """Due users per reason over all chosen buckets, in a fixed order, zero ones left out."""
        totals = {reason: sum(c.get(reason, 0) for c in self.counts.values()) for reason in REASONS}
        return {reason: count for reason, count in totals.items() if count}

    @property
    def due(self) -> int:
        return sum(self.reasons.values())

    @property
    def to_score(self) -> int:
        return sum(s.users for s in self.slices)

    @property
    def leaving(self) -> int:
        return self.reasons.get("left", 0)

    @property
    def whole_table(self) -> bool:
        """Whether each user with a history is to be scored, so that the table can be replaced as a whole."""
        return self.to_score == self.users and not self.selected


@dataclass(frozen=True)
class Asked:
    """How many users were asked for, each once, and how many of them no table knows; `examples` are a few of these."""

    users: int
    unknown: int
    examples: tuple[object, ...] = ()

    def __str__(self) -> str:
        found = f"{self.users:,} user{'s' * (self.users != 1)} asked for"
        if not self.unknown:
            return found
        more = ", ..." if self.unknown > len(self.examples) else ""
        listed = ", ".join(map(str, self.examples)) + more
        return f"{found}, {self.unknown:,} of them unknown: no history and no published row ({listed})"


@dataclass(frozen=True)
class PlanReport(Report):
    """What a run would do now: who is due by reason, how many it would score, in how many slices, and how it ends.

    `waiting`: due users that it would leave to later runs. `estimate`: what it would cost; None if nobody is due, or
    the log has no run like it.
    """

    model: str
    users: int
    due: int
    reasons: Mapping[str, int]
    to_score: int
    slices: int
    whole_table: bool
    asked: Asked | None = None
    waiting: int = 0
    estimate: Estimate | None = None

    def __str__(self) -> str:
        if self.due == 0:
            return f"{nothing_due(self.asked, users=self.users)} with {self.model}."
        how = "replace the whole table" if self.whole_table else "merge them into the table"
        return "\n".join(
            [
                f"{self.due:,} users are due with {self.model}:",
                *[f"  {count:>12,}  {reason:<12} {MEANING[reason]}" for reason, count in self.reasons.items()],  # type: ignore[index]
                f"A run would score {self.to_score:,} users in {self.slices} slice(s) and {how}.",
                *([f"{self.waiting:,} users who are due would be left to later runs."] if self.waiting else []),
                *([f"{self.asked}."] if self.asked else []),
                str(self.estimate or "What it would cost: no idea yet, the log has no run like it."),
            ]
        )


def nothing_due(asked: Asked | None, *, users: int | None = None) -> str:
    """What a report says where nobody is due: of `users` in all, if it is known, or of those who were asked for."""
    if asked:
        return f"Nothing is due: {asked}; whoever is known is up to date"
    return f"Nothing is due: {'everyone is' if users is None else f'all {users:,} users are'} up to date"


def due_users(histories: DataFrame, recommendations: DataFrame, wanted: DesiredState) -> DataFrame:
    """Compare the keys of both tables; gives `user_id, bucket, reason`, a row for each user that is due.

    `histories` has `user_id, bucket, history_hash`, each user once, `recommendations` also `model_name, model_version,
    rules_hash, scored_at`. The first reason of `REASONS` that holds is given.
    """
    has = histories.select(USER_ID, BUCKET, F.col(HISTORY_HASH).alias("_wanted_hash"))
    both = has.join(_judged(recommendations, wanted), on=USER_ID, how="full")
    reason = (
        F.when(F.col(BUCKET).isNull(), "left")
        .when(F.col("_rows").isNull(), "new")
        .when(F.col("_rows") > 1, "doubled")
        .when(F.col("_model"), "other_model")
        .when(F.col("_rules"), "other_rules")
        .when(~F.col("_made_hash").eqNullSafe(F.col("_wanted_hash")), "changed")
        .when(F.col("_age"), "too_old")
    )
    if wanted.full_refresh:
        reason = reason.otherwise("asked")
    bucket = F.coalesce(BUCKET, "_old_bucket").alias(BUCKET)
    return both.select(USER_ID, bucket, reason.alias("reason")).where(F.col("reason").isNotNull())


def _judged(recommendations: DataFrame, wanted: DesiredState) -> DataFrame:
    """What is wrong with a row by itself, as booleans: the join then moves a few bytes a user, not three strings.

    A row per user, with the number of `_rows` that there are: the join has to move the rows by user all the same. What
    is null, as in a row that somebody else has added, is as good as wrong.
    """
    same_model = F.col("model_name").eqNullSafe(wanted.model_name)
    other_model = ~(same_model & F.col("model_version").eqNullSafe(wanted.model_version))
    no_age = F.lit(wanted.max_age is not None)
    rows = recommendations.select(
        USER_ID,
        F.col(BUCKET).alias("_old_bucket"),
        F.col(HISTORY_HASH).alias("_made_hash"),
        other_model.alias("_model"),
        (~F.col("rules_hash").eqNullSafe(wanted.rules_hash)).alias("_rules"),
        F.coalesce(F.col(SCORED_AT) <= F.lit(wanted.too_old).cast("timestamp"), no_age).alias("_age"),
    )
    one = [F.max(name).alias(name) for name in ("_old_bucket", "_made_hash", "_model", "_rules", "_age")]
    return rows.groupBy(USER_ID).agg(F.count(F.lit(1)).alias("_rows"), *one)


def due_by_changes(histories: DataFrame, news: Changes, wanted: DesiredState) -> DataFrame:
    """The rows of `user_history` that are due, with a column `reason`, from what the logs prove.

    Where the model and the rules are the published ones these are the rows that changed since: no other file is read.
    """
    if news.since is None:
        fresh = new = F.lit(False)
    else:
        fresh, new = F.col(UPDATED_AT) >= F.lit(news.since), F.col(ADDED_AT) >= F.lit(news.since)
    state = news.state
    reason = F.when(new, "new")
    if (state.model, state.model_version) != (wanted.model_name, wanted.model_version):
        return histories.withColumn("reason", reason.otherwise("other_model"))
    if state.rules_hash != wanted.rules_hash:
        return histories.withColumn("reason", reason.otherwise("other_rules"))
    if wanted.full_refresh:
        return histories.withColumn("reason", reason.when(fresh, "changed").otherwise("asked"))
    return histories.where(fresh).withColumn("reason", reason.otherwise("changed"))


def all_new(histories: DataFrame) -> DataFrame:
    """As `due_by_changes` where nothing is published yet."""
    return histories.withColumn("reason", F.lit("new"))


def choose_buckets(
    due: Iterable[int], last_scored: Mapping[int, datetime], *, buckets: int, fraction: float
) -> list[int]:
    """The buckets of a run: of those with somebody due, the `fraction` of all buckets that have waited longest.

    `last_scored` is the newest `scored_at` of a bucket; a bucket without one has waited for ever. Sorted by number.
    """
    return sorted(longest_waiting(due, last_scored)[: math.ceil(fraction * buckets)])


def longest_waiting(due: Iterable[int], last_scored: Mapping[int, datetime]) -> list[int]:
    """The buckets with somebody due, in the order in which they are to be scored."""
    return sorted(set(due), key=lambda b: (last_scored[b].timestamp() if b in last_scored else -math.inf, b))


def cut_slices(to_score: Mapping[int, int], *, slice_users: int) -> tuple[Slice, ...]:
    """Group buckets, in order, into slices of at most `slice_users` users (a bucket is never split).

    >>> [s.buckets for s in cut_slices({0: 5, 1: 4, 3: 9}, slice_users=10)]
    [(0, 1), (3,)]
    """
    groups: list[list[int]] = []
    filled = 0
    for bucket in sorted(b for b, users in to_score.items() if users):
        users = to_score[bucket]
        if not groups or filled + users > slice_users:
            groups.append([])
            filled = 0
        groups[-1].append(bucket)
        filled += users
    return tuple(Slice(i, tuple(group), sum(to_score[b] for b in group)) for i, group in enumerate(groups))


def make_plan(
    counts: Mapping[int, Mapping[str, int]],
    chosen: Sequence[int],
    *,
    users: int,
    buckets: int,
    slice_users: int,
    selected: bool = False,
) -> Plan:
    """Put counts by bucket and reason, and the chosen buckets, together; `selected`: the counts are of some users."""
    kept = {b: counts[b] for b in chosen if b in counts}
    to_score = {b: sum(n for reason, n in by.items() if reason != "left") for b, by in kept.items()}
    slices = cut_slices(to_score, slice_users=slice_users)
    complete = kept.keys() == counts.keys() and not selected
    waiting = sum(n for b, by in counts.items() if b not in kept for n in by.values())
    return Plan(kept, slices, users=users, buckets=buckets, complete=complete, selected=selected, waiting=waiting)
