from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from scoreline.errors import InputError
from scoreline.models.artifacts import load
from scoreline.registry.client import pointing_at, quiet_mlflow
from scoreline.registry.files import download
from scoreline.registry.promotion import champion, promote
from scoreline.registry.versions import pin
from scoreline.training.experiment import Recipe, evaluated, make_estimator
from scoreline.training.fit import Asked, TrainedVersion, train
from scoreline.training.interactions import Interactions


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


def moods(users: int = 200) -> pa.Table:
    """Users who watch six films of one quarter of the catalogue, then six of another: the newest say what is next."""
    rng = np.random.default_rng(0)
    quarters = rng.permuted(np.tile(np.arange(4), (users, 1)), axis=1)
    rows = [
        np.concatenate([rng.permutation(12)[:size] + 12 * quarter for size, quarter in zip((6, 6), own, strict=False)])
        for own in quarters
    ]
    return at(tastes(users).set_column(1, "item_ids", pa.array(rows)), pa.array([np.arange(12)] * users))


def test_training_registers_a_version_with_its_figures(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    report = train(
        tastes(),
        estimator="item_neighbours",
        params={"neighbours": 15},
        asked=Asked("user", 0.25),
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


def once(store: Path, table: pa.Table, name: str = "films", **changes: Any) -> TrainedVersion:
    """One training into the registry at `store`, compared with what `champion` points to there."""
    uri = f"sqlite:///{store / 'mlflow.db'}"
    given: dict[str, Any] = {"estimator": "popularity", "params": {}, "asked": Asked("user", 0.25)} | changes
    present = champion(name, "champion", tracking_uri=uri)
    return train(table, **given, name=name, tracking_uri=uri, experiment="films", champion=present)


def at(table: pa.Table, times: pa.Array) -> pa.Table:
    kind = pa.list_(pa.timestamp("us", "UTC"))
    return table.set_column(3, "event_times", times.cast(pa.list_(pa.timestamp("us"))).cast(kind))


def test_recency_is_switched_off_where_order_means_nothing_and_kept_where_it_does(tmp_path: Path) -> None:
    recipe = {"estimator": "item_neighbours", "params": {"neighbours": 15}}
    report = once(tmp_path, tastes(users=200), **recipe)
    assert list(report.recency) == ["5.0", "null"]
    assert report.recency["null"] > report.recency["5.0"]
    assert report.params["history_half_life"] is None
    assert report.metrics["ndcg_at_10"] == report.recency["null"]
    drifting = once(tmp_path, moods(), **recipe)
    assert drifting.recency["5.0"] > drifting.recency["null"]
    assert drifting.params["history_half_life"] == 5.0
    said = once(tmp_path, tastes(), estimator="item_neighbours", params={"history_half_life": 5.0})
    assert (said.recency, said.params["history_half_life"]) == ({}, 5.0)


def test_a_champion_is_made_again_of_the_same_events_and_compared(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    table, asked = tastes(users=200), {"tracking_uri": uri}
    neighbours = {"estimator": "item_neighbours", "params": {"neighbours": 15}}
    first = once(tmp_path, table, **neighbours)
    assert (first.champion, first.notes) == (None, ())
    assert promote("films", "1", "champion", **asked).previous is None
    same = once(tmp_path, table, **neighbours)
    assert same.champion is not None
    assert (same.champion.version, same.champion.metrics) == ("1", same.metrics)
    assert (same.champion.difference, same.champion.error) == (0.0, 0.0)
    assert promote("films", "2", "champion", **asked).previous == "1"
    worse = once(tmp_path, table.slice(0, 120))
    assert worse.champion is not None
    assert worse.champion.metrics["ndcg_at_10"] != same.metrics["ndcg_at_10"], "measured on the events of today"
    assert worse.champion.difference == pytest.approx(
        worse.metrics["ndcg_at_10"] - worse.champion.metrics["ndcg_at_10"]
    )
    assert worse.champion.difference < -2 * worse.champion.error < 0
    with pytest.raises(InputError, match=r"version 3 of films stays registered and was not promoted: its ndcg_at_10"):
        promote("films", "3", "champion", **asked)
    assert promote("films", "1", "champion", **asked).version == "1", "2 was compared with it"
    with pytest.raises(InputError, match="never compared on the same events with version 1"):
        promote("films", "3", "champion", **asked)
    assert promote("films", "3", "champion", force=True, **asked).previous == "1"


def test_what_was_tested_on_nobody_or_on_few_is_said_and_not_promoted(tmp_path: Path) -> None:
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    alone = tastes(users=1)
    report = once(tmp_path, alone.slice(0, 1), asked=Asked("user", 0.01))
    assert (report.test_users, report.metrics) == (0, {})
    assert report.notes == (
        "nothing could be measured: no user has events on both sides of the split (the last 1% of each user’s events "
        "held out)",
    )
    with pytest.raises(InputError, match=r"version 1 of films stays registered and .*: its ndcg_at_10 is not known"):
        promote("films", None, "champion", tracking_uri=uri)
    few = once(tmp_path, tastes(users=8), estimator="item_neighbours", params={})
    assert (few.test_users, few.params["history_half_life"]) == (8, 5.0)
    assert few.notes == (
        "the figures rest on 8 users, fewer than model.train.min_test_users = 20: nothing was chosen by them",
    )
    with pytest.raises(InputError, match=r"rests on 8 users, at least 20 are needed \(model.train.min_test_users\)"):
        promote("films", None, "champion", tracking_uri=uri)
    assert promote("films", None, "champion", tracking_uri=uri, min_test_users=8).version == "2"


def test_events_of_one_moment_are_split_at_random_and_recency_is_off(tmp_path: Path) -> None:
    table = tastes(users=200)
    constant = at(table, pa.array([[7] * 12] * 200))
    report = once(tmp_path, constant, estimator="item_neighbours", params={}, asked=Asked("time", 0.25))
    assert report.test_users > 190
    assert report.metrics["ndcg_at_10"] > 1.3 * report.baseline["ndcg_at_10"]
    assert (report.params["history_half_life"], report.recency) == (None, {})
    assert report.notes == (
        "all neighbours in the histories have the same time: these times say little about an order, and where the cut "
        "goes through one moment, the split is at random; recency is switched off, unless history_half_life is set",
    )


def test_a_champion_of_another_maker_is_not_compared_and_that_is_said(tmp_path: Path, store: str) -> None:
    present = champion("movies", "champion", tracking_uri=store)
    assert present is not None
    assert (present.version, present.estimator) == ("1", None)
    report = train(
        tastes(), estimator="popularity", params={}, asked=Asked("user", 0.25), name="films",
        tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", experiment="films", champion=present,
    )  # fmt: skip
    assert report.champion is None
    assert report.notes == (
        "version 1, the present one, was not made by scoreline train, or by one that kept no recipe: there is nothing "
        "to compare on the same events",
    )


@pytest.mark.parametrize("estimator", ["item_neighbours", "latent_factors"])
def test_models_find_the_two_groups(estimator: str) -> None:
    events = Interactions.from_histories(tastes())
    recipes = [Recipe.of(make_estimator(estimator, {})), Recipe("popularity", {})]
    scores, baseline = evaluated(Asked("user", 0.25).split(events), recipes)
    assert scores.ndcg_at_10 > 1.3 * baseline.ndcg_at_10


def test_unknown_estimators_and_parameters_are_refused() -> None:
    with pytest.raises(InputError, match=r"no estimator als: choose one of popularity, "):
        make_estimator("als", {})
    with pytest.raises(InputError, match=r"item_neighbours has no parameter k; it has neighbours"):
        make_estimator("item_neighbours", {"k": 3})
