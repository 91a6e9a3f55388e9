"""Secrets by reference only, and nowhere in what people read."""

import logging
from pathlib import Path

import pytest

from scoreline.configuration import load_settings
from scoreline.errors import ConfigurationError
from scoreline.redaction import Redacted, redacted

MINIMAL = "name: films\ntables: {root: data}\nmodel: {uri: 'models:/films@champion'}\n"


@pytest.mark.parametrize(
    "line",
    [
        "export: {url: 'postgresql://app:hushhush@db/x'}\n",
        "mlflow: {tracking_uri: 'https://me:hushhush@mlflow.example'}\n",
        "spark: {spark.hadoop.fs.s3a.secret.key: hushhush}\n",
        "spark: {spark.authenticate.secret: hushhush}\n",
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_shown(line: str, tmp_path: Path) -> None:
    conf = tmp_path / "c.yaml"
    conf.write_text(MINIMAL + line)
    with pytest.raises(ConfigurationError, match="a secret stands in the file") as caught:
        load_settings(conf)
    assert "hush" not in str(caught.value)


def test_a_secret_by_reference_is_never_shown_again(tmp_path: Path) -> None:
    conf = tmp_path / "c.yaml"
    conf.write_text(MINIMAL + "export: {url: 'postgresql://app:${DB_PASSWORD}@db/x'}\n")
    settings = load_settings(conf, environment={"DB_PASSWORD": "corr/ect horse"})
    assert settings.export is not None
    assert "horse" not in repr(settings)
    assert redacted("FATAL: password corr/ect horse was wrong") == "FATAL: password *** was wrong"
    record = logging.LogRecord("x", logging.WARNING, "f", 1, "said %s", ("corr/ect horse",), None)
    assert Redacted("%(message)s").format(record) == "said ***"


@pytest.mark.parametrize(
    "text",
    [
        "postgresql+psycopg://app:hushhush@db:5432/x",
        "jdbc:postgresql://db/x?user=app&password=hushhush",
        "spark.hadoop.fs.s3a.secret.key=hushhush",
        "{'api_key': 'hushhush'}",
        "https://token:hushhush@host/path",
    ],
)
def test_what_looks_like_a_secret_is_hidden(text: str) -> None:
    assert "hush" not in redacted(text)


@pytest.mark.parametrize(
    "text",
    [
        "hdfs://host:8020/user@x",
        "models:/movies@champion",
        "max_failed_share = 0.1",
        "12:30:01 UTC",
        "keys.user_id: long",
    ],
)
def test_what_is_none_is_left_alone(text: str) -> None:
    assert redacted(text) == text
