"""Open a run: pin the input, the model, the rules and the target to one version each, and find who is due."""

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from scoreline import __version__, schema
from scoreline.context import Context
from scoreline.errors import InputError
from scoreline.inputs import Inputs, hashed, open_inputs, require_unique
from scoreline.pinning import Pinned, pin_model
from scoreline.plan import Plan, Wanted, all_new, choose_buckets, due_users, make_plan
from scoreline.publish import next_sequence
from scoreline.rules import Rules, read_rules
from scoreline.schema import BUCKET, HISTORY_HASH, USER_ID
from scoreline.tables import Table, count


@dataclass(frozen=True)
class Opened:
    """Everything a run depends on, pinned before anything is decided."""

    inputs: Inputs
    target: Table
    target_version: int
    sequence: int
    pinned: Pinned
    rules: Rules
    wanted: Wanted
    fraction: float

    @property
    def model(self) -> str:
        return f"{self.wanted.model_name} version {self.wanted.model_version}"

    def published(self) -> DataFrame:
        """The table as it was when the run began."""
        return self.target.read(self.target_version)

    def as_of(self, moment: datetime) -> "Opened":
        """The same seen from another moment: a run that is taken up again keeps the clock it began with."""
        return replace(self, wanted=replace(self.wanted, now=moment))

    def dependencies(self, context: Context) -> dict[str, Any]:
        """What the staged rows depend on; another attempt with the same goes on where this one stopped."""
        age = self.wanted.max_age
        return {
            "scoreline": __version__,
            "target": [self.target.location, self.target_version],
            "inputs": [self.inputs.name, self.inputs.version],
            "model": [self.pinned.model.name, self.pinned.model.version, self.pinned.model.source_uri],
            "rules": self.rules.hash,
            "selection": [self.fraction, self.wanted.everyone, age.total_seconds() if age else None],
            "slices": [context.settings.scoring.slice_users, context.settings.histories.buckets],
        }


def open_run(context: Context, *, fraction: float, everyone: bool) -> Opened:
    """Pin everything and check that it fits together; no row has been read when this raises."""
    if not 0 < fraction <= 1:
        raise InputError(f"--fraction is above 0 and at most 1, found {fraction:g}.")
    inputs = open_inputs(context)
    rules = read_rules(context)
    pinned = pin_model(context, inputs, rules)
    inputs = hashed(inputs, pinned.task.inputs)
    target = context.tables.table(pinned.target_name)
    target.create(schema.recommendations(context.keys, pinned.output_fields))
    wanted = Wanted(
        model_name=pinned.model.name,
        model_version=pinned.model.version,
        rules_hash=rules.hash,
        max_age=context.settings.scoring.max_age,
        now=context.now,
        everyone=everyone,
    )
    # the fence's number is drawn before the version is looked at: who publishes after that is newer than what we read
    sequence = next_sequence(target, context.now)
    return Opened(inputs, target, target.version(), sequence, pinned, rules, wanted, fraction)


def find_due(opened: Opened) -> DataFrame:
    """`user_id, bucket, reason` of each due user, of both tables as they were pinned."""
    keys = opened.inputs.rows.select(USER_ID, BUCKET, HISTORY_HASH)
    if opened.target_version == 0:
        # created just now: nothing to compare with
        return all_new(keys)
    return due_users(keys, opened.published(), opened.wanted)


def count_due(context: Context, opened: Opened, due: DataFrame) -> Plan:
    """Count the due users, choose the buckets of this run and cut them into slices."""
    if context.settings.input is not None:
        require_unique(opened.inputs)
    counts: dict[int, dict[str, int]] = {}
    for row in due.groupBy(BUCKET, "reason").agg(F.count(F.lit(1)).alias("users")).collect():
        counts.setdefault(row[BUCKET], {})[row["reason"]] = row["users"]
    shape = context.settings
    last = _last_scored(opened) if opened.fraction < 1 else {}
    chosen = choose_buckets(counts, last, buckets=shape.histories.buckets, fraction=opened.fraction)
    return make_plan(
        counts,
        chosen,
        users=count(opened.inputs.rows),
        buckets=shape.histories.buckets,
        slice_users=shape.scoring.slice_users,
    )


def _last_scored(opened: Opened) -> dict[int, datetime]:
    newest = opened.published().groupBy(BUCKET).agg(F.max("scored_at").alias("at"))
    return {row[BUCKET]: row["at"] for row in newest.collect()}
