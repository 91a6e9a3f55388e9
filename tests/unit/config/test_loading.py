from datetime import timedelta
from pathlib import Path

import pytest

from scoreline.config.loading import load_settings
from scoreline.errors import ConfigurationError

MINIMAL = """
name: films
tables: {root: data/films}
model: {uri: models:/films@champion}
"""


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "films.yaml"
    path.write_text(MINIMAL)
    return path


def test_the_smallest_file_has_working_defaults(conf: Path) -> None:
    settings = load_settings(conf)
    assert (settings.scoring.k, settings.keys.item_id, settings.experiment) == (20, "long", "films")
    assert settings.tracking_uri.startswith("sqlite:///")


def test_set_changes_one_key(conf: Path) -> None:
    settings = load_settings(conf, ["scoring.k=50", "scoring.max_age=36h", "spark.sql.shuffle.partitions=4"])
    assert settings.scoring.k == 50
    assert settings.scoring.max_age == timedelta(hours=36)
    assert settings.spark == {"spark.sql.shuffle.partitions": 4}


def test_environment_fills_in_secrets(conf: Path) -> None:
    conf.write_text(MINIMAL + "export: {url: 'postgresql://app:${DB_PASSWORD}@db/app'}\n")
    settings = load_settings(conf, environment={"DB_PASSWORD": "hush"})
    assert settings.export is not None
    assert "hush" in settings.export.url.get_secret_value()
    assert "hush" not in repr(settings)


def test_default_of_an_environment_variable(conf: Path) -> None:
    settings = load_settings(conf, ["tables.root=${TABLES:-/srv/tables}"], environment={})
    assert settings.tables.root == "/srv/tables"


@pytest.mark.parametrize(
    ("addition", "message"),
    [
        ("scorring: {k: 3}", "scorring: unknown key. Did you mean scoring?"),
        ("scoring: {kk: 3}", "scoring.kk: unknown key. Did you mean k?"),
        ("scoring: {k: many}", r"scoring\.k: expected a whole number\. Found 'many'"),
        ("scoring: {exclude_seen: perhaps}", r"exclude_seen: expected true or false\. Found 'perhaps'"),
        ("audit: {max_failed_share: x}", r"max_failed_share: expected a number\. Found 'x'"),
        (
            "model: {train: {estimator: als}}",
            r"estimator: expected 'item_neighbours', .* or '\w+'\. Found 'als'",
        ),
        ("scoring: 3", r"scoring: expected a section with keys of its own\. Found 3"),
        ("tables: {root: ${ROOT}}", r'line 5: not readable as YAML: .* in quotes: \{root: "\$\{ROOT\}"\}\.'),
        ("scoring: {k: 0}", "scoring.k: .*greater than or equal to 1"),
        ("scoring: {max_age: 3}", "scoring.max_age: a duration is a whole number and a unit"),
        ("keys: {user_id: int}", r"keys\.user_id: expected 'long' or 'string'\. Found 'int'"),
        ("export: {url: '${MISSING}'}", "environment variable MISSING is not set"),
        ("tables: {root: a, catalog: b.c}", "tables: give either root .* or catalog"),
        ("spark: {shuffle: 3}", "keys of spark start with 'spark.'"),
        ("events: {columns: {user_id: u, item_id: i}}", "events.columns.time: this key is required"),
        ("- a\n- b", "not readable as YAML"),
        ("name: [unclosed", "not readable as YAML"),
    ],
)
def test_a_mistake_is_one_line_with_file_and_key(conf: Path, addition: str, message: str) -> None:
    conf.write_text(MINIMAL + addition + "\n")
    with pytest.raises(ConfigurationError, match=message) as caught:
        load_settings(conf, environment={})
    assert str(caught.value).startswith(str(conf))


def test_a_missing_file_names_those_there_are(conf: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no such configuration file.*films\.yaml"):
        load_settings(conf.with_name("movies.yaml"))


def test_a_password_is_not_repeated_in_an_error(conf: Path) -> None:
    conf.write_text(MINIMAL + "model: {uri: 'postgresql://app:hush@db'}\nkeys: {user_id: 'x://app:hush@db'}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(conf)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("override", ["scoring.k", "=3", "name.first=x"])
def test_an_override_that_makes_no_sense_is_refused(conf: Path, override: str) -> None:
    with pytest.raises(ConfigurationError, match="--set"):
        load_settings(conf, [override])


def test_the_shipped_configurations_are_valid() -> None:
    files = sorted((Path(__file__).parents[3] / "conf").glob("*.yaml"))
    assert [load_settings(f).name for f in files] == [f.stem for f in files]


def test_a_folder_is_one_place_however_it_is_spelled(tmp_path: Path) -> None:
    from builders import settings

    spellings = (str(tmp_path), f"{tmp_path}/", f"file://{tmp_path}", f"file:{tmp_path}")
    assert {settings(root).home for root in spellings} == {tmp_path}
    assert settings("s3://bucket/tables").home != tmp_path
