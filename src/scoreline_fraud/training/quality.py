"""Transactions from files, and the table of model quality that can be held beside the Handbook's."""

from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Final, cast, get_args

import pandas as pd

from scoreline.errors import InputError, told
from scoreline_fraud.features.windows import TransactionLog
from scoreline_fraud.server.settings import load_settings
from scoreline_fraud.serving.features import Floats
from scoreline_fraud.training.estimators import Classifier, EstimatorName, Quality, evaluate, fit, split
from scoreline_fraud.training.simulate import simulate

__all__ = ["load_transactions", "train_report"]

_HANDBOOK: Final = {
    "TRANSACTION_ID": "transaction_id",
    "TX_DATETIME": "occurred_at",
    "CUSTOMER_ID": "card_id",
    "TERMINAL_ID": "terminal_id",
    "TX_AMOUNT": "amount",
    "TX_FRAUD": "is_fraud",
}
_OURS: Final = tuple(_HANDBOOK.values())
_SAMPLE_ROWS: Final = 5_000


def load_transactions(path: Path) -> pd.DataFrame:
    """`transaction_id, card_id, terminal_id, amount, occurred_at, is_fraud` from Parquet, our names or the Handbook's.

    Ids become text; times without a zone are UTC. Pickled days are code, so they are not read: convert them first, by
    `pandas.concat(map(pandas.read_pickle, sorted(Path("data").glob("*.pkl")))).to_parquet("handbook.parquet")`.
    """
    if not path.exists():
        raise InputError(f"{path} does not exist; expected Parquet with the columns {', '.join(_OURS)}")
    if path.suffix == ".pkl" or (path.is_dir() and not any(path.rglob("*.parquet"))):
        raise InputError(f"{path} holds no Parquet; convert pickled days first, docs/online.md shows how")
    try:
        found = pd.read_parquet(path).rename(columns=_HANDBOOK)
    except (OSError, ValueError) as error:
        raise InputError(f"{path} cannot be read as Parquet: {told(error)}") from None
    missing = [name for name in _OURS if name not in found]
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; it has {', '.join(map(str, found.columns))}")
    rows = found.loc[:, list(_OURS)]
    if rows.isna().to_numpy().any():
        raise InputError(f"{path} has empty values in {', '.join(rows.columns[rows.isna().any()])}; remove those rows")
    moments = pd.to_datetime(rows["occurred_at"], utc=True)
    ids = {name: rows[name].astype("str") for name in ("transaction_id", "card_id", "terminal_id")}
    return rows.assign(**ids, occurred_at=moments).sort_values("occurred_at", kind="stable", ignore_index=True)


def train_report(
    *,
    transactions: Path | None,
    made_up: bool,
    train_from: str | None,
    estimator: str,
    tracking_uri: str | None,
    name: str,
    alias: str,
    config: Path,
) -> Iterator[str]:
    """Train and evaluate one estimator or all, log the model if asked to; lines to print."""
    names = get_args(EstimatorName)
    if estimator not in (*names, "all"):
        raise InputError(f"no estimator {estimator!r}; there are {', '.join(names)} and all")
    if (transactions is None) != made_up:
        raise InputError("give either --transactions FILE or --simulate")
    rows = handbook_sized() if transactions is None else load_transactions(transactions)
    last = rows["occurred_at"].max().floor("D")
    start = pd.Timestamp(train_from, tz="UTC") if train_from else last - pd.Timedelta(days=20)
    data = split(TransactionLog(rows), train_from=start)
    yield f"train {len(data.train):,} payments from {start.date()}, {int(data.train['is_fraud'].sum()):,} frauds"
    yield f"test  {len(data.test):,} payments two weeks later, {int(data.test['is_fraud'].sum()):,} frauds"
    yield "estimator            AUC ROC  average precision  card precision@100"
    for each in names if estimator == "all" else [estimator]:
        trained = fit(cast(EstimatorName, each), data)
        found = evaluate(trained, data)
        yield _line(each, found)
        if tracking_uri:
            yield _log(trained, each, found, data.test_features, tracking_uri, name, alias, config)


def handbook_sized() -> pd.DataFrame:
    """As many made-up transactions as the Handbook's data set has cards, terminals and days up to its test week."""
    return simulate(cards=5000, terminals=10_000, days=136, start=pd.Timestamp("2018-04-01", tz="UTC"))


def _line(name: str, found: Quality) -> str:
    return f"{name:<20} {found.auc_roc:>7.3f}  {found.average_precision:>17.3f}  {found.card_precision_100:>18.3f}"


def _log(
    trained: Classifier, estimator: str, found: Quality, sample: Floats, uri: str, name: str, alias: str, config: Path
) -> str:
    import mlflow

    from scoreline_fraud.training.log_model import log_fraud_model

    mlflow.set_tracking_uri(uri)
    version = log_fraud_model(
        trained,
        sample[:_SAMPLE_ROWS],
        name=name,
        rules=load_settings(config).rules,
        alias=alias,
        metrics=asdict(found),
        params={"estimator": estimator},
    )
    return f"logged as models:/{name}/{version}, alias {alias}"
