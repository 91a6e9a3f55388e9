"""Loading the model: what it refuses to start with, and what must not keep it from starting."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from online.conftest import World
from scoreline_fraud.serving.errors import ServingError
from scoreline_fraud.serving.features import FEATURES
from scoreline_fraud.serving.model import CONTRACT_FILE, FraudModel, kernel_of, version_of


@pytest.fixture
def folder(world: World, tmp_path: Path) -> Path:
    """A model as it lies in MLflow's folder."""
    kernel = tmp_path / "model" / "artifacts" / "kernel"
    kernel.mkdir(parents=True)
    contract = {"kernel": world.kernel.save(kernel).name, "features": list(FEATURES)}
    (kernel / CONTRACT_FILE).write_text(json.dumps(contract))
    (tmp_path / "model" / "registered_model_meta").write_text("model_name: card_fraud\nmodel_version: 7\n")
    return kernel


def loaded(folder: Path, config: dict[str, Any]) -> FraudModel:
    model = FraudModel()
    model.load_context(SimpleNamespace(model_config=config, artifacts={"kernel": str(folder)}))
    return model


def rules(world: World, **more: Any) -> dict[str, Any]:
    return {"features": {"snapshot": str(world.snapshot)}, "limits": {"max_clock_difference_s": None}, **more}


def test_answers_name_the_registered_version(folder: Path, world: World, payment: Any) -> None:
    (answer,) = loaded(folder, rules(world)).predict([payment()])
    assert answer["model_version"] == "card_fraud/7"


def test_a_version_can_be_given_and_is_never_empty(folder: Path, world: World, payment: Any) -> None:
    (answer,) = loaded(folder, rules(world, model_version="blue")).predict([payment()])
    assert answer["model_version"] == "blue"
    assert version_of(Path("/nowhere/kernel")) == "unregistered"


def test_a_snapshot_may_lie_inside_the_model(folder: Path, world: World, payment: Any) -> None:
    model = FraudModel()
    artifacts = {"kernel": str(folder), "snapshot": str(world.snapshot)}
    config = {"limits": {"max_clock_difference_s": None}}
    model.load_context(SimpleNamespace(model_config=config, artifacts=artifacts))
    assert model.predict([payment()])[0]["fraud_probability"] is not None


def test_an_unknown_rule_does_not_start(folder: Path) -> None:
    with pytest.raises(ServingError, match="model_config: feature: Extra inputs"):
        loaded(folder, {"feature": {}})


def test_a_model_of_other_features_does_not_start(folder: Path, world: World) -> None:
    contract = json.loads((folder / CONTRACT_FILE).read_text())
    (folder / CONTRACT_FILE).write_text(json.dumps(contract | {"features": [*FEATURES, "new_one"]}))
    with pytest.raises(ServingError, match=r"other features than this code makes: \['new_one'\]"):
        loaded(folder, rules(world))


def test_a_folder_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ServingError, match="is not a fraud model's kernel folder"):
        kernel_of(tmp_path)


def test_a_challenger_scores_along(folder: Path, world: World, payment: Any, tmp_path: Path) -> None:
    log = tmp_path / "shadow" / "log.jsonl"
    model = loaded(folder, rules(world, shadow={"model": str(folder.parents[1]), "log": str(log)}))
    (answer,) = model.predict([payment()])
    model.scorer.shadow.drain()
    line = json.loads(log.read_text())
    assert line["challenger"]["model_version"] == "card_fraud/7"
    assert line["challenger"]["fraud_probability"] == pytest.approx(answer["fraud_probability"])


def test_a_challenger_that_does_not_load_is_left_out(folder: Path, world: World, payment: Any, tmp_path: Path) -> None:
    shadow = {"model": str(tmp_path / "none"), "log": str(tmp_path / "log.jsonl")}
    model = loaded(folder, rules(world, shadow=shadow))
    assert model.scorer.shadow is None
    assert model.predict([payment()])[0]["fraud_probability"] is not None
