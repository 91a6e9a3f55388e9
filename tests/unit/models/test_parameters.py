"""What an estimator is told is checked: by the configuration before anything starts, and by `fit`."""

import inspect
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import yaml

from scoreline.cli import main as cli
from scoreline.config.loading import load_settings
from scoreline.config.model import EstimatorName
from scoreline.errors import ConfigurationError, InputError
from scoreline.models.artifacts import ESTIMATORS
from scoreline.models.estimator import Estimator
from scoreline.models.item_neighbours import ItemNeighbours
from scoreline.models.latent_factors import LatentFactors
from scoreline.models.parameters import as_text, described
from scoreline.training.experiment import make_estimator
from unit.models.fitted import matrix

DOCS = Path(__file__).parents[3] / "docs" / "models.md"
WRONG = [
    ("item_neighbours", "neighbours", "0", "expected whole number, 1 to 10000. Found 0."),
    ("item_neighbours", "neighbours", "100.0", "expected whole number, 1 to 10000. Found 100.0."),
    ("item_neighbours", "neighbours", "true", "expected whole number, 1 to 10000. Found True."),
    ("item_neighbours", "shrinkage", "-5", "expected number, 0 to 1000000000. Found -5."),
    ("item_neighbours", "shrinkage", ".nan", "expected number, 0 to 1000000000. Found nan."),
    ("item_neighbours", "history_half_life", "0", "expected number, 0.01 to 1000000000, or null. Found 0."),
    ("item_neighbours", "weighting", "bynary", "expected one of binary, linear, log. Found 'bynary'."),
    ("item_neighbours", "popularity_exponent", "'0,3'", "expected number, 0 to 1. Found '0,3'."),
    ("item_neighbours", "neighbour", "3", "unknown parameter of item_neighbours; did you mean neighbours?"),
    ("latent_factors", "factors", "0", "expected whole number, 1 to 4096. Found 0."),
    ("latent_factors", "factors", "'64'", "expected whole number, 1 to 4096. Found '64'."),
    ("popularity", "k", "3", "unknown parameter of popularity; it has none"),
]


def configured(folder: Path, estimator: str, **params: str) -> Path:
    file = folder / "films.yaml"
    lines = [f"name: films\ntables: {{root: {folder}}}\nmodel:\n  uri: models:/films@champion\n  train:"]
    lines += [f"    estimator: {estimator}", "    params:", *(f"      {key}: {text}" for key, text in params.items())]
    file.write_text("\n".join(lines))
    return file


@pytest.mark.parametrize(("estimator", "name", "text", "said"), WRONG)
def test_a_wrong_parameter_is_named_when_the_configuration_is_read(
    estimator: str, name: str, text: str, said: str, tmp_path: Path
) -> None:
    file = configured(tmp_path, estimator, **{name: text})
    with pytest.raises(ConfigurationError) as refused:
        load_settings(file)
    assert str(refused.value) == f"{file}: model.train.params.{name}: {said}"


@pytest.mark.parametrize(("estimator", "name", "text", "said"), WRONG)
def test_the_same_parameter_is_refused_where_an_estimator_is_made(
    estimator: str, name: str, text: str, said: str
) -> None:
    given = {name: yaml.safe_load(text)}
    with pytest.raises(InputError, match=f"^{estimator}"):
        make_estimator(estimator, given)
    kind = ESTIMATORS[estimator]
    if name in kind().get_params():
        with pytest.raises(InputError) as refused:
            kind(**given).fit(matrix())
        assert str(refused.value) == f"{estimator}: {name} is {given[name]!r}, {said.partition('. Found')[0]}"


def test_null_switches_recency_off_and_a_number_of_yaml_1_2_is_one(tmp_path: Path) -> None:
    given = {"history_half_life": "null", "shrinkage": "1e3", "half_life_days": "2E+2", "neighbours": "7"}
    params = load_settings(configured(tmp_path, "item_neighbours", **given)).model.train.params
    assert params == {"history_half_life": None, "shrinkage": 1000.0, "half_life_days": 200.0, "neighbours": 7}
    assert isinstance(params["neighbours"], int)


def test_numbers_of_numpy_are_numbers() -> None:
    ItemNeighbours(neighbours=np.int64(3), shrinkage=np.float32(2)).fit(matrix())
    with pytest.raises(InputError, match="factors is 0, expected whole number"):
        LatentFactors(factors=int(np.int64(0))).fit(matrix())


@pytest.mark.parametrize("kind", ESTIMATORS.values())
def test_schema_and_constructor_agree(kind: type[Estimator]) -> None:
    constructor = {name: given.default for name, given in inspect.signature(kind).parameters.items()}
    assert constructor == kind.parameters().model_dump()
    assert all(field.description for field in kind.parameters.model_fields.values())


@pytest.mark.parametrize("name", get_args(EstimatorName))
def test_docs_list_the_estimator_and_its_parameters(name: str) -> None:
    docs, parameters = DOCS.read_text(encoding="utf-8"), ESTIMATORS[name].parameters
    assert f"| `{name}` | " in docs
    rows = [f"| `{row.name}` | {row.expected} | {row.default} | {row.meaning} |" for row in described(parameters)]
    head = [f"| parameter of `{name}` | may be | default | meaning |", "| --- | --- | --- | --- |"]
    assert not rows or "\n".join([*head, *rows]) in docs


def test_help_lists_the_parameters_without_a_configuration(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SCORELINE_CONFIG", raising=False)
    cli.entry(["train", "--help-estimator", "item_neighbours"])
    printed = capsys.readouterr().out
    assert printed == as_text("item_neighbours", ItemNeighbours.parameters) + "\n"
    assert "  neighbours: whole number, 1 to 10000; default 100\n      how many are kept per item" in printed
