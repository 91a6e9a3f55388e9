"""A trained estimator reduced to what one row's probability needs, without scikit-learn or pandas.

Linear models and tree ensembles as NumPy arrays (`kernel.npz`), tree ensembles as `kernel.onnx` too.
`compiling.fast_kernel` builds the candidates, checks each against scikit-learn and keeps the fastest.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from scoreline_fraud.serving.errors import ServingError, told
from scoreline_fraud.serving.features import Floats

__all__ = ["Kernel", "LinearKernel", "OnnxKernel", "TreesKernel", "load_kernel"]

_ROWS_AT_ONCE: Final = 4096


class Kernel(Protocol):
    """Probabilities of fraud for a matrix of features."""

    def probabilities(self, features: Floats) -> Floats: ...
    def save(self, folder: Path) -> Path: ...


@dataclass(frozen=True)
class LinearKernel:
    """A logistic regression, the scaling of its inputs folded into its weights."""

    weights: Floats
    intercept: float

    def probabilities(self, features: Floats) -> Floats:
        return _logistic(features @ self.weights + self.intercept)

    def save(self, folder: Path) -> Path:
        path = folder / "kernel.npz"
        np.savez(path, kind="linear", weights=self.weights, intercept=self.intercept)
        return path


@dataclass(frozen=True)
class TreesKernel:
    """All trees of an ensemble walked at once, one level a step; a leaf points at itself, so no step is conditional.

    `boosted` adds the leaves up to log-odds, otherwise they are averaged. `single` compares in float32, as
    scikit-learn's forests do (its histogram gradient boosting compares in float64).
    """

    roots: NDArray[np.intp]
    feature: NDArray[np.intp]
    threshold: Floats
    children: NDArray[np.intp]
    """Left and right child of node i at 2i and 2i + 1."""
    value: Floats
    depth: int
    boosted: bool
    single: bool
    base: float = 0.0

    def probabilities(self, features: Floats) -> Floats:
        parts = [self._some(features[at : at + _ROWS_AT_ONCE]) for at in range(0, len(features), _ROWS_AT_ONCE)]
        return np.concatenate(parts) if parts else np.zeros(0)

    def _some(self, features: Floats) -> Floats:
        rows = features.astype(np.float32) if self.single else features
        flat = rows.ravel()
        offset = (np.arange(len(rows)) * rows.shape[1])[:, None]
        node = np.broadcast_to(self.roots, (len(rows), len(self.roots)))
        for _ in range(self.depth):
            right = ~(flat.take(self.feature.take(node) + offset) <= self.threshold.take(node))
            node = self.children.take(2 * node + right)
        leaves = self.value.take(node)
        return _logistic(leaves.sum(axis=1) + self.base) if self.boosted else leaves.mean(axis=1)

    def save(self, folder: Path) -> Path:
        path = folder / "kernel.npz"
        np.savez(path, kind="trees", **vars(self))
        return path


class OnnxKernel:
    """A graph under ONNX runtime, one thread: doubles in, one (single-precision) probability a row out."""

    def __init__(self, graph: bytes) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.graph = graph
        self.session: Any = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])

    def __reduce__(self) -> tuple[type["OnnxKernel"], tuple[bytes]]:
        return OnnxKernel, (self.graph,)  # a session does not travel to Spark's workers, its graph does

    def probabilities(self, features: Floats) -> Floats:
        found = self.session.run(None, {"features": features})[0]
        return np.asarray(found, dtype=np.float64).ravel()

    def save(self, folder: Path) -> Path:
        path = folder / "kernel.onnx"
        path.write_bytes(self.graph)
        return path


def load_kernel(path: Path) -> Kernel:
    """The kernel saved at `path`; nothing in the file is executed (arrays or an ONNX graph)."""
    if path.suffix == ".onnx":
        return OnnxKernel(path.read_bytes())
    try:
        with np.load(path, allow_pickle=False) as saved:
            arrays = dict(saved)
    except (OSError, ValueError) as error:
        raise ServingError(
            f"{path.name} is no kernel: {told(error)}; log the model again by `scoreline fraud-train`"
        ) from None
    kind = str(arrays.pop("kind"))
    if kind == "linear":
        return LinearKernel(weights=arrays["weights"], intercept=float(arrays["intercept"]))
    return TreesKernel(
        **{name: arrays[name] for name in ("roots", "feature", "threshold", "children", "value")},
        depth=int(arrays["depth"]),
        boosted=bool(arrays["boosted"]),
        single=bool(arrays["single"]),
        base=float(arrays["base"]),
    )


def _logistic(log_odds: Floats) -> Floats:
    with np.errstate(over="ignore"):  # exp(large) = inf gives the right answer, 0
        return np.asarray(1.0 / (1.0 + np.exp(-log_odds)))
