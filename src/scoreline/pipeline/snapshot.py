"""Open a run: pin the input, the model, the rules and the target to one version each, and find who is due."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from scoreline import __version__
from scoreline.context import Context
from scoreline.engine.frames import count
from scoreline.errors import InputError
from scoreline.pipeline.changes import Changes, read_changes
from scoreline.pipeline.fence import newest_commits, next_sequence
from scoreline.pipeline.inputs import Inputs, hashed, open_inputs, require_unique
from scoreline.pipeline.pinned_model import PreparedModel, pin_model
from scoreline.pipeline.plan import DesiredState, Plan, all_new, choose_buckets, due_by_changes, due_users, make_plan
from scoreline.sources.rules import ScoringRules, read_rules
from scoreline.tables import schema
from scoreline.tables.delta import Table
from scoreline.tables.history import Commit, published_commit
from scoreline.tables.schema import BUCKET, HISTORY_HASH, SCORED_AT, USER_ID

_UNIQUE_SHARE = 0.9  # an estimate of different keys below that share of the rows: then it is looked at exactly


@dataclass(frozen=True)
class RunSnapshot:
    """Everything a run depends on, pinned before anything is decided.

    target_version: 0 for a table that was just made, or that is still to be made. news: None where the keys of both
    tables have to be compared; verify: they are compared all the same.
    """

    inputs: Inputs
    target: Table
    target_version: int
    sequence: int
    news: Changes | None
    pinned: PreparedModel
    rules: ScoringRules
    wanted: DesiredState
    fraction: float
    verify: bool = False

    @property
    def model(self) -> str:
        return f"{self.wanted.model_name} version {self.wanted.model_version}"

    def published(self) -> DataFrame:
        """The table as it was when the run began."""
        return self.target.read(self.target_version)

    def as_of(self, moment: datetime) -> "RunSnapshot":
        """The same seen from another moment: a run that is taken up again keeps the clock it began with."""
        return replace(self, wanted=replace(self.wanted, now=moment))

    def dependencies(self, context: Context) -> dict[str, Any]:
        """What the staged rows depend on; another attempt with the same goes on where this one stopped."""
        age = self.wanted.max_age
        return {
            "scoreline": __version__,
            "target": [self.target.location, self.target_version],
            "inputs": [self.inputs.name, self.inputs.version, self.inputs.files],
            "model": [self.pinned.model.name, self.pinned.model.version, self.pinned.model.source_uri],
            "rules": self.rules.hash,
            "selection": [self.fraction, self.wanted.full_refresh, age.total_seconds() if age else None],
            "slices": [context.settings.scoring.slice_users, context.settings.histories.buckets],
        }


@dataclass(frozen=True)
class Verification:
    """What the comparison of all keys says of the shorter way: due users that the logs would have missed.

    `examples`: a few of them, in the order of their ids.
    """

    missed: int
    examples: tuple[Any, ...] = ()


@dataclass(frozen=True)
class Due:
    """Who is due. `keys`: `user_id, bucket, reason`; `rows`: the input's rows, None where two tables were compared.

    `everyone`: nobody is up to date. `verification`: None where the logs were not asked, or alone.
    """

    keys: DataFrame
    rows: DataFrame | None = None
    everyone: bool = False
    verification: Verification | None = None

    @property
    def compared(self) -> bool:
        """Whether nobody can be due who was not found: the keys were compared, or there was nothing to compare."""
        return self.rows is None or self.everyone

    @classmethod
    def among(cls, rows: DataFrame, *, everyone: bool = False) -> "Due":
        """Rows of the input with their `reason`."""
        return cls(rows.select(USER_ID, BUCKET, "reason"), rows, everyone)

    def to_score(self, everyone: DataFrame, inside: Column) -> DataFrame:
        """The input's rows (`everyone`: all of them) of due users in some buckets; compared keys are broadcast."""
        if self.rows is not None:
            return self.rows.where(inside)
        keys = self.keys.where(inside & (F.col("reason") != "left")).select(USER_ID)
        return everyone.where(inside).join(F.broadcast(keys), on=USER_ID, how="left_semi")

    def release(self) -> None:
        """Let go of what was kept for this run."""
        self.keys.unpersist()


def open_run(
    context: Context, *, fraction: float, full_refresh: bool, verify: bool = False, create: bool = True
) -> RunSnapshot:
    """Pin everything and check that it fits together; no row has been read when this raises.

    `create` makes the table if there is none yet. `verify` compares all keys even where the logs say who is due.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"--fraction is above 0 and at most 1, found {fraction:g}.")
    inputs = open_inputs(context)
    rules = read_rules(context)
    pinned = pin_model(context, inputs, rules)
    inputs = hashed(inputs, pinned.task.inputs)
    target = context.tables.table(pinned.target_name)
    commits: list[Commit] = []
    if create or target.exists():
        target.create(schema.recommendations(context.keys, pinned.output_fields))
        commits = newest_commits(target)
    if _behind(inputs, commits):
        # a run that has published since we looked had newer input: with ours we would take its rows back
        inputs = hashed(open_inputs(context), pinned.task.inputs)
    wanted = DesiredState(
        model_name=pinned.model.name,
        model_version=pinned.model.version,
        rules_hash=rules.hash,
        max_age=context.settings.scoring.max_age,
        now=context.now,
        full_refresh=full_refresh,
    )
    news = read_changes(commits, inputs.commits, input_name=inputs.name, too_old=wanted.too_old)
    return RunSnapshot(
        inputs=inputs,
        target=target,
        target_version=commits[0].version if commits else 0,
        # what was published by now is what we read: who opens after that is newer, and overtakes us
        sequence=next_sequence(commits),
        news=news,
        pinned=pinned,
        rules=rules,
        wanted=wanted,
        fraction=fraction,
        verify=verify or (news is not None and news.unverified_for(context.settings.audit.verify_every, context.now)),
    )


def _behind(inputs: Inputs, commits: Sequence[Commit]) -> bool:
    """Whether what is published was made from a newer version of the input."""
    published = published_commit(commits)
    if published is None or inputs.version is None or published.note.get("input") != inputs.name:
        return False
    version = published.note.get("input_version")
    return isinstance(version, int) and version > inputs.version


def find_due(opened: RunSnapshot) -> Due:
    """Each due user, of both tables as they were pinned."""
    rows = opened.inputs.rows
    if opened.target_version == 0:
        return Due.among(all_new(rows), everyone=True)  # created just now: nothing to compare with
    if opened.news is not None and not opened.verify:
        return Due.among(due_by_changes(rows, opened.news, opened.wanted))
    keys = due_users(rows.select(USER_ID, BUCKET, HISTORY_HASH), opened.published(), opened.wanted)
    keys = keys.persist(StorageLevel.MEMORY_AND_DISK)  # compared once, used by the plan and each slice
    if opened.news is None:
        return Due(keys)
    return Due(keys, verification=_verified(keys, due_by_changes(rows, opened.news, opened.wanted)))


def _verified(keys: DataFrame, by_logs: DataFrame) -> Verification:
    missed = keys.join(by_logs.select(USER_ID), on=USER_ID, how="left_anti")
    examples = [row[0] for row in missed.select(USER_ID).orderBy(USER_ID).limit(3).collect()]
    return Verification(count(missed) if examples else 0, tuple(examples))


def count_due(context: Context, opened: RunSnapshot, due: Due) -> Plan:
    """Count the due users, choose the buckets of this run and cut them into slices.

    A key that is in many rows, as half of a key of two columns is, shows by the way; a few such rows show in the audit.
    """
    counts: dict[int, dict[str, int]] = {}
    figures = [F.count(F.lit(1)).alias("users")]
    if of_yours := context.settings.input is not None:
        figures.append(F.approx_count_distinct(USER_ID).alias("different"))
    found = due.keys.groupBy(BUCKET, "reason").agg(*figures).collect()
    for row in found:
        counts.setdefault(row[BUCKET], {})[row["reason"]] = row["users"]
    if of_yours and sum(row["different"] for row in found) < _UNIQUE_SHARE * sum(row["users"] for row in found):
        require_unique(opened.inputs.rows, opened.inputs.name)
    due_now = sum(users for reasons in counts.values() for users in reasons.values())
    shape = context.settings
    last = _last_scored(opened) if opened.fraction < 1 and opened.target_version else {}
    chosen = choose_buckets(counts, last, buckets=shape.histories.buckets, fraction=opened.fraction)
    return make_plan(
        counts,
        chosen,
        users=due_now if due.everyone else count(opened.inputs.rows),
        buckets=shape.histories.buckets,
        slice_users=shape.scoring.slice_users,
    )


def _last_scored(opened: RunSnapshot) -> dict[int, datetime]:
    newest = opened.published().groupBy(BUCKET).agg(F.max(SCORED_AT).alias("at"))
    return {row[BUCKET]: row["at"] for row in newest.collect()}
