"""Secrets by reference only, and nowhere in what people read."""

import json
import logging
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote, unquote_plus

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scoreline import redaction
from scoreline.config.loading import load_settings, require_references
from scoreline.errors import ConfigurationError
from scoreline.redaction import HIDDEN, Redacted, redacted, remember_in, without_credentials


@pytest.fixture(autouse=True)
def _nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "_known", set())


MINIMAL = "name: films\ntables: {root: data}\nmodel: {uri: 'models:/films@champion'}\n"


@pytest.mark.parametrize(
    "line",
    [
        "export: {url: 'postgresql://app:hushhush@db/x'}\n",
        "mlflow: {tracking_uri: 'https://me:hushhush@mlflow.example'}\n",
        "spark: {spark.hadoop.fs.s3a.secret.key: hushhush}\n",
        "spark: {spark.authenticate.secret: hushhush}\n",
        "events: {kafka: {ssl.key.password: hushhush}}\n",
        'events: {kafka: {sasl.jaas.config: \'PlainLoginModule required username="u" password="hushhush";\'}}\n',
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_shown(line: str, tmp_path: Path) -> None:
    conf = tmp_path / "c.yaml"
    conf.write_text(MINIMAL + line)
    with pytest.raises(ConfigurationError, match="a secret stands in the file") as caught:
        load_settings(conf)
    assert "hush" not in str(caught.value)


def test_a_password_among_the_options_of_kafka_comes_by_reference(tmp_path: Path) -> None:
    conf = tmp_path / "c.yaml"
    given = "events: {source: 'kafka://h:9092/t', format: json, columns: {user_id: u, item_id: i, time: t}, kafka: {"
    conf.write_text(MINIMAL + given + 'sasl.jaas.config: \'x username="u" password="${KAFKA_PASSWORD}";\'}}\n')
    made = load_settings(conf, environment={"KAFKA_PASSWORD": "correcthorse"})
    assert made.events is not None
    assert made.events.kafka["sasl.jaas.config"].get_secret_value() == 'x username="u" password="correcthorse";'
    assert "horse" not in repr(made) + redacted("login of u with correcthorse failed")


def test_a_secret_by_reference_is_never_shown_again(tmp_path: Path) -> None:
    conf = tmp_path / "c.yaml"
    conf.write_text(MINIMAL + "export: {url: 'postgresql://app:${DB_PASSWORD}@db/x'}\n")
    made = load_settings(conf, environment={"DB_PASSWORD": "corr/ect horse"})
    assert made.export is not None
    assert "horse" not in repr(made)
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


# what is written as it is, and what has to be encoded or quoted where it stands
RAW = st.text("abcXYZ0189/+@:%#!~*()$|.-_", min_size=6, max_size=20).map(lambda text: f"zq{text}qz")
ANY = st.text("abcXYZ0189/+@:%#!~*()$|.-_?&=;,'\"\\ é", min_size=6, max_size=20).map(lambda text: f"zq{text}qz")


def leaks(secret: str, text: str) -> bool:
    """Whether a piece of the secret that nobody would guess is there, in any writing."""
    pieces = {secret[i : i + 6] for i in range(len(secret) - 5)}
    return any(piece in written for piece in pieces for written in (text, unquote(text), unquote_plus(text)))


def shapes(raw: str, anything: str) -> dict[str, tuple[str, str]]:
    """Every way in which a secret that nobody has remembered may stand in a text."""
    encoded, quoted = quote(anything, safe=""), anything.replace("\\", "\\\\")
    single, double = quoted.replace("'", "\\'"), quoted.replace('"', '\\"')
    return {
        "url": (raw, f"cannot reach postgresql+psycopg://app:{raw}@db.example:5432/shop, try later"),
        "url in quotes": (raw, f"OSError('mysql://app:{raw}@db/shop')"),
        "url, encoded": (anything, f"https://app:{encoded}@mlflow.example/api"),
        "url and query": (anything, f"postgresql://db/shop?user=app&password={encoded}&sslmode=require"),
        "jdbc": (anything, f"jdbc:postgresql://db:5432/shop?user=app&password={encoded}"),
        "jdbc, semicolons": (raw, f"jdbc:sqlserver://db:1433;user=app;password={raw};database=shop"),
        "jdbc, oracle": (raw, f"jdbc:oracle:thin:app/{raw}@//db:1521/shop"),
        "dsn": (raw, f"connection failed: host=db user=app password={raw} dbname=shop"),
        "dsn, quoted": (anything, f"host=db password='{single}' dbname=shop"),
        "json": (anything, f'{{"user": "app", "password": "{double}"}}'),
        "setting": (raw, f"spark.hadoop.fs.s3a.secret.key={raw}"),
        "bearer": (raw, f"Authorization: Bearer {raw}"),
        "basic": (raw, f"{{'Authorization': 'Basic {raw}'}}"),
        "header": (raw, f"X-Api-Key: {raw}"),
        "signed": (anything, f"https://store/x?sv=1&sig={encoded}&se=2"),
        "token for a user": (raw.replace("@", "").replace("/", "").replace(":", ""), "https://{}@git.example/x"),
    }


@given(RAW, ANY)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_a_secret_of_any_shape_is_hidden_though_nobody_remembered_it(raw: str, anything: str) -> None:
    for kind, (secret, text) in shapes(raw, anything).items():
        shown = redacted(text.format(secret) if "{}" in text else text)
        assert not leaks(secret, shown), (kind, text, shown)
        assert HIDDEN in shown, kind


@given(ANY)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150, deadline=None)
def test_a_secret_that_was_configured_is_hidden_in_every_writing(secret: str) -> None:
    url = f"postgresql://app:{quote(secret, safe='')}@db/shop"
    assert without_credentials(url) == "postgresql://db/shop"
    shown = sa.make_url(url)
    said = [
        f"FATAL: {secret} was wrong", f"FATAL: {secret!r} was wrong", json.dumps({"why": f"({secret})"}),
        shown.render_as_string(hide_password=False), quote_plus(secret), f"{shown.password}",
    ]  # fmt: skip
    for text in said:
        assert not leaks(secret, redacted(text)), (text, redacted(text))


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("postgresql://db/shop?sslmode=require", "postgresql://db/shop"),
        ("postgresql://app@db:5432/shop", "postgresql://db:5432/shop"),
        ("postgresql://db/shop?note=a@b", "postgresql://db/shop"),
        ("postgresql://app:one@two?three@db/shop", "postgresql://***"),
        ("s3a://key:secret@bucket/events", "s3a://bucket/events"),
        ("https://host:8443/events?token=abcdef", "https://host:8443/events"),
        ("jdbc:postgresql://db/shop?user=app&password=hush", "jdbc:postgresql://db/shop"),
        ("jdbc:oracle:thin:scott/tiger@//db:1521/shop", "jdbc:oracle:thin:@//db:1521/shop"),
        ("jdbc:sqlserver://db:1433;user=app;password=hush", "jdbc:sqlserver://db:1433"),
        ("jdbc:h2:mem?user=app", "jdbc:h2:mem"),
        ("data/what?.csv", "data/what?.csv"),  # a file's name is no URL
    ],
)
def test_a_source_is_named_by_all_but_who_asks_and_how(url: str, name: str) -> None:
    assert without_credentials(url) == name


@given(RAW)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=100, deadline=None)
def test_the_name_of_a_source_has_nothing_of_its_password(secret: str) -> None:
    for url in (
        f"postgresql://app:{secret}@db/shop",
        f"jdbc:oracle:thin:app/{secret}@//db:1521/shop",
        f"jdbc:postgresql://db/shop?user=app&password={quote(secret)}",
        f"jdbc:sqlserver://db;user=app;password={secret}",
    ):
        assert not leaks(secret, without_credentials(url)), url
        # what is behind the first @ is a host to the driver, and told as one
        rest = url.rpartition("?")[2].partition("@")[2].rpartition("@")[0]
        assert not leaks(secret, redacted(f"could not translate host name {rest!r}")), url


@given(RAW)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
def test_a_literal_secret_of_any_shape_is_refused_and_a_reference_is_not(secret: str) -> None:
    tree = {
        "export": ["postgresql://app:{}@db/x", "postgresql://app:{}@${{HOST}}/x", "postgresql://db/x?password={}"],
        "mlflow": ["https://me:{}@mlflow.example", "https://me:${{PW:-{}}}@mlflow.example"],
        "spark": ["-Djavax.net.ssl.trustStorePassword={}"],
    }
    for section, texts in tree.items():
        for text in texts:
            with pytest.raises(ConfigurationError, match="a secret stands in the file") as caught:
                require_references({section: {"x": [text.format(secret)]}}, "f")
            assert not leaks(secret, str(caught.value))
            require_references({section: {"x": text.format("${SECRET}").replace("${PW:-${SECRET}}", "${PW}")}}, "f")


@pytest.mark.parametrize(
    ("section", "text"),
    [
        ("events", "SELECT token = 'x' AS a FROM t"),
        ("events", "https://host/a/token=1/x"),
        ("tables", "hdfs://host:8020/user@x"),
        ("tables", "/data/token=1/x"),
        ("export", "postgresql://app:${DB_PASSWORD}@db:5432/shop?user=x&password=${DB_PASSWORD}"),
        ("spark", "org.apache.hadoop.fs.s3a.TemporaryAWSCredentialsProvider"),
    ],
)
def test_what_is_no_secret_is_no_reason_to_refuse_a_file(section: str, text: str) -> None:
    key = "spark.hadoop.fs.s3a.aws.credentials.provider" if section == "spark" else "x"
    require_references({section: {key: text}}, "f")


def test_a_whole_url_from_the_environment_is_remembered(tmp_path: Path) -> None:
    conf = tmp_path / "c.yaml"
    conf.write_text(MINIMAL + "export: {url: '${WHERE}'}\nkeys: {user_id: '${WHERE}'}\n")
    with pytest.raises(ConfigurationError) as caught:
        load_settings(conf, environment={"WHERE": "postgresql://app:zq/whole%40one@db/x"})
    assert str(caught.value).endswith("Found a URL (not shown).")
    assert redacted("password zq/whole@one is wrong") == "password *** is wrong"


def test_a_password_that_is_a_word_does_not_hide_parts_of_others() -> None:
    remember_in("postgresql://postgres:postgres@db/shop")
    assert redacted("postgresql://db/shop: role 'postgres' is missing") == "postgresql://db/shop: role '***' is missing"
