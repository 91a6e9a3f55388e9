"""Find who is due, in both tables as they were pinned: by what the logs say has changed, or by comparing all keys."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from scoreline.config.settings import Settings
from scoreline.engine.engine import engine_of
from scoreline.engine.frames import count
from scoreline.pipeline.budget import within_budget
from scoreline.pipeline.estimate import Costs
from scoreline.pipeline.inputs import require_unique
from scoreline.pipeline.plan import (
    Asked,
    Plan,
    all_new,
    choose_buckets,
    due_by_changes,
    due_users,
    longest_waiting,
    make_plan,
)
from scoreline.pipeline.selection import Selection, buckets_of, only
from scoreline.pipeline.snapshot import RunSnapshot
from scoreline.tables.names import BUCKET, HISTORY_HASH, SCORED_AT, USER_ID

_UNIQUE_SHARE = 0.9  # an estimate of different keys below that share of the rows: then it is looked at exactly


@dataclass(frozen=True)
class Verification:
    """What the comparison of all keys says of the shorter way: due users that the logs would have missed.

    `examples`: a few of them, in the order of their ids.
    """

    missed: int
    examples: tuple[object, ...] = ()


@dataclass(frozen=True)
class Due:
    """Who is due. `keys`: `user_id, bucket, reason`; `rows`: the input's rows of those to score, in some buckets.

    `everyone`: nobody is up to date. `compared`: nobody can be due who was not found, since the keys were compared, or
    there was nothing to compare with. `verification`: None where the logs were not asked, or alone. `asked`: what
    became of the ids where the run is for some users only.
    """

    keys: DataFrame
    rows: Callable[[Column], DataFrame]
    compared: bool
    everyone: bool = False
    verification: Verification | None = None
    asked: Asked | None = None


@contextmanager
def find_due(snapshot: RunSnapshot) -> Iterator[Due]:
    """Each due user; what is kept in memory for it is let go of afterwards."""
    rows = snapshot.inputs.rows
    if snapshot.selection is not None:
        with _find_selected(snapshot, snapshot.selection) as due:
            yield due
        return
    if snapshot.target_version == 0:  # created just now
        yield replace(_due_rows(all_new(rows)), compared=True, everyone=True)
        return
    by_logs = None if snapshot.news is None else due_by_changes(rows, snapshot.news, snapshot.wanted)
    if by_logs is not None and not snapshot.verify:
        yield _due_rows(by_logs)
        return
    keys = due_users(rows.select(USER_ID, BUCKET, HISTORY_HASH), snapshot.published(), snapshot.wanted)
    with engine_of(keys.sparkSession).kept(keys) as kept:  # compared once, used by the plan and each slice
        yield replace(_due_keys(kept, rows), verification=None if by_logs is None else _verified(kept, by_logs))


@contextmanager
def _find_selected(snapshot: RunSnapshot, selection: Selection) -> Iterator[Due]:
    """Of some users those who are due. Their keys are compared, in their buckets: the logs need prove nothing for that.

    Of everybody else nothing is known then, so it does not count as a comparison of all keys.
    """
    rows, wanted = snapshot.inputs.rows, snapshot.wanted
    users = selection.users(rows.sparkSession, rows.schema[USER_ID].dataType)
    buckets = buckets_of(users, snapshot.buckets)
    keys = only(rows, users, buckets).select(USER_ID, BUCKET, HISTORY_HASH)
    if snapshot.target_version == 0:
        known = all_new(keys).drop(HISTORY_HASH)
    else:  # with those who are up to date: an id is unknown if neither table has it
        known = due_users(keys, only(snapshot.published(), users, buckets), replace(wanted, full_refresh=True))
    with engine_of(known.sparkSession).kept(known) as kept:
        due = kept if wanted.full_refresh else kept.where(F.col("reason") != "asked")
        yield replace(_due_keys(due, rows), compared=False, asked=selection.asked(kept))


def _due_rows(rows: DataFrame) -> Due:
    """From rows of the input with their `reason`."""
    return Due(rows.select(USER_ID, BUCKET, "reason"), rows.where, compared=False)


def _due_keys(keys: DataFrame, rows: DataFrame) -> Due:
    """From keys, which are broadcast to the input's `rows`."""

    def to_score(inside: Column) -> DataFrame:
        users = keys.where(inside & (F.col("reason") != "left")).select(USER_ID)
        return rows.where(inside).join(F.broadcast(users), on=USER_ID, how="left_semi")

    return Due(keys, to_score, compared=True)


def _verified(keys: DataFrame, by_logs: DataFrame) -> Verification:
    missed = keys.join(by_logs.select(USER_ID), on=USER_ID, how="left_anti")
    examples = [row[0] for row in missed.select(USER_ID).orderBy(USER_ID).limit(3).collect()]
    return Verification(count(missed) if examples else 0, tuple(examples))


def count_due(snapshot: RunSnapshot, due: Due, settings: Settings, *, costs: Costs | None = None) -> Plan:
    """Count the due users, choose the buckets of this run and cut them into slices.

    `costs`: what past runs tell of a run with a budget.

    A key that is in many rows, as half of a key of two columns is, shows by the way; a few such rows show in the audit.
    """
    counts: dict[int, dict[str, int]] = {}
    figures = [F.count(F.lit(1)).alias("users")]
    if of_yours := settings.input is not None:
        figures.append(F.approx_count_distinct(USER_ID).alias("different"))
    found = due.keys.groupBy(BUCKET, "reason").agg(*figures).collect()
    for row in found:
        counts.setdefault(row[BUCKET], {})[row["reason"]] = row["users"]
    if of_yours and sum(row["different"] for row in found) < _UNIQUE_SHARE * sum(row["users"] for row in found):
        require_unique(snapshot.inputs.rows, snapshot.inputs.name)
    due_now = sum(users for reasons in counts.values() for users in reasons.values())
    last = _last_scored(snapshot) if snapshot.in_part and snapshot.target_version else {}
    buckets = settings.histories.buckets
    if snapshot.budget is None:
        chosen = choose_buckets(counts, last, buckets=buckets, fraction=snapshot.fraction)
    else:
        seconds = costs.seconds if costs else None
        chosen = within_budget(longest_waiting(counts, last), counts, seconds, snapshot.budget)
    return make_plan(
        counts,
        chosen,
        users=due_now if due.everyone else count(snapshot.inputs.rows),
        buckets=buckets,
        slice_users=settings.scoring.slice_users,
        selected=snapshot.selection is not None,
    )


def _last_scored(snapshot: RunSnapshot) -> dict[int, datetime]:
    newest = snapshot.published().groupBy(BUCKET).agg(F.max(SCORED_AT).alias("at"))
    return {row[BUCKET]: row["at"] for row in newest.collect()}
