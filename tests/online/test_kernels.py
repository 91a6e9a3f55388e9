from pathlib import Path

import numpy as np
import pytest
from sklearn.dummy import DummyClassifier

from online.conftest import World
from scoreline.errors import RunFailed
from scoreline_fraud.serving.errors import ServingError
from scoreline_fraud.serving.kernels import LinearKernel, OnnxKernel, TreesKernel, load_kernel
from scoreline_fraud.training import compiling
from scoreline_fraud.training.compiling import TOLERANCE, difference, fast_kernel
from scoreline_fraud.training.estimators import ESTIMATORS, EstimatorName, fit


@pytest.mark.parametrize("name", ESTIMATORS)
def test_every_kernel_gives_scikit_learns_answers(world: World, tmp_path: Path, name: EstimatorName) -> None:
    estimator = fit(name, world.data)
    sample = world.data.test_features
    expected = estimator.predict_proba(sample)[:, 1]
    kernel = compiling._numpy_kernel(estimator)
    assert kernel is not None
    kernels = [kernel]
    if isinstance(kernel, TreesKernel):
        graph = compiling._onnx_kernel(kernel)
        assert isinstance(graph, OnnxKernel)
        kernels.append(graph)
    for each in kernels:
        assert difference(each, expected, sample) <= TOLERANCE
        again = load_kernel(each.save(tmp_path))
        np.testing.assert_array_equal(again.probabilities(sample), each.probabilities(sample))


def test_one_row_scores_as_in_a_batch(world: World) -> None:
    sample = world.data.test_features[:50]
    one_by_one = np.concatenate([world.kernel.probabilities(row[None, :]) for row in sample])
    np.testing.assert_allclose(one_by_one, world.kernel.probabilities(sample), rtol=0, atol=1e-12)


def test_a_kernel_that_disagrees_is_not_logged(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = LinearKernel(weights=np.zeros(world.data.test_features.shape[1]), intercept=0.0)
    monkeypatch.setattr(compiling, "_numpy_kernel", lambda estimator: wrong)
    with pytest.raises(RunFailed, match="LinearKernel is off by"):
        fast_kernel(world.estimator, world.data.test_features)


def test_an_estimator_without_a_kernel_is_refused(world: World) -> None:
    with pytest.raises(RunFailed, match="none could be built"):
        fast_kernel(DummyClassifier().fit(world.data.test_features, [0, 1] * 1 + [0] * (len(world.data.test) - 2)),
                    world.data.test_features)  # fmt: skip


def test_a_pickle_is_not_executed(tmp_path: Path) -> None:
    path = tmp_path / "kernel.npz"
    np.savez(path, kind="linear", weights=np.array([object()], dtype=object), intercept=0.0)
    with pytest.raises(ServingError, match="is no kernel"):
        load_kernel(path)
