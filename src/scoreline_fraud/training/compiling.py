"""From a trained scikit-learn estimator to the fastest kernel that gives the same probabilities for one row."""

from collections.abc import Sequence
from time import perf_counter
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.tree import DecisionTreeClassifier

from scoreline.errors import RunFailed
from scoreline_fraud.serving.features import FEATURES, Floats
from scoreline_fraud.serving.kernels import Kernel, LinearKernel, OnnxKernel, TreesKernel
from scoreline_fraud.training.estimators import Classifier

__all__ = ["TOLERANCE", "difference", "fast_kernel"]

TOLERANCE: Final = 1e-5


def fast_kernel(estimator: Classifier, sample: Floats) -> Kernel:
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


def _numpy_kernel(estimator: object) -> Kernel | None:
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
