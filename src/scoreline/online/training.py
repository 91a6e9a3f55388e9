"""The estimators, their fast kernels, and the temporal protocol by which they are compared.

The protocol is that of the public Fraud Detection Handbook: train on a week, leave a week in which frauds are still
being reported, test on the week after; payments of cards already known to be compromised are left out of the test.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier

from scoreline.errors import InputError, RunFailed
from scoreline.online.features import FEATURES, Floats
from scoreline.online.kernels import Kernel, LinearKernel, OnnxKernel, TreesKernel
from scoreline.online.windows import TransactionLog, training_matrix

__all__ = ["ESTIMATORS", "TOLERANCE", "EstimatorName", "Quality", "Split", "evaluate", "fast_kernel", "fit", "split"]

EstimatorName = Literal["logistic_regression", "tree_of_depth_2", "random_forest", "gradient_boosting"]
TOLERANCE: Final = 1e-5
_DAY: Final = pd.Timedelta(days=1)

ESTIMATORS: Final[dict[EstimatorName, Callable[[int], Any]]] = {
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


def fit(name: EstimatorName, data: Split, *, seed: int = 0) -> Any:
    """The named estimator, trained on the training week."""
    return ESTIMATORS[name](seed).fit(data.train_features, data.train["is_fraud"].to_numpy())


def evaluate(estimator: Any, data: Split) -> Quality:
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


def fast_kernel(estimator: Any, sample: Floats) -> Kernel:
    """The fastest kernel of one row that agrees with scikit-learn on `sample` to `TOLERANCE`."""
    kernel = _numpy_kernel(estimator)
    graph = _onnx_kernel(kernel) if isinstance(kernel, TreesKernel) else None
    candidates: list[Kernel] = [found for found in (kernel, graph) if found]
    expected = estimator.predict_proba(sample)[:, 1]
    exact = [kernel for kernel in candidates if difference(kernel, expected, sample) <= TOLERANCE]
    if not exact:
        off = [f"{type(kernel).__name__} is off by {difference(kernel, expected, sample):.1e}" for kernel in candidates]
        raise RunFailed(f"no kernel is within {TOLERANCE} of scikit-learn: {'; '.join(off) or 'none could be built'}")
    return min(exact, key=lambda kernel: _seconds_a_row(kernel, sample[:1]))


def difference(kernel: Kernel, expected: Floats, sample: Floats) -> float:
    """The largest difference of probability."""
    return float(np.max(np.abs(kernel.probabilities(sample) - expected)))


def _seconds_a_row(kernel: Kernel, row: Floats, *, times: int = 200) -> float:
    best = np.inf
    for _ in range(3):
        began = perf_counter()
        for _ in range(times):
            kernel.probabilities(row)
        best = min(best, (perf_counter() - began) / times)
    return best


def _numpy_kernel(estimator: Any) -> Kernel | None:
    if isinstance(estimator, Pipeline) and isinstance(estimator[-1], LogisticRegression):
        scaler, model = estimator[0], estimator[-1]
        weights = model.coef_[0] / scaler.scale_
        return LinearKernel(weights=weights, intercept=float(model.intercept_[0] - scaler.mean_ @ weights))
    if isinstance(estimator, DecisionTreeClassifier):
        return _trees([_plain_tree(estimator)], depth=estimator.get_depth(), boosted=False, single=True)
    if isinstance(estimator, RandomForestClassifier):
        depth = max(tree.get_depth() for tree in estimator.estimators_)
        return _trees([_plain_tree(tree) for tree in estimator.estimators_], depth=depth, boosted=False, single=True)
    if isinstance(estimator, HistGradientBoostingClassifier):
        nodes = [stage[0].nodes for stage in estimator._predictors]
        base = float(np.ravel(estimator._baseline_prediction)[0])
        depth = max(int(tree["depth"].max()) for tree in nodes)
        return _trees([_boosted_tree(tree) for tree in nodes], depth=depth, boosted=True, single=False, base=base)
    return None


_Tree = tuple[
    NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]
]  # feature, threshold, left, right, value


def _plain_tree(estimator: DecisionTreeClassifier) -> _Tree:
    tree = estimator.tree_
    share = tree.value[:, 0, 1] / tree.value[:, 0, :].sum(axis=1)
    return tree.feature, tree.threshold, tree.children_left, tree.children_right, share


def _boosted_tree(nodes: NDArray[Any]) -> _Tree:
    left = np.where(nodes["is_leaf"], -1, nodes["left"].astype(np.int64))
    right = np.where(nodes["is_leaf"], -1, nodes["right"].astype(np.int64))
    return nodes["feature_idx"], nodes["num_threshold"], left, right, nodes["value"]


def _trees(trees: Sequence[_Tree], *, depth: int, boosted: bool, single: bool, base: float = 0.0) -> TreesKernel:
    sizes = [len(tree[0]) for tree in trees]
    roots = np.cumsum([0, *sizes[:-1]])
    feature, threshold, left, right, value = (np.concatenate(part) for part in zip(*trees, strict=True))
    offset, itself = np.repeat(roots, sizes), np.arange(sum(sizes))
    leaf = left < 0
    children = np.stack([np.where(leaf, itself, left + offset), np.where(leaf, itself, right + offset)], axis=1)
    return TreesKernel(
        roots=roots.astype(np.intp),
        feature=np.where(leaf, 0, feature).astype(np.intp),
        threshold=np.where(leaf, np.inf, threshold).astype(np.float64),
        children=children.ravel().astype(np.intp),
        value=value.astype(np.float64),
        depth=depth,
        boosted=boosted,
        single=single,
        base=base,
    )


def _onnx_kernel(trees: TreesKernel) -> Kernel | None:
    """The same trees as a graph; None without the `onnx` package.

    Made here and not by a converter, because skl2onnx 1.20 knows no gradient boosting of scikit-learn 1.9; in doubles,
    because thresholds rounded to single precision would send values near them the other way.
    """
    try:
        from onnx import TensorProto, helper
    except ImportError:
        return None
    size = [len(trees.roots), len(trees.value)]
    tree = np.searchsorted(trees.roots, np.arange(size[1]), side="right") - 1
    node = np.arange(size[1]) - trees.roots[tree]
    left, right = trees.children.reshape(-1, 2).T
    leaf = left == np.arange(size[1])
    ensemble = helper.make_node(
        "TreeEnsembleRegressor",
        ["compared"],
        ["sum"],
        domain="ai.onnx.ml",
        n_targets=1,
        aggregate_function="SUM" if trees.boosted else "AVERAGE",
        post_transform="NONE",
        base_values_as_tensor=helper.make_tensor("base", TensorProto.DOUBLE, [1], [trees.base]),
        nodes_treeids=tree,
        nodes_nodeids=node,
        nodes_modes=np.where(leaf, "LEAF", "BRANCH_LEQ").tolist(),
        nodes_featureids=trees.feature,
        nodes_values_as_tensor=helper.make_tensor(
            "thresholds", TensorProto.DOUBLE, size[1:], np.where(leaf, 0.0, trees.threshold)
        ),
        nodes_truenodeids=np.where(leaf, 0, left - trees.roots[tree]),
        nodes_falsenodeids=np.where(leaf, 0, right - trees.roots[tree]),
        target_treeids=tree[leaf],
        target_nodeids=node[leaf],
        target_ids=np.zeros(leaf.sum(), dtype=int),
        target_weights_as_tensor=helper.make_tensor("leaves", TensorProto.DOUBLE, [leaf.sum()], trees.value[leaf]),
    )
    single = [helper.make_node("Cast", ["features"], ["single"], to=TensorProto.FLOAT)] if trees.single else []
    cast = helper.make_node("Cast", ["single" if single else "features"], ["compared"], to=TensorProto.DOUBLE)
    link = helper.make_node("Sigmoid" if trees.boosted else "Identity", ["sum"], ["probability"])
    rows = helper.make_tensor_value_info("features", TensorProto.DOUBLE, [None, len(FEATURES)])
    answer = helper.make_tensor_value_info("probability", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph([*single, cast, ensemble, link], "fraud", [rows], [answer])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return OnnxKernel(helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString())
