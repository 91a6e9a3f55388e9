"""What a person who starts jobs may change, and that nothing reaches around it."""

from pathlib import Path

import pytest

from scoreline.config.loading import load_settings
from scoreline.config.overrides import ALWAYS, UNGUARDED
from scoreline.errors import ConfigurationError
from scoreline.registry.client import quiet_mlflow
from scoreline.registry.versions import pin

OPEN = "name: t\ntables: {root: data}\nmodel: {uri: 'models:/films@champion'%s}\n"
GUARDS = [", allow: ['models:/films@*']", ", require_digest: true", f", sha256: {'a' * 64}"]

NEVER = [
    "model.allow=['*']", "model.require_digest=false", "model.sha256=null", "model.allow.x=1", "model={uri: x}",
    "model .allow=['*']", "model. allow=['*']", "model.allow .x=1", "model..allow=1", "model=null", "name=x",
    "scoring={k: 3}", "audit=null", "spark={}", "spark.spark.python.daemon.module=evil", "spark.pyspark.python=evil",
    "spark.python.daemon.module=evil", "spark.driver.extraJavaOptions=-javaagent:evil.jar", "spark.jars=evil.jar",
    "spark.driver.extraClassPath=evil.jar", "spark.jars.packages=evil:evil:1", "spark.plugins=Evil",
    "spark.submit.pyFiles=evil.py", "spark.executorEnv.PYTHONPATH=evil", "spark.sql.extensions=Evil",
    "spark.hadoop.fs.s3a.endpoint=http://evil", "spark.sql.adaptive.customCostEvaluatorClass=Evil",
    "spark.executor.extraJavaOptions=x", "spark.remote=sc://evil", "spark.yarn.appMasterEnv.PYSPARK_PYTHON=evil",
    "unknown.key=1", "spark .jars=x", "SPARK.JARS=x", "__class__=x",
]  # fmt: skip
PLACES = [
    "mlflow.registry_uri='sqlite:///evil.db'", "mlflow.tracking_uri='sqlite:///evil.db'", "model.folder=evil",
    "model.shared=true", "tables.root=evil", "tables.catalog=a.b", "export.url='sqlite:///evil.db'", "export=null",
    "input={path: x, key: y}", "scoring.allowed_items=evil.csv", "events.query=SELECT 1", "mlflow.experiment=x",
    "histories.buckets=9", "keys.user_id=string", "spark.master='spark://evil:7077'",
]  # fmt: skip
FREE = [
    "model.uri='models:/films@other'", "scoring.k=50", "scoring.max_age=36h", "scoring.params.depth=3",
    "audit.min_users_share=0", "audit.warn=[max_empty_share]",
    "model.train.estimator=popularity", "model.train.params={}",
    "spark.sql.shuffle.partitions=4", "spark.executor.memory=8g", " scoring.slice_users =5",
]  # fmt: skip


def loaded(tmp_path: Path, guard: str, override: str) -> None:
    conf = tmp_path / "t.yaml"
    conf.write_text(OPEN % guard)
    load_settings(conf, [override])


@pytest.mark.parametrize("override", NEVER)
def test_what_is_not_listed_is_changed_in_the_file_only(override: str, tmp_path: Path) -> None:
    for guard in ("", *GUARDS):
        with pytest.raises(ConfigurationError, match=r"changed in the file only\. --set may change: scoring\.\*"):
            loaded(tmp_path, guard, override)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("scorng.k=3", "--set scorng.k: there is no such key. Did you mean scoring.k?"),
        ("audits.min_users=3", "--set audits.min_users: there is no such key. Did you mean audit.min_users_share?"),
        ("scoring.k", "--set scoring.k: expected key=value, such as scoring.k=50."),
        ("=50", "--set : expected key=value, such as scoring.k=50."),
        ("scoring.k={", "--set scoring.k: the value is not readable as YAML."),
        ("scoring.max_age=2026-13-45", "--set scoring.max_age: the value is not readable as YAML."),
        (f"scoring.params.x={'[' * 5_000}", "--set scoring.params.x: the value is not readable as YAML."),
    ],
)
def test_what_is_no_key_and_value_is_said(override: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        loaded(tmp_path, "", override)
    assert str(caught.value).endswith(message)


def test_a_message_lists_the_places_where_the_file_leaves_them_open(tmp_path: Path) -> None:
    said = []
    for guard in ("", GUARDS[0]):
        with pytest.raises(ConfigurationError) as caught:
            loaded(tmp_path, guard, "name=x")
        said.append(f"{', '.join(ALWAYS)}, {', '.join(UNGUARDED)}." in str(caught.value))
    assert said == [True, False]


@pytest.mark.parametrize("override", PLACES)
def test_places_are_locked_where_the_file_guards_its_model(override: str, tmp_path: Path) -> None:
    for guard in (*GUARDS, ", require_digest: '${GUARDED:-true}'"):
        with pytest.raises(ConfigurationError, match="where things are is changed in the file only"):
            loaded(tmp_path, guard, override)


@pytest.mark.parametrize("override", FREE)
def test_what_a_run_asks_for_is_free(override: str, tmp_path: Path) -> None:
    for guard in ("", *GUARDS):
        loaded(tmp_path, guard, override)


def test_without_a_guard_places_are_free(tmp_path: Path) -> None:
    conf = tmp_path / "t.yaml"
    conf.write_text(OPEN % "")
    made = load_settings(conf, ["tables.root=elsewhere", "mlflow.tracking_uri='sqlite:///x.db'"])
    assert (made.tables.root, made.tracking_uri) == ("elsewhere", "sqlite:///x.db")


def test_every_listed_key_is_in_the_page_on_threats() -> None:
    page = (Path(__file__).parents[3] / "docs" / "threats.md").read_text(encoding="utf-8")
    assert [key for key in (*ALWAYS, *UNGUARDED) if f"`{key}`" not in page] == []


def test_mlflow_in_the_environment_does_not_replace_the_registry_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    uris = {name: f"sqlite:///{tmp_path / name}.db" for name in ("ours", "evil")}
    with quiet_mlflow():
        for name, uri in uris.items():
            client = mlflow.MlflowClient(uri, uri)
            client.create_registered_model("films")
            client.create_model_version("films", str(tmp_path / name))
    for variable in ("MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_URI"):
        monkeypatch.setenv(variable, uris["evil"])
    assert pin("models:/films/1", tracking_uri=uris["ours"]).identity.split()[1] == str(tmp_path / "ours")
