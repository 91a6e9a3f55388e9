"""Open a run: pin the input, the model, the rules and the target to one version each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from pyspark.sql import DataFrame

from scoreline import __version__
from scoreline.config.settings import Settings
from scoreline.context import Context
from scoreline.errors import InputError
from scoreline.pipeline.changes import Changes, read_changes
from scoreline.pipeline.fence import newest_commits, next_sequence
from scoreline.pipeline.inputs import Inputs, hashed, open_inputs
from scoreline.pipeline.pinned_model import PreparedModel, pin_model
from scoreline.pipeline.plan import DesiredState
from scoreline.pipeline.published import is_of
from scoreline.pipeline.selection import Selection
from scoreline.sources.rules import ScoringRules, read_rules
from scoreline.tables import schema
from scoreline.tables.delta import Table
from scoreline.tables.history import Commit, published_commit
from scoreline.tables.names import PUBLISHED


@dataclass(frozen=True)
class RunSnapshot:
    """Everything a run depends on, pinned before anything is decided.

    target_version: 0 for a table that was just made, or that is still to be made. news: None where the keys of both
    tables have to be compared; verify: they are compared all the same. selection: the users that it is for, None for
    everybody. buckets: of the tables. budget: what the run may take, None for as long as it takes.
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
    buckets: int
    verify: bool = False
    selection: Selection | None = None
    budget: timedelta | None = None

    @property
    def model(self) -> str:
        return f"{self.wanted.model_name} version {self.wanted.model_version}"

    @property
    def in_part(self) -> bool:
        """Whether it may leave due users to later runs."""
        return self.fraction < 1 or self.budget is not None

    def published(self) -> DataFrame:
        """The table as it was when the run began."""
        return self.target.read(self.target_version)

    def as_of(self, moment: datetime) -> "RunSnapshot":
        """The same seen from another moment: a run that is taken up again keeps the clock it began with."""
        return replace(self, wanted=replace(self.wanted, now=moment))

    def dependencies(self, settings: Settings) -> dict[str, object]:
        """What the staged rows depend on; another attempt with the same goes on where this one stopped."""
        age, some = self.wanted.max_age, self.selection.fingerprint if self.selection else None
        part = self.fraction if self.budget is None else f"{self.budget.total_seconds():g} s"
        return {
            "scoreline": __version__,
            "target": [self.target.location, self.target_version],
            "inputs": [self.inputs.name, self.inputs.version, self.inputs.stamp],
            "model": [self.pinned.model.name, self.pinned.model.version, self.pinned.model.source_uri],
            "rules": self.rules.hash,
            "selection": [part, self.wanted.full_refresh, age.total_seconds() if age else None, some],
            "slices": [settings.scoring.slice_users, settings.histories.buckets],
        }


def _require_same_kind(context: Context, pinned: PreparedModel) -> None:
    """Raise InputError for a model of another kind than those before: who reads their table would not hear of it."""
    settings, target = context.settings, pinned.target_name
    others = [table for name in PUBLISHED if name != target and (table := context.tables.table(name)).exists()]
    for other in others:
        newest = published_commit(other.commits())
        if newest is None or not is_of(newest, settings.name):
            continue
        model = f"{pinned.model.name} version {pinned.model.version}"
        raise InputError(
            f"{model} makes {target}, by the outputs of its signature, and {settings.name} has published {other.name}, "
            f"which would be left as they are. Log a model that makes {other.name}, or give its pipeline another name."
        )


def open_run(
    context: Context,
    *,
    fraction: float,
    full_refresh: bool,
    budget: timedelta | None = None,
    users: Iterable[object] | None = None,
    verify: bool = False,
    create: bool = True,
) -> RunSnapshot:
    """Pin everything and check that it fits together; no row has been read when this raises.

    `create` makes the table if there is none yet. `verify` compares all keys even where the logs say who is due.
    `users`: the ids of those that it is for, None for everybody.
    """
    if not 0 < fraction <= 1:
        raise InputError(f"--fraction is above 0 and at most 1, found {fraction:g}.")
    if budget is not None and budget <= timedelta(0):
        raise InputError(f"--budget is a time above 0 such as 20m, found {budget.total_seconds():g} s.")
    if budget is not None and fraction < 1:
        raise InputError("--budget and --fraction both say how much a run takes. Give one of the two.")
    if users is not None and (verify or fraction < 1 or budget is not None):
        about = "--verify is about" if verify else f"--{'fraction' if fraction < 1 else 'budget'} takes a part of"
        raise InputError(f"{about} all users, and --users names some. Give one of the two.")
    settings, keys = context.settings, context.keys
    selection = None if users is None else Selection.of(users, keys)
    inputs = open_inputs(context.tables, settings, keys)
    rules = read_rules(lambda: context.spark, settings.scoring, settings.keys.item_id)
    pinned = pin_model(context.spark, settings, keys, inputs, rules)
    inputs = hashed(inputs, pinned.task.inputs)
    _require_same_kind(context, pinned)
    target = context.tables.table(pinned.target_name)
    commits: list[Commit] = []
    if create or target.exists():
        target.create(schema.recommendations(keys, pinned.output_fields))
        commits = newest_commits(target)
    if _behind(inputs, commits):
        # a run that has published since we looked had newer input: with ours we would take its rows back
        inputs = hashed(open_inputs(context.tables, settings, keys), pinned.task.inputs)
    wanted = DesiredState(
        model_name=pinned.model.name,
        model_version=pinned.model.version,
        rules_hash=rules.hash,
        max_age=settings.scoring.max_age,
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
        buckets=settings.histories.buckets,
        selection=selection,
        budget=budget,
        verify=verify or (news is not None and news.unverified_for(settings.audit.verify_every, context.now)),
    )


def _behind(inputs: Inputs, commits: Sequence[Commit]) -> bool:
    """Whether what is published was made from a newer version of the input."""
    published = published_commit(commits)
    note = published.published if published else None
    if note is None or inputs.version is None or note.input != inputs.name:
        return False
    return note.input_version is not None and note.input_version > inputs.version
