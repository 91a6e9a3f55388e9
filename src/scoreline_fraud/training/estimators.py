"""The estimators, and the temporal protocol by which they are compared.

The protocol is that of the public Fraud Detection Handbook: train on a week, leave a week in which frauds are still
being reported, test on the week after; payments of cards already known to be compromised are left out of the test.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, Protocol, Self

import numpy as np
import pandas as pd
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from scoreline.errors import InputError
from scoreline_fraud.features.windows import TransactionLog, training_matrix
from scoreline_fraud.serving.features import Floats

__all__ = ["ESTIMATORS", "Classifier", "EstimatorName", "Quality", "Split", "evaluate", "fit", "split"]

EstimatorName = Literal["logistic_regression", "tree_of_depth_2", "random_forest", "gradient_boosting"]


class Classifier(Protocol):
    """What is asked of a scikit-learn estimator."""

    def fit(self, features: Floats, labels: Floats, /) -> Self: ...

    def predict_proba(self, features: Floats, /) -> Floats: ...


_DAY: Final = pd.Timedelta(days=1)

ESTIMATORS: Final[dict[EstimatorName, Callable[[int], Classifier]]] = {
    "logistic_regression": lambda seed: make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=500, random_state=seed)
    ),
    "tree_of_depth_2": lambda seed: DecisionTreeClassifier(max_depth=2, random_state=seed),
    "random_forest": lambda seed: RandomForestClassifier(100, min_samples_leaf=2, random_state=seed, n_jobs=1),
    "gradient_boosting": lambda seed: HistGradientBoostingClassifier(max_iter=100, random_state=seed),
}


@dataclass(frozen=True)
class Split:
    """The rows of the training week and of the test week, with their features."""

    train: pd.DataFrame
    train_features: Floats
    test: pd.DataFrame
    test_features: Floats


@dataclass(frozen=True)
class Quality:
    """How well the test week's frauds were ranked."""

    auc_roc: float
    average_precision: float
    card_precision_100: float


def split(
    log: TransactionLog, *, train_from: pd.Timestamp, train_days: int = 7, delay_days: int = 7, test_days: int = 7
) -> Split:
    """Training and test weeks with a delay between, the test without the cards that were known to be compromised."""
    test_from = train_from + (train_days + delay_days) * _DAY
    train = _during(log.transactions, train_from, train_from + train_days * _DAY)
    test = _during(log.transactions, test_from, test_from + test_days * _DAY)
    if not len(test) or not 0 < train["is_fraud"].sum() < len(train):
        moments = log.transactions["occurred_at"]
        raise InputError(
            f"training from {train_from.date()} needs frauds and genuine payments in its first {train_days} days and "
            f"payments from {test_from.date()} on; the data go from {moments.min().date()} to {moments.max().date()}"
        )
    known = set(train.loc[train["is_fraud"] == 1, "card_id"])
    kept = []
    for day in range(test_days):
        today = test_from + day * _DAY
        reported = _during(log.transactions, today - (delay_days + 1) * _DAY, today - delay_days * _DAY)
        known |= set(reported.loc[reported["is_fraud"] == 1, "card_id"])
        payments = _during(test, today, today + _DAY)
        kept.append(payments[~payments["card_id"].isin(known)])
    test = pd.concat(kept)
    return Split(train, training_matrix(log, train), test, training_matrix(log, test))


def _during(rows: pd.DataFrame, start: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    return rows[(rows["occurred_at"] >= start) & (rows["occurred_at"] < end)]


def fit(name: EstimatorName, data: Split, *, seed: int = 0) -> Classifier:
    """The named estimator, trained on the training week."""
    return ESTIMATORS[name](seed).fit(data.train_features, data.train["is_fraud"].to_numpy())


def evaluate(estimator: Classifier, data: Split) -> Quality:
    """AUC ROC, average precision and card precision@100 on the test week."""
    probability = estimator.predict_proba(data.test_features)[:, 1]
    fraud = data.test["is_fraud"].to_numpy()
    return Quality(
        auc_roc=float(roc_auc_score(fraud, probability)),
        average_precision=float(average_precision_score(fraud, probability)),
        card_precision_100=card_precision(data.test, probability, cards=100),
    )


def card_precision(rows: pd.DataFrame, probability: Floats, *, cards: int) -> float:
    """Of the `cards` most suspicious cards of each day, the share that was compromised; found ones leave the list.

    Mean over the days, as in the Handbook: an investigator can look at so many cards a day, and a compromised card that
    was looked at is blocked from then on.
    """
    scored = rows[["card_id", "is_fraud"]].assign(day=rows["occurred_at"].dt.floor("D"), probability=probability)
    found: set[str] = set()
    precisions = []
    for _, day in scored.groupby("day"):
        fresh = day[~day["card_id"].isin(found)]
        by_card = fresh.groupby("card_id")[["probability", "is_fraud"]].max()
        top = by_card.sort_values("probability", ascending=False, kind="stable").head(cards)
        caught = top.index[top["is_fraud"] == 1]
        found |= set(caught)
        precisions.append(len(caught) / cards)
    return float(np.mean(precisions))
