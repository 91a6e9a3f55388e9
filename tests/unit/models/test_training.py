from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from scoreline.errors import InputError
from scoreline.interactions import Interactions
from scoreline.models.artifacts import load
from scoreline.quiet import pointing_at, quiet_mlflow
from scoreline.registry import download, pin
from scoreline.training import make_estimator, measure, train


def tastes(users: int = 80, items: int = 40) -> pa.Table:
    """Two groups of users with a half of the catalogue each, events in time."""
    rng = np.random.default_rng(0)
    halves = [np.arange(items // 2), np.arange(items // 2, items)]
    rows = [rng.permutation(halves[user % 2])[:12] + 1000 for user in range(users)]
    times = [np.sort(rng.integers(0, 10**15, 12)) for _ in rows]
    return pa.table(
        {
            "user_id": list(range(users)),
            "item_ids": pa.array(rows),
            "weights": pa.array([np.ones(12, np.float32)] * users),
            "event_times": pa.array(times).cast(pa.list_(pa.timestamp("us"))).cast(pa.list_(pa.timestamp("us", "UTC"))),
        }
    )


def test_training_registers_a_version_with_its_figures(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    report = train(
        tastes(),
        estimator="item_neighbours",
        params={"neighbours": 15},
        split_by="user",
        holdout=0.25,
        name="films",
        tracking_uri=uri,
        experiment="films",
        data_version="user_history version 3",
    )
    assert (report.name, report.version, report.users, report.items) == ("films", "1", 80, 40)
    assert report.metrics["ndcg_at_10"] > report.baseline["ndcg_at_10"]
    pinned = pin("models:/films/1", tracking_uri=uri)
    assert pinned.run_id == report.run_id
    model = load(download(pinned, tmp_path / "here") / "artifacts" / "model")
    assert model.estimator.get_params()["neighbours"] == 15
    assert (tmp_path / "mlartifacts").is_dir()
    with quiet_mlflow(), pointing_at(uri, None):
        import mlflow

        run = mlflow.get_run(report.run_id)
        tags = mlflow.MlflowClient().get_model_version("films", "1").tags
    assert run.data.params["neighbours"] == "15"
    assert run.data.metrics["popularity_ndcg_at_10"] == report.baseline["ndcg_at_10"]
    assert float(tags["scoreline.ndcg_at_10"]) == pytest.approx(report.metrics["ndcg_at_10"], abs=1e-6)


@pytest.mark.parametrize("estimator", ["item_neighbours", "latent_factors"])
def test_models_find_the_two_groups(estimator: str) -> None:
    events = Interactions.from_histories(tastes())
    scores, baseline = measure(make_estimator(estimator, {}), events, "user", 0.25)
    assert scores.ndcg_at_10 > 1.3 * baseline.ndcg_at_10


def test_unknown_estimators_and_parameters_are_refused() -> None:
    with pytest.raises(InputError, match=r"no estimator als: choose one of popularity, item_neighbours, latent"):
        make_estimator("als", {})
    with pytest.raises(InputError, match=r"item_neighbours has no parameter k; it has neighbours"):
        make_estimator("item_neighbours", {"k": 3})
