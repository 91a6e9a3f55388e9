import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from scoreline.errors import ConfigurationError, InputError
from scoreline.redaction import redacted
from scoreline.registry.client import quiet_mlflow
from scoreline.registry.promotion import promote
from scoreline_fraud.cli import authorize, serve
from scoreline_fraud.server.fetching import fetch_model, folder_sha256
from scoreline_fraud.server.server import Server
from scoreline_fraud.server.settings import ServingSettings, env_file, environment, load_settings
from scoreline_fraud.serving.rules import rules_of
from scoreline_fraud.serving.transactions import Transaction

ROOT = Path(__file__).parents[2]
SHIPPED = ROOT / "conf/serving/fraud.yaml"


def test_the_shipped_env_file_is_the_shipped_yaml() -> None:
    assert (ROOT / "conf/serving/fraud.env").read_text() == env_file(load_settings(SHIPPED))


def test_print_env_prints_it() -> None:
    found = CliRunner().invoke(serve, ["--config", str(SHIPPED), "--print-env"])
    assert found.output == (ROOT / "conf/serving/fraud.env").read_text()


def test_print_openapi_is_a_document_of_the_contract() -> None:
    document = json.loads(CliRunner().invoke(serve, ["--config", str(SHIPPED), "--print-openapi"]).output)
    request = document["paths"]["/invocations"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert request["properties"]["inputs"]["maxItems"] == load_settings(SHIPPED).rules.limits.max_rows
    assert set(request["properties"]["inputs"]["items"]["properties"]) == set(Transaction.model_fields)


def test_the_rules_reach_the_model_unchanged() -> None:
    settings = load_settings(SHIPPED)
    assert rules_of(json.loads(environment(settings)["SERVING_MODEL_CONFIG"])) == settings.rules


def test_one_openmp_thread_per_worker() -> None:
    assert environment(load_settings(SHIPPED))["OMP_NUM_THREADS"] == "1"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model: m\nservers: {}", r"servers: unknown key\. Did you mean server\?"),
        ("model: m\nserver: {port: 0}", r"server.port: Input should be greater than 0\. Found 0\."),
        ("model: m\nrules: {decisions: {bands: [{review: 0.9, deny: 0.1}]}}", r"rules.decisions.bands.0: .*above deny"),
        ("model: m\nrules: {decisions: {bands: [{deney: 1}]}}", r"bands.0.deney: unknown key\. Did you mean deny\?"),
        ("server: {}", r"model: this key is required and was not found"),
        ("- model", r"expected a mapping of keys at the top, found list"),
        ("model: [", r"line 1: not readable as YAML"),
        ("model: ${NOBODY_HAS_SET_THIS}", r"environment variable NOBODY_HAS_SET_THIS is not set"),
    ],
)
def test_a_wrong_setting_is_named(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "fraud.yaml").write_text(text)
    with pytest.raises(ConfigurationError, match=rf"fraud.yaml.*{message}"):
        load_settings(tmp_path / "fraud.yaml")


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none.yaml: no such configuration file"):
        load_settings(tmp_path / "none.yaml")


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "fraud.yaml").write_text("server: {port: 0, workers: many}\nclients: {}")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(tmp_path / "fraud.yaml")
    assert [line.split(": ")[1] for line in str(caught.value).splitlines()] == [
        "model", "server.port", "server.workers", "clients",
    ]  # fmt: skip


def test_the_environment_fills_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REGISTRY_PASSWORD", "hush-hush")
    (tmp_path / "fraud.yaml").write_text("model: m\ntracking_uri: https://app:${REGISTRY_PASSWORD}@registry")
    assert load_settings(tmp_path / "fraud.yaml").tracking_uri == "https://app:hush-hush@registry"
    assert "hush" not in redacted("asked https://app:hush-hush@registry")


def model_folder(path: Path, content: str = "kernel") -> Path:
    (path / "artifacts").mkdir(parents=True)
    (path / "MLmodel").write_text("model_id: m-1")
    (path / "artifacts" / "kernel").write_text(content)
    return path


def test_a_pinned_model_that_was_changed_is_not_loaded(tmp_path: Path) -> None:
    folder = model_folder(tmp_path / "model")
    digest = folder_sha256(folder)
    assert fetch_model(str(folder), into=tmp_path, tracking_uri=None, sha256=digest).folder == folder
    (folder / "artifacts" / "kernel").write_text("kernel!")
    with pytest.raises(InputError, match="the configuration pins"):
        fetch_model(str(folder), into=tmp_path, tracking_uri=None, sha256=digest)


def test_the_digest_tells_names_and_contents_apart(tmp_path: Path) -> None:
    folders = [model_folder(tmp_path / "a"), model_folder(tmp_path / "b", "other"), model_folder(tmp_path / "c")]
    (folders[2] / "artifacts" / "kernel").rename(folders[2] / "artifacts" / "kernels")
    assert len({folder_sha256(folder) for folder in folders}) == 3


@pytest.mark.parametrize("uri", ["runs:/1/model", "models:/", "models:/a@b@c"])
def test_a_model_address_of_another_kind_is_refused(tmp_path: Path, uri: str) -> None:
    with pytest.raises((ConfigurationError, InputError)):
        fetch_model(uri, into=tmp_path, tracking_uri=None)


def test_authorize_prints_a_decision_even_without_a_server(tmp_path: Path) -> None:
    payment = {
        "transaction_id": "t",
        "card_id": "c",
        "terminal_id": "m",
        "amount": 5,
        "occurred_at": "2026-03-10T12:00:00Z",
    }
    (tmp_path / "t.json").write_text(json.dumps(payment))
    url = "http://127.0.0.1:9/invocations"
    found = CliRunner().invoke(authorize, [str(tmp_path / "t.json"), "--config", str(SHIPPED), "--url", url])
    assert json.loads(found.stdout)["decision_source"] == "fallback"
    assert json.loads(found.stdout)["flagged"] is True


@pytest.mark.parametrize(("text", "message"), [("{", "is not JSON"), ("[1]", "holds a list")])
def test_authorize_says_what_is_wrong_with_its_file(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.json").write_text(text)
    found = CliRunner().invoke(authorize, [str(tmp_path / "t.json"), "--config", str(SHIPPED)])
    assert isinstance(found.exception, InputError)
    assert message in str(found.exception)


def registered(folder: Path, name: str) -> str:
    """A registry with version 1 of `card_fraud`, whose files say `name`; champion points to it."""
    import mlflow

    uri = f"sqlite:///{folder / name}.db"
    with quiet_mlflow():
        client = mlflow.MlflowClient(uri, uri)
        client.create_registered_model("card_fraud")
        client.create_model_version("card_fraud", str(model_folder(folder / f"model-{name}", name)))
        client.set_registered_model_alias("card_fraud", "champion", "1")
    return uri


def test_the_same_name_and_version_of_another_registry_is_another_model(tmp_path: Path) -> None:
    for name in ("one", "two"):
        uri = registered(tmp_path, name)
        got = fetch_model("models:/card_fraud@champion", into=tmp_path / "models", tracking_uri=uri)
        assert (got.folder / "artifacts" / "kernel").read_text() == name
        assert got.folder.is_relative_to(tmp_path / "models")


def test_what_was_recorded_at_promotion_is_compared_before_serving(tmp_path: Path) -> None:
    uri, name = registered(tmp_path, "one"), "models:/card_fraud@champion"
    with pytest.raises(InputError, match="has no recorded digest, and require_digest asks for one"):
        fetch_model(name, into=tmp_path / "first", tracking_uri=uri, require_digest=True)
    promote("card_fraud", "1", "champion", force=True, tracking_uri=uri, folder=tmp_path / "promoted")
    fetched = fetch_model(name, into=tmp_path / "first", tracking_uri=uri, require_digest=True)
    (fetched.folder / "sitecustomize.py").touch()
    with pytest.raises(InputError, match="is not the one that was promoted"):
        fetch_model(name, into=tmp_path / "first", tracking_uri=uri)
    (tmp_path / "model-one" / "artifacts" / "kernel").write_text("another")
    with pytest.raises(InputError, match="is not the one that was promoted"):
        fetch_model(name, into=tmp_path / "second", tracking_uri=uri)
    with pytest.raises(InputError, match="is not allowed here"):
        fetch_model(name, into=tmp_path / "first", tracking_uri=uri, allow=["models:/other@*"])


def test_the_guards_of_the_file_hold_for_the_challenger_too(tmp_path: Path) -> None:
    given = {
        "model": str(model_folder(tmp_path / "m")),
        "challenger": {"model": str(model_folder(tmp_path / "c", "other")), "log": str(tmp_path / "log")},
        "state_dir": str(tmp_path / "state"),
    }
    server = Server(ServingSettings.model_validate({**given, "allow": [given["model"]]}), {})
    with pytest.raises(InputError, match="is not allowed here"):
        server._environment()
    with pytest.raises(InputError, match="require_digest"):
        Server(ServingSettings.model_validate({**given, "require_digest": True}), {})._environment()
