"""Train: split, compare, fit the better on everything, log, register. For the driver only."""

import json
import time
from dataclasses import dataclass, field, replace
from typing import Any

import pyarrow as pa

from scoreline.errors import InputError
from scoreline.models.artifacts import FittedModel
from scoreline.models.mlflow_model import log_recommender
from scoreline.models.popularity import Popularity
from scoreline.models.scoring import RecommendParams
from scoreline.registry.client import experiment_id, pointing_at, quiet_mlflow
from scoreline.registry.promotion import Champion
from scoreline.registry.store import TAG
from scoreline.training.evaluation import Evaluation, Metric, difference
from scoreline.training.experiment import RECENCY, Recipe, Split, candidates, evaluated, make_estimator
from scoreline.training.interactions import Interactions, SplitBy

__all__ = ["Asked", "Compared", "TrainedVersion", "train"]

_POPULARITY = Recipe("popularity", {})


@dataclass(frozen=True)
class Asked:
    """How versions are compared: the split, what production may recommend, and how many users a figure needs.

    allowed, blocked: item ids, as in `scoring`; None for no such rule.
    """

    split_by: SplitBy = "time"
    holdout: float = 0.2
    seed: int = 0
    metric: Metric = "ndcg_at_10"
    min_test_users: int = 20
    exclude_seen: bool = True
    allowed: pa.Array | None = None
    blocked: pa.Array | None = None

    def split(self, events: Interactions) -> Split:
        """The events before and after the cut."""
        late = events.held_out(self.split_by, self.holdout, seed=self.seed)
        before, after = events.cut(late, self.split_by, again=not self.exclude_seen)
        rules = RecommendParams.of(
            1, exclude_seen=True, allowed=self.allowed, blocked=self.blocked, catalogue=events.catalogue
        )
        return Split(before, after, self.exclude_seen, rules.eligible)

    def __str__(self) -> str:
        whose = "all" if self.split_by == "time" else "each user’s"
        return f"the last {self.holdout:.0%} of {whose} events held out"


@dataclass(frozen=True)
class Compared:
    """The champion's recipe on the same events and users, and by how much the new version is better.

    difference, error: of `metric`; the mean over the same users and its standard error.
    """

    version: str
    metric: Metric
    metrics: dict[str, float]
    difference: float
    error: float


@dataclass(frozen=True)
class TrainedVersion:
    """A registered version and the figures of the same recipe on events it had not seen.

    metrics, baseline: by name (see `Evaluation`), of the model and of popularity on the same split; empty if
    no user has events on both sides of it. champion: None if there is none, or none that can be compared. recency:
    the metric by `history_half_life`, where that was chosen here. notes: what could not be measured, and why.
    """

    name: str
    version: str
    run_id: str
    estimator: str
    params: dict[str, Any]
    split: str
    users: int
    items: int
    events: int
    test_users: int
    metrics: dict[str, float]
    baseline: dict[str, float]
    fit_seconds: float
    champion: Compared | None = None
    recency: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def figures(self) -> dict[str, float]:
        """All figures by the names that MLflow has them by."""
        found = {
            **self.metrics,
            **{f"popularity_{key}": value for key, value in self.baseline.items()},
            **{f"{RECENCY}_{key}": value for key, value in self.recency.items()},
            "fit_seconds": self.fit_seconds,
            "test_users": self.test_users,
        }
        if self.champion:
            found |= {f"champion_{key}": value for key, value in self.champion.metrics.items()}
            found |= {"champion_difference": self.champion.difference, "champion_error": self.champion.error}
        return found


def train(
    histories: pa.Table,
    *,
    estimator: str,
    params: dict[str, Any],
    asked: Asked,
    name: str,
    tracking_uri: str,
    registry_uri: str | None = None,
    experiment: str,
    data_version: str = "",
    champion: Champion | None = None,
) -> TrainedVersion:
    """Train on `histories` (columns user_id, item_ids, weights, event_times) and register a version of `name`.

    The version is trained on everything; its figures, metrics of the run and tags of the version, come from the same
    recipe trained on all but the last `holdout` of the events. The `champion`'s recipe is trained and tested on the
    same: its model has seen the held-out events. Memory follows the events.
    """
    events = Interactions.from_histories(histories)
    tied = events.tied()
    tried = candidates(estimator, params, ordered=tied < 1)
    old, notes = _comparable(champion)
    scores = evaluated(asked.split(events), [*tried, _POPULARITY, *([old] if old else [])])
    best = _best(scores[: len(tried)], asked)
    found, baseline = scores[best], scores[len(tried)]
    wanted = tried[best]
    started = time.perf_counter()
    matrix = events.matrix()
    fitted = make_estimator(wanted.estimator, wanted.params).fit(matrix, events.ages())
    model = FittedModel(events.catalogue, fitted, Popularity().fit(matrix))
    report = TrainedVersion(
        name=name,
        version="",
        run_id="",
        estimator=estimator,
        params=wanted.params,
        split=str(asked),
        users=events.user_count,
        items=len(events.catalogue),
        events=len(events),
        test_users=found.users,
        metrics=found.figures() if found.users else {},
        baseline=baseline.figures() if baseline.users else {},
        fit_seconds=time.perf_counter() - started,
        champion=_compared(champion, found, scores[-1], asked.metric) if champion and old and found.users else None,
        recency=_recency(tried, scores, asked.metric),
        notes=(*_order_notes(tied), *_size_notes(found, asked), *notes),
    )
    with quiet_mlflow(), pointing_at(tracking_uri, registry_uri):
        return _logged(report, model, experiment_id(experiment, tracking_uri), data_version)


def _best(scores: list[Evaluation], asked: Asked) -> int:
    """The first of the best; the first of all where too few users are there to tell."""
    if scores[0].users < asked.min_test_users:
        return 0
    return max(range(len(scores)), key=lambda at: float(scores[at].per_user[asked.metric].mean()))


def _recency(tried: list[Recipe], scores: list[Evaluation], metric: Metric) -> dict[str, float]:
    if len(tried) == 1 or not scores[0].users:
        return {}
    values = ["null" if recipe.params[RECENCY] is None else str(recipe.params[RECENCY]) for recipe in tried]
    return {value: score.figures()[metric] for value, score in zip(values, scores, strict=False)}


def _comparable(champion: Champion | None) -> tuple[Recipe | None, tuple[str, ...]]:
    """The recipe of the version the alias points to, and why there is none."""
    if champion is None:
        return None, ()
    why = "was not made by scoreline train, or by one that kept no recipe"
    if champion.estimator is not None:
        recipe = Recipe(champion.estimator, dict(champion.params))
        try:
            make_estimator(recipe.estimator, recipe.params)
            return recipe, ()
        except InputError as error:
            why = f"cannot be made any more ({error})"
    return None, (
        f"version {champion.version}, the present one, {why}: there is nothing to compare on the same events",
    )


def _compared(champion: Champion, found: Evaluation, old: Evaluation, metric: Metric) -> Compared:
    apart = difference(found, old, metric)
    return Compared(champion.version, metric, old.figures(), apart.mean, apart.error)


def _order_notes(tied: float) -> tuple[str, ...]:
    if tied < 0.5:
        return ()
    share = "all" if tied == 1 else f"{tied:.0%} of the"
    recency = "; recency is switched off, unless history_half_life is set" if tied == 1 else ""
    return (
        f"{share} neighbours in the histories have the same time: these times say little about an order, and where "
        f"the cut goes through one moment, the split is at random{recency}",
    )


def _size_notes(found: Evaluation, asked: Asked) -> tuple[str, ...]:
    if not found.users:
        return (f"nothing could be measured: no user has events on both sides of the split ({asked})",)
    if found.users < asked.min_test_users:
        return (
            f"the figures rest on {found.users} users, fewer than model.train.min_test_users = "
            f"{asked.min_test_users}: nothing was chosen by them",
        )
    return ()


def _logged(report: TrainedVersion, model: FittedModel, experiment: str, data_version: str) -> TrainedVersion:
    """The report with run id and version of the model, now logged and registered with its figures."""
    import mlflow

    metrics = report.figures()
    with mlflow.start_run(experiment_id=experiment, run_name=f"train {report.estimator}") as run:
        mlflow.log_params({"estimator": report.estimator, **report.params, "split": report.split})
        mlflow.log_params({"data_version": data_version, "users": report.users, "items": report.items})
        mlflow.log_params({"events": report.events})
        mlflow.log_metrics(metrics)
        version = str(log_recommender(model, registered_name=report.name).registered_model_version)
    client = mlflow.MlflowClient()
    tags = {"estimator": report.estimator, "params": json.dumps(report.params, sort_keys=True)}
    tags |= {"data_version": data_version, "split": report.split}
    tags |= {"champion": report.champion.version} if report.champion else {}
    tags |= {key: f"{value:.6f}" for key, value in metrics.items()}
    for key, value in tags.items():
        client.set_model_version_tag(report.name, version, f"{TAG}{key}", value)
    return replace(report, version=version, run_id=run.info.run_id)
