"""Train a model on `user_history`, register it, and move the alias that runs look at."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from scoreline.config.model import TrainSettings
from scoreline.config.settings import Settings
from scoreline.context import Context, logged, step
from scoreline.engine.failures import explained
from scoreline.engine.frames import collected
from scoreline.engine.memory import bytes_of_memory
from scoreline.errors import ConfigurationError, InputError
from scoreline.registry.promotion import Promotion, champion, promote
from scoreline.registry.versions import require_reachable
from scoreline.report import Report
from scoreline.runs.keeping import kept
from scoreline.sources.rules import ScoringRules, read_rules
from scoreline.tables.names import SINCE_FIRST, USER_ID
from scoreline.training.fit import Asked, TrainedVersion, train
from scoreline.typed import typed

_TRAINED = 20  # bytes of memory on the driver for a byte of user_history: docs/engines.md
_ALIAS = re.compile(r"^models:/([^/@]+)@([^/@]+)$")


@dataclass(frozen=True)
class TrainReport(Report):
    """A trained version and what became of the alias: moved, left alone (both None), or why not (`refused`)."""

    training: TrainedVersion
    promotion: Promotion | None
    refused: str | None = None

    def __str__(self) -> str:
        training = self.training
        named = {"model": training.metrics, "popularity": training.baseline}
        if training.champion:
            named[f"version {training.champion.version}"] = training.champion.metrics
        lines = [
            f"{training.name} version {training.version} ({training.estimator}), trained on {training.users:,} users "
            f"and {training.items:,} items",
            f"  tested on {training.test_users:,} users, {training.split}",
        ]
        if training.metrics:
            lines.append("  " + f"{'':<24}" + "".join(f"{name:>14}" for name in named))
            lines += [
                f"  {name:<24}" + "".join(f"{figures[name]:>14.4f}" for figures in named.values())
                for name in training.metrics
            ]
        if found := training.champion:
            lines.append(
                f"  {found.metric} {found.difference:+.4f} ± {found.error:.4f} (standard error) against version "
                f"{found.version} made of the same events"
            )
        if training.recency:
            tried = ", ".join(f"{value}: {figure:.4f}" for value, figure in training.recency.items())
            lines.append(f"  history_half_life {tried}; taken: {_shown(training.params['history_half_life'])}")
        lines += [f"  note: {note}" for note in training.notes]
        return "\n".join(lines + ([str(self.promotion)] if self.promotion else []))


@logged("train")
@step
def train_model(context: Context, *, promote: bool = True, force: bool = False) -> TrainReport:
    """Train, evaluate and register a version, then make it the champion unless it is worse than the present one.

    Raises InputError if there is no history. A version that is not promoted stays registered.
    """
    settings = context.settings
    name, alias = _registered(settings)
    wanted = settings.model.train
    require_reachable(settings.tracking_uri, settings.mlflow.registry_uri)
    rules = read_rules(lambda: context.spark, settings.scoring, settings.keys.item_id)
    uris: dict[str, Any] = {"tracking_uri": settings.tracking_uri, "registry_uri": settings.mlflow.registry_uri}
    found = histories(context)
    version = context.tables.table("user_history").version()
    context.record.read("user_history", version)
    context.record.lap("read")
    training = train(
        found,
        estimator=wanted.estimator,
        params=dict(wanted.params),
        asked=_asked(wanted, rules),
        name=name,
        experiment=settings.experiment,
        data_version=f"user_history version {version}",
        champion=champion(name, alias, **uris),
        **uris,
    )
    record = context.record
    record.model, record.users = f"{training.name} version {training.version}", training.users
    record.say(**training.metrics, estimator=training.estimator, items=training.items, test_users=training.test_users)
    record.say(mlflow_run=training.run_id, offline=training.figures())  # what a report says of the version
    if not promote:
        return TrainReport(training, None)
    try:
        promotion = _promoted(settings, version=training.version, force=force)
    except InputError as error:
        record.state = "refused"
        record.say(error=str(error))
        return TrainReport(training, None, refused=str(error))
    record.say(promoted=promotion.version, previous=promotion.previous)
    return TrainReport(training, promotion)


def _asked(wanted: TrainSettings, rules: ScoringRules) -> Asked:
    return Asked(
        split_by=wanted.split.by,
        holdout=wanted.split.holdout,
        seed=wanted.split.seed,
        metric=wanted.metric,
        min_test_users=wanted.min_test_users,
        exclude_seen=rules.exclude_seen,
        allowed=rules.allowed,
        blocked=rules.blocked,
    )


def histories(context: Context) -> pa.Table:
    """The arrays of `user_history` with `user_id`, of all users or of a sample by bucket, on the driver.

    Raises ConfigurationError, before they are read, where training on them would take more memory than there is.
    """
    table = context.tables.existing("user_history", made_by=typed("ingest --events FILE"))
    rows = table.read()
    most = context.settings.model.train.max_users
    # whole buckets: the same users each time, whatever else is in the table
    share = 1.0 if most is None else min(1.0, most / max(1, rows.count()))
    _require_memory(rows, share, stored=int(table.detail()["sizeInBytes"]))
    if most is not None:
        rows = rows.where(F.col("bucket") < max(1, int(share * context.settings.histories.buckets)))
    with explained("user_history could not be read"):
        # a table that an earlier version made, and no ingest has touched since, knows no first times
        first = [SINCE_FIRST] if SINCE_FIRST in rows.columns else []
        found = collected(rows.select(USER_ID, "item_ids", "weights", "event_times", *first))
    if found.num_rows == 0:
        raise InputError(f"{table.location} has no user in it yet. Ingest first: {typed('ingest --events FILE')}")
    return found


def _require_memory(rows: DataFrame, share: float, *, stored: int) -> None:
    needed, memory = stored * share * _TRAINED, bytes_of_memory()
    if needed > memory:
        users = int(rows.count() * share)
        raise ConfigurationError(
            f"Training on {users:,} users would take some {needed / 2**30:,.1f} GiB of memory on the driver, and there "
            f"are {memory / 2**30:,.1f}: set model.train.max_users to at most {int(users * memory / needed):,}."
        )


def promote_model(settings: Settings, *, version: str | None, force: bool) -> Promotion:
    """Move the configured alias to a version (default: the newest); `registry.promote` says when that is refused."""
    with kept(settings, "promote", now=datetime.now(UTC)) as record:
        try:
            promotion = _promoted(settings, version=version, force=force)
        except InputError:
            record.state = "refused"
            raise
        record.model = f"{promotion.name} version {promotion.version}"
        record.say(previous=promotion.previous)
        return promotion


def _promoted(settings: Settings, *, version: str | None, force: bool) -> Promotion:
    name, alias = _registered(settings)
    wanted = settings.model.train
    return promote(
        name,
        version,
        alias,
        metric=wanted.metric,
        margin=wanted.promote_margin,
        min_test_users=wanted.min_test_users,
        force=force,
        tracking_uri=settings.tracking_uri,
        registry_uri=settings.mlflow.registry_uri,
        folder=settings.model_folder,
    )


def _registered(settings: Settings) -> tuple[str, Any]:
    match = _ALIAS.match(settings.model.uri)
    if match is None:
        raise ConfigurationError(
            f"model.uri is {settings.model.uri}; training and promoting need an alias to move, such as "
            "models:/movies@champion."
        )
    return match[1], match[2]


def _shown(value: object) -> str:
    return "null" if value is None else str(value)
