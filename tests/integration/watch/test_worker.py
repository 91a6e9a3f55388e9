"""A step as the warm process takes it: what its trigger says of it is what is done."""

import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

import builders
from integration.conftest import Registry, copied, events_of
from scoreline import Pipeline
from scoreline.config.loading import load_settings
from scoreline.config.settings import Settings
from scoreline.context import Context, step
from scoreline.errors import ConfigurationError
from scoreline.watch import worker
from scoreline.watch.journal import Ask
from scoreline.watch.process import Done, Order
from scoreline.watch.worker import _step
from watched import configured

pytest.importorskip("pysail")


def taken(settings: Settings, step: Any, *, ask: Ask | None = None) -> Done:
    assert settings.watch is not None
    done = _step(settings, Order(step, settings.watch.triggers[0], ask or Ask()))
    assert isinstance(done, Done)
    return done


@pytest.mark.parametrize("part", [{"fraction": 0.5}, {"budget": "20m"}], ids=["fraction", "budget"])
def test_a_run_takes_the_part_that_its_trigger_says(
    spark: SparkSession, registry: Registry, ingested: Path, tmp_path: Path, part: dict[str, Any]
) -> None:
    quarters = {"name": "quarters", "at": "0 */6 * * *", "steps": ["run"], **part}
    settings = load_settings(configured(tmp_path, registry, quarters))
    copied(ingested, tmp_path / "tables")

    done = taken(settings, "run")

    assert (done.state, done.version) == ("published", 1)
    assert "fresh" in done.said or "left" in done.said or "learn" in done.said  # not everybody was taken


@pytest.mark.spark
def test_the_session_has_what_the_trigger_says_while_its_steps_run(
    spark: SparkSession, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    few = {"spark.sql.shuffle.partitions": 3, "spark.sql.adaptive.enabled": False}
    app = {"name": "app", "at": "0 0 1 1 *", "steps": ["vacuum"], "spark": few}
    always = {"spark.sql.shuffle.partitions": 7, "spark.sql.autoBroadcastJoinThreshold": 1024}
    settings = load_settings(configured(tmp_path, registry, app, engine="spark", spark=always))
    (tmp_path / "tables").mkdir()
    keys = {**always, **few}
    before = {key: spark.conf.get(key) for key in keys}

    @step
    def looked(context: Context) -> dict[str, str | None]:
        return {key: context.spark.conf.get(key) for key in keys}

    monkeypatch.setattr(worker, "vacuum", looked)

    said = {"spark.sql.shuffle.partitions": "3", "spark.sql.adaptive.enabled": "false"}
    assert taken(settings, "vacuum").said == str({**before, "spark.sql.autoBroadcastJoinThreshold": "1024", **said})
    assert {key: spark.conf.get(key) for key in keys} == before


@pytest.mark.parametrize("engine", ["auto", "embedded"])
def test_what_a_trigger_says_of_spark_is_refused_where_there_may_be_none(
    registry: Registry, tmp_path: Path, engine: str
) -> None:
    app = {"name": "app", "at": "0 0 1 1 *", "steps": ["vacuum"], "spark": {"spark.sql.adaptive.enabled": False}}
    with pytest.raises(
        ConfigurationError, match=rf"app has settings of Spark, which need engine: spark; found {engine}"
    ):
        load_settings(configured(tmp_path, registry, app, engine=engine))


def test_a_signal_is_for_its_users_and_for_all_of_them_if_it_says_so(
    spark: SparkSession, registry: Registry, ingested: Path, tmp_path: Path
) -> None:
    app = {"name": "app", "signal": True, "steps": ["run"]}
    settings = load_settings(configured(tmp_path, registry, app))
    copied(ingested, tmp_path / "tables")

    published = taken(settings, "run", ask=Ask((1, 2, 99_999)))
    assert published.state == "published"
    assert "1 of them unknown" in str(published.asked)
    [logged] = Pipeline(settings).logged(str(published.run_id))
    assert logged.figures["trigger"] == "app"
    assert taken(settings, "run", ask=Ask((1, 2))).state == "nothing_due"
    assert taken(settings, "run", ask=Ask((1, 2), everyone=True)).version == 2


def test_what_a_step_computed_is_not_kept_when_it_has_ended(
    spark: SparkSession, registry: Registry, ingested: Path, tmp_path: Path
) -> None:
    """Or the warm process would hold more with each."""
    settings = load_settings(configured(tmp_path, registry, {"name": "app", "signal": True, "steps": ["run"]}))
    copied(ingested, tmp_path / "tables")

    assert taken(settings, "run").state == "published"

    assert kept(spark) == []


def kept(spark: SparkSession) -> list[Any]:
    """Queries of the embedded engine's server, running or not; data that Spark was told to keep."""
    if (client := getattr(spark, "client", None)) is not None and builders.ENGINE == "embedded":
        return list(client.interrupt_all())
    return list(spark.sparkContext._jsc.getPersistentRDDs())


def test_a_source_is_asked_for_its_news_and_says_whether_there_were_any(
    spark: SparkSession, registry: Registry, tmp_path: Path
) -> None:
    database = tmp_path / "app.db"
    with closing(sqlite3.connect(database)) as sql, sql:
        sql.execute("CREATE TABLE ratings (id INTEGER PRIMARY KEY, user, item, rating, at)")
        sql.executemany("INSERT INTO ratings (user, item, rating, at) VALUES (?, ?, ?, ?)", events_of())
    columns = {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}
    events = {"columns": columns, "weight_range": [0, 10], "source": f"sqlite:///{database}", "table": "ratings"}
    news = {"name": "events", "source": "events", "every": "5m", "steps": ["ingest", "run"]}
    said = configured(tmp_path, registry, news, events={**events, "mark": {"column": "id"}})
    settings = load_settings(said)
    assert settings.watch is not None
    assert settings.watch.triggers[0].every == timedelta(minutes=5)

    assert [taken(settings, "ingest").changed for _ in range(2)] == [True, False]
    with closing(sqlite3.connect(database)) as sql, sql:
        sql.execute(
            "INSERT INTO ratings (user, item, rating, at) SELECT user, item + 1, rating, at + 60 FROM ratings LIMIT 1"
        )
    assert taken(settings, "ingest").changed
