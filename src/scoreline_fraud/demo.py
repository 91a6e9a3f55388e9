"""`make fraud-demo`: the whole path once, on made-up payments that end today."""

import os
import socket
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import Final, cast

import numpy as np
import pandas as pd

from scoreline.registry.client import quiet_mlflow
from scoreline_fraud.client.client import Authorization, FraudClient
from scoreline_fraud.client.settings import ClientSettings
from scoreline_fraud.features.windows import DAY_S, TransactionLog, card_table, epoch_seconds, terminal_table
from scoreline_fraud.server.server import Server
from scoreline_fraud.server.settings import ServerSettings, ServingSettings
from scoreline_fraud.serving.rules import FeatureRules, Limits, ServingRules
from scoreline_fraud.serving.snapshot import publish, write_snapshot
from scoreline_fraud.training.estimators import Classifier, EstimatorName, Split, evaluate, fit, split
from scoreline_fraud.training.simulate import simulate

__all__ = ["export_snapshot", "posted", "run_demo"]

MODEL: Final = "card_fraud"
_DAYS: Final = 60
_SCENARIOS: Final = {1: "large amounts", 2: "compromised terminals", 3: "copied cards"}


def run_demo(folder: Path, *, estimator: str, cards: int, workers: int, payments: int) -> Iterator[str]:
    """Lines to print, as the demo goes."""
    folder = folder.absolute()
    folder.mkdir(parents=True, exist_ok=True)
    today = pd.Timestamp.now(tz="UTC").floor("D")
    rows = simulate(cards=cards, terminals=2 * cards, days=_DAYS, start=today - pd.Timedelta(days=_DAYS - 1))
    log = TransactionLog(rows)
    yield f"payments   {len(rows):,} of {cards:,} cards over {_DAYS} days, {rows['is_fraud'].mean():.1%} of them fraud"

    snapshot = export_snapshot(log, today, folder)
    yield f"features   {snapshot.name}: what was known at midnight ({snapshot.stat().st_size / 1e6:.1f} MB)"

    data = split(log, train_from=today - pd.Timedelta(days=21))
    trained = fit(cast(EstimatorName, estimator), data)
    quality = evaluate(trained, data)
    yield f"training   {estimator}: AUC ROC {quality.auc_roc:.3f}, average precision {quality.average_precision:.3f}"

    rules = ServingRules(
        features=FeatureRules(snapshot=folder / "current.sqlite"),
        limits=Limits(max_clock_difference_s=DAY_S),  # the payments of today's evening are sent this morning
    )
    tracking_uri = f"sqlite:///{folder}/mlflow.db"
    version = _log_model(trained, data, rules, estimator, folder, tracking_uri, asdict(quality))
    yield f"model      models:/{MODEL}/{version} in {folder.name}/mlflow.db"

    settings = ServingSettings(
        model=f"models:/{MODEL}@champion",
        tracking_uri=tracking_uri,
        state_dir=folder / "serving",
        server=ServerSettings(port=_free_port(), workers=workers),
        rules=rules,
    )
    server = Server(settings, os.environ)
    try:
        server.start()
        server.wait_until_ready()
        yield f"server     MLflow's, on 127.0.0.1:{settings.server.port}, {workers} worker(s)"
        last_day = rows[rows["occurred_at"] >= today].head(payments)
        url = f"http://127.0.0.1:{settings.server.port}/invocations"
        yield from _send(posted(log, last_day), last_day, settings.client.model_copy(update={"url": url}))
    finally:
        server.stop()
    yield "server     stopped"


def export_snapshot(log: TransactionLog, as_of: pd.Timestamp, folder: Path) -> Path:
    """The snapshot of one midnight, published as `current.sqlite`."""
    cards, card_figures = card_table(log, as_of)
    terminals, terminal_figures = terminal_table(log, as_of)
    path = write_snapshot(
        folder / f"features-{as_of.date()}.sqlite",
        as_of=as_of.to_pydatetime(),
        cards=zip(cards, card_figures, strict=True),
        terminals=zip(terminals, terminal_figures, strict=True),
    )
    publish(path, folder / "current.sqlite")
    return path


def posted(log: TransactionLog, rows: pd.DataFrame) -> list[dict[str, object]]:
    """Transactions as a card system would post them, its own counters of the last 24 hours included."""
    time = epoch_seconds(rows["occurred_at"])
    counters = log.by_card.between(rows["card_id"], time - DAY_S, time)
    sent = rows[["transaction_id", "card_id", "terminal_id", "amount"]].assign(
        occurred_at=[moment.isoformat() for moment in rows["occurred_at"]],
        card_count_24h=counters[:, 0].astype(int),
        card_amount_24h=counters[:, 1].round(2),
    )
    return [{str(key): value for key, value in row.items()} for row in sent.to_dict("records")]


def _log_model(
    trained: Classifier,
    data: Split,
    rules: ServingRules,
    estimator: str,
    folder: Path,
    uri: str,
    quality: dict[str, float],
) -> str:
    import mlflow

    from scoreline_fraud.training.log_model import log_fraud_model

    with quiet_mlflow():
        mlflow.set_tracking_uri(uri)
        if mlflow.get_experiment_by_name(MODEL) is None:
            mlflow.create_experiment(MODEL, artifact_location=(folder / "artifacts").as_uri())
        mlflow.set_experiment(MODEL)
    sample = data.test_features[:2000]
    return log_fraud_model(
        trained, sample, name=MODEL, rules=rules, alias="champion", metrics=quality, params={"estimator": estimator}
    )


def _send(transactions: list[dict[str, object]], rows: pd.DataFrame, settings: ClientSettings) -> Iterator[str]:
    answers: list[Authorization] = []
    seconds: list[float] = []
    with FraudClient(settings) as client:
        for transaction in transactions:
            began = perf_counter()
            answers.append(client.authorize(transaction))
            seconds.append(perf_counter() - began)
    for transaction, answer in list(zip(transactions, answers, strict=True))[:3]:
        share = "-" if answer.fraud_probability is None else f"{answer.fraud_probability:.4f}"
        yield f"  e.g.     {transaction['amount']:>8.2f} at {transaction['terminal_id']}: {answer.decision} ({share})"
    decisions = Counter(answer.decision for answer in answers)
    sources = Counter(answer.decision_source for answer in answers)
    yield f"decisions  {dict(decisions)} by {dict(sources)}"
    milliseconds = np.array(seconds) * 1000
    p50, p99 = np.percentile(milliseconds, [50, 99])
    yield f"latency    p50 {p50:.1f} ms, p99 {p99:.1f} ms, one at a time"
    for scenario, what in _SCENARIOS.items():
        mine = [answer.decision for answer, kind in zip(answers, rows["scenario"], strict=True) if kind == scenario]
        stopped = sum(decision != "allow" for decision in mine)
        yield f"caught     {stopped} of {len(mine)} {what}"
    genuine = [answer.decision for answer, kind in zip(answers, rows["scenario"], strict=True) if kind == 0]
    bothered = sum(decision != "allow" for decision in genuine)
    yield f"bothered   {bothered} of {len(genuine)} genuine payments"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
