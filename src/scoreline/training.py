"""Train: split, fit, evaluate against popularity, fit on everything, log, register. For the driver only."""

import time
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from scoreline.errors import InputError
from scoreline.evaluation import Evaluation, evaluate
from scoreline.interactions import Interactions, SplitBy
from scoreline.models.artifacts import ESTIMATORS, FittedModel
from scoreline.models.estimator import Estimator
from scoreline.models.mlflow_model import log_recommender
from scoreline.models.parameters import check
from scoreline.models.popularity import Popularity
from scoreline.quiet import experiment_id, pointing_at, quiet_mlflow
from scoreline.registry import TAG

__all__ = ["TrainingReport", "make_estimator", "measure", "train"]


@dataclass(frozen=True)
class TrainingReport:
    """A registered version and the figures of the same estimator on events it had not seen.

    metrics, baseline: by name (see `Evaluation`), of the model and of popularity on the same split; empty if
    no user has events on both sides of it.
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


def train(
    histories: pa.Table,
    *,
    estimator: str,
    params: dict[str, Any],
    split_by: SplitBy = "time",
    holdout: float = 0.2,
    name: str,
    tracking_uri: str,
    registry_uri: str | None = None,
    experiment: str,
    data_version: str = "",
) -> TrainingReport:
    """Train on `histories` (columns item_ids, weights, event_times) and register a version of `name`.

    The version is trained on everything; its figures, metrics of the run and tags of the version, come from
    the same estimator trained on all but the last `holdout` of the events. Memory follows the events.
    """
    wanted = make_estimator(estimator, params)
    events = Interactions.from_histories(histories)
    scores, baseline = measure(make_estimator(estimator, params), events, split_by, holdout)
    started = time.perf_counter()
    matrix = events.matrix()
    model = FittedModel(events.catalogue, wanted.fit(matrix, events.ages()), Popularity().fit(matrix))
    seconds = time.perf_counter() - started
    report = TrainingReport(
        name=name,
        version="",
        run_id="",
        estimator=estimator,
        params=wanted.get_params(),
        split=f"the last {holdout:.0%} of {'all' if split_by == 'time' else 'each user’s'} events held out",
        users=events.user_count,
        items=len(events.catalogue),
        events=len(events),
        test_users=scores.users,
        metrics=scores.figures() if scores.users else {},
        baseline=baseline.figures() if baseline.users else {},
        fit_seconds=seconds,
    )
    with quiet_mlflow(), pointing_at(tracking_uri, registry_uri):
        return _logged(report, model, experiment_id(experiment, tracking_uri), data_version)


def make_estimator(name: str, params: dict[str, Any]) -> Estimator:
    """An estimator that is not fitted yet. Raises `InputError` for a name or a parameter there is not."""
    trainable = [known for known, kind in ESTIMATORS.items() if kind.fit is not Estimator.fit]
    if name not in trainable:
        raise InputError(f"there is no estimator {name}: choose one of {', '.join(trainable)}")
    check(name, ESTIMATORS[name].parameters, params)
    return ESTIMATORS[name](**params)


def measure(
    estimator: Estimator, events: Interactions, split_by: SplitBy, holdout: float
) -> tuple[Evaluation, Evaluation]:
    """The figures of the estimator and of popularity on one split; fits both."""
    is_test = events.held_out(split_by, holdout)
    train_events, test_events = events.where(~is_test), events.where(is_test)
    matrix = train_events.matrix()
    models = (estimator.fit(matrix, train_events.ages()), Popularity().fit(matrix))
    return evaluate(models[0], train_events, test_events), evaluate(models[1], train_events, test_events)


def _logged(report: TrainingReport, model: FittedModel, experiment: str, data_version: str) -> TrainingReport:
    """The report with run id and version of the model, now logged and registered with its figures."""
    import mlflow

    metrics = {
        **report.metrics,
        **{f"popularity_{key}": value for key, value in report.baseline.items()},
        "fit_seconds": report.fit_seconds,
        "test_users": report.test_users,
    }
    with mlflow.start_run(experiment_id=experiment, run_name=f"train {report.estimator}") as run:
        mlflow.log_params({"estimator": report.estimator, **report.params, "split": report.split})
        mlflow.log_params({"data_version": data_version, "users": report.users, "items": report.items})
        mlflow.log_params({"events": report.events})
        mlflow.log_metrics(metrics)
        version = str(log_recommender(model, registered_name=report.name).registered_model_version)
    client = mlflow.MlflowClient()
    tags = {"estimator": report.estimator, "data_version": data_version, "split": report.split}
    tags |= {key: f"{value:.6f}" for key, value in metrics.items()}
    for key, value in tags.items():
        client.set_model_version_tag(report.name, version, f"{TAG}{key}", value)
    return replace(report, version=version, run_id=run.info.run_id)
