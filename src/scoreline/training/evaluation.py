"""How good recommendations are on events that the model has not seen."""

from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import numpy.typing as npt

from scoreline.models.artifacts import FittedModel
from scoreline.models.histories import Histories
from scoreline.models.scoring import RecommendParams, recommend
from scoreline.models.topk import TopK
from scoreline.training.interactions import Interactions

__all__ = ["Difference", "Evaluation", "Metric", "difference", "evaluate"]

Metric = Literal["ndcg_at_10", "recall_at_20"]

_USERS_AT_ONCE = 4096
_DEPTH = 20


@dataclass(frozen=True)
class Evaluation:
    """Figures of one model on one split; means are over the users with events on both sides of it.

    ndcg_at_10: normalised discounted cumulative gain, binary relevance (Järvelin & Kekäläinen, TOIS 2002).
    recall_at_20: held-out events among the first 20, over min(20, held-out events) (Liang et al., WWW 2018).
    coverage: share of the items trained on that are in the first 20 of a user (Ge et al., RecSys 2010).
    popularity_bias: mean popularity percentile of the first 20 minus that of the events held out; 0 is as
    popular as what users watch, above it more (Abdollahpouri et al., Unfairness of Popularity Bias, 2019).
    per_user: the first two for each user, in the order of the split.
    """

    users: int
    ndcg_at_10: float
    recall_at_20: float
    coverage: float
    popularity_bias: float
    per_user: dict[Metric, npt.NDArray[np.float64]] = field(repr=False, compare=False, default_factory=dict)

    def figures(self) -> dict[str, float]:
        """The metrics by name."""
        return {
            "ndcg_at_10": self.ndcg_at_10,
            "recall_at_20": self.recall_at_20,
            "coverage": self.coverage,
            "popularity_bias": self.popularity_bias,
        }


@dataclass(frozen=True)
class Difference:
    """By how much the first of two models is better on the same users, and the standard error of that mean."""

    mean: float
    error: float


def difference(one: Evaluation, other: Evaluation, metric: Metric) -> Difference:
    """The paired difference of two evaluations on one split; NaN where there are too few users to tell."""
    apart = one.per_user[metric] - other.per_user[metric]
    error = float(apart.std(ddof=1) / np.sqrt(len(apart))) if len(apart) > 1 else float("nan")
    return Difference(float(apart.mean()) if len(apart) else float("nan"), error)


def evaluate(
    model: FittedModel,
    train: Interactions,
    test: Interactions,
    *,
    exclude_seen: bool = True,
    eligible: npt.NDArray[np.bool_] | None = None,
) -> Evaluation:
    """Figures of the lists that a run would have published with `model`, fitted on `train`, for the events of `test`.

    The lists are made as in production, the fallback included; only items of `train` can be in them, of those
    `eligible` ones. Users without an event in `train` are left out: at the cut there was no such user.
    """
    histories, held_out = train.histories(), test.histories()
    users = np.flatnonzero((np.diff(histories.offsets) > 0) & (np.diff(held_out.offsets) > 0))
    known = np.bincount(train.items, minlength=len(train.catalogue)) > 0
    rules = RecommendParams(_DEPTH, exclude_seen, known if eligible is None else known & eligible)
    percentile = _popularity_percentile(train)
    gains, recalls, recommended = [np.zeros(0)], [np.zeros(0)], [np.zeros(0, np.int32)]
    for start in range(0, len(users), _USERS_AT_ONCE):
        part = users[start : start + _USERS_AT_ONCE]
        lists, _ = recommend(model, histories.take(part), rules)
        gain, recall = _per_user(lists, held_out.take(part), len(train.catalogue))
        gains.append(gain)
        recalls.append(recall)
        recommended.append(lists.items)
    items = np.concatenate(recommended)
    watched = held_out.take(users).items
    bias = percentile[items].mean() - percentile[watched].mean() if len(items) else float("nan")
    coverage = len(np.unique(items)) / max(1, len(np.unique(train.items)))
    per_user: dict[Metric, npt.NDArray[np.float64]] = {
        "ndcg_at_10": np.concatenate(gains),
        "recall_at_20": np.concatenate(recalls),
    }
    means = {name: float(values.mean()) if len(users) else float("nan") for name, values in per_user.items()}
    return Evaluation(len(users), means["ndcg_at_10"], means["recall_at_20"], coverage, float(bias), per_user)


def _per_user(lists: TopK, held_out: Histories, items: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """NDCG@10 and recall@20 of each user."""
    users = np.repeat(np.arange(len(lists)), lists.lengths)
    ranks = np.arange(len(users)) - np.repeat(lists.offsets[:-1], lists.lengths)
    hits = np.isin(users * items + lists.items, held_out.users.astype(np.int64) * items + held_out.items)
    discounts = 1 / np.log2(np.arange(10) + 2)
    top = hits & (ranks < 10)
    gain = np.bincount(users[top], weights=discounts[ranks[top]], minlength=len(lists))
    relevant = np.diff(held_out.offsets)
    ideal = np.cumsum(discounts)[np.minimum(relevant, 10) - 1]
    found = np.bincount(users[hits], minlength=len(lists))
    return gain / ideal, found / np.minimum(relevant, _DEPTH)


def _popularity_percentile(train: Interactions) -> npt.NDArray[np.float64]:
    """float64 per item, 0 to 1: the share of items that fewer or as few users watched."""
    counts = np.bincount(train.items, minlength=len(train.catalogue))
    return np.searchsorted(np.sort(counts), counts, side="right") / len(counts)
