"""`scoreline watch` as a user starts it: triggers from an empty folder to the application's rows."""

import json
import signal
import time
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import mlflow
import psutil
import pytest
from mlflow.webhooks.delivery import _generate_hmac_signature
from pyspark.sql import SparkSession

import builders
from builders import write_events
from integration.conftest import Registry, copied, events_of
from quick import QUICK
from scoreline.config.loading import load_settings
from scoreline.config.watch import TriggerSettings
from scoreline.context import Context
from scoreline.export.export import export
from scoreline.ingest.new import ingest_new
from scoreline.pipeline.run import run
from scoreline.registry.client import quiet_mlflow
from scoreline.watch.journal import Journal
from scoreline.watch.watching import planned, watch
from watched import APP, INCOMING, all_rows, configured, made_by, watching

pytest.importorskip("pysail")
pytest.importorskip("cronsim")


@pytest.fixture(scope="module")
def expected(spark: SparkSession, registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the three commands make of the events: both tables, and the application's."""
    root = tmp_path_factory.mktemp("commands")
    made = made_by(spark, configured(root, registry, APP), root)
    write_events(root / "incoming" / "1.csv", events_of())
    ingest_new(made, str(root / "incoming"))
    run(made)
    export(made)
    return lists(made, root)


def lists(made: Context, root: Path) -> dict[str, Any]:
    """But for the files: the suite's other tables have their events from another place."""
    return {name: rows for name, rows in all_rows(made, root).items() if name != "ingested_files"}


def once(config: Path) -> str:
    """What `watch --once` says, which ends well."""
    with watching(config, "--once") as watch:
        assert watch.process.wait(60) == 0, watch.said + watch.errors.read_text()
        assert watch.errors.read_text() == ""
        return watch.said


def runs(spark: SparkSession, config: Path, kind: str = "run") -> list[str]:
    table = made_by(spark, config, config.parent).tables.table("runs")
    return sorted(row["state"] for row in table.read().where(f"kind = '{kind}'").select("state").collect())


def test_a_new_file_becomes_lists_in_the_applications_database(
    spark: SparkSession, registry: Registry, tmp_path: Path, expected: dict[str, Any]
) -> None:
    config = configured(tmp_path, registry, INCOMING)
    write_events(tmp_path / "incoming" / "1.csv", events_of())

    assert "incoming: new or changed files" in once(config)
    assert lists(made_by(spark, config, tmp_path), tmp_path) == expected
    assert "begins" not in once(config)  # nothing is new


def test_a_new_version_of_a_table_another_version_of_the_model_and_a_time_start_steps(
    spark: SparkSession, registry: Registry, ingested: Path, tmp_path: Path, expected: dict[str, Any]
) -> None:
    """By the table the lists are made, by the alias those of version 2, by the time they are sent."""
    client = _aliased(registry, 1)
    table = {"name": "histories", "table": "user_history", "steps": ["run"]}
    alias = {"name": "model", "model": "alias", "steps": ["run"]}
    came = datetime.now(UTC) - timedelta(minutes=5)
    nightly = {"name": "nightly", "at": f"{came:%M %H} * * *", "steps": ["export"]}
    model = {"uri": "models:/films@fired", "folder": str(registry.folder)}
    config = configured(tmp_path, registry, nightly, table, alias, model=model)
    copied(ingested, tmp_path / "tables")

    assert "histories: begins run" in once(config)
    assert runs(spark, config) == ["nothing_due", "published"]
    assert not (tmp_path / "serving.db").exists()  # the time of a new trigger is still to come
    with closing(Journal(tmp_path / "tables" / "watch.db")) as journal:  # as if it had looked last some minutes ago
        journal.set_mark("nightly", (came - timedelta(minutes=5)).isoformat())
    client.set_registered_model_alias("films", "fired", "2")
    said = once(config)
    begun = [line.split()[2] for line in said.splitlines() if " begins " in line]
    assert begun == ["nightly:", "model:"]
    assert "nightly: its time has come, was missed at" in said
    assert "model: the model is films 2" in said
    assert runs(spark, config) == ["nothing_due", "published", "published"]
    now = lists(made_by(spark, config, tmp_path), tmp_path)
    assert (now["exported"], now["user_history"]) == (expected["exported"], expected["user_history"])
    assert now["recommendations"] != expected["recommendations"]  # they are of version 2


def _aliased(registry: Registry, version: int) -> Any:
    with quiet_mlflow():
        client = mlflow.MlflowClient(registry.uri, registry.uri)
        client.set_registered_model_alias("films", "fired", str(version))
    return client


@pytest.mark.both
@pytest.mark.long
def test_signals_within_the_debounce_are_one_run_and_a_worker_that_loses_its_engine_is_replaced(
    spark: SparkSession, registry: Registry, ingested: Path, tmp_path: Path, expected: dict[str, Any]
) -> None:
    """The engine is the JVM on Spark, and the worker's own process without."""
    app = {**APP, "debounce": "1s"}
    given = {"engine": builders.ENGINE, **({"spark": QUICK} if builders.ENGINE == "spark" else {})}
    config = configured(tmp_path, registry, app, **given)
    copied(ingested, tmp_path / "tables")
    with watching(config) as watch:
        asked = [watch.asked(user) for user in range(1, 21)]
        ends = [watch.answered(one, seconds=120) for one in asked]
        assert {end["state"] for end in ends} == {"published"}
        assert len({end["run_id"] for end in ends}) == 1

        worker = watch.worker
        assert worker is not None
        engine = [child for child in worker.children(recursive=True) if child.name() == "java"] or [worker]
        assert (engine[0] is worker) == (builders.ENGINE == "embedded")
        engine[0].kill()
        psutil.wait_procs(engine, timeout=10)
        end = watch.answered(watch.asked(), seconds=120)
        assert (end["state"], watch.worker != worker) == ("published", True)
        assert watch.end() == 0
        if builders.ENGINE == "embedded":  # PySpark prints the end of its sockets when a JVM is killed
            assert watch.errors.read_text() == ""
    assert lists(made_by(spark, config, tmp_path), tmp_path) == expected


def test_a_webhook_that_mlflow_has_signed_starts_a_chain_and_no_other_does(
    spark: SparkSession, registry: Registry, ingested: Path, tmp_path: Path
) -> None:
    secret, body = "a webhook's secret", json.dumps({"entity": "model_version_alias", "action": "created"})
    hook = {"name": "registry", "webhook": secret, "debounce": "0s", "steps": ["run"]}
    config = configured(tmp_path, registry, hook)
    copied(ingested, tmp_path / "tables")

    def delivered(signed_by: str) -> tuple[int, Any]:
        at = str(int(time.time()))
        signature = _generate_hmac_signature(signed_by, "d1", at, body)
        named = {"x-mlflow-signature": signature, "x-mlflow-delivery-id": "d1", "x-mlflow-timestamp": at}
        return watch.ask("/webhooks/registry", body.encode(), **named)

    with watching(config) as watch:
        watch.until(lambda: watch.ask("/healthz")[0])
        assert delivered("another secret")[0] == 401
        status, answer = delivered(secret)
        assert (status, watch.answered(answer["id"])["state"]) == (202, "published")
        assert delivered(secret)[1]["id"] == answer["id"]  # sent once more, as MLflow does if it heard no answer
        assert watch.end(signal.SIGINT) == 0
    assert runs(spark, config) == ["published"]


def test_what_is_not_there_to_be_looked_at_is_told_before_anything_is_started(
    registry: Registry, tmp_path: Path
) -> None:
    (tmp_path / "incoming").mkdir()
    (tmp_path / "history" / "_delta_log").mkdir(parents=True)
    ways = {
        "there": {"files": f"{tmp_path}/incoming/*.csv"},
        "misspelt": {"files": f"{tmp_path}/incomming/day=*/*.csv"},
        "folder": {"files": f"{tmp_path}/in[c]oming/*.csv"},
        "known": {"table": f"{tmp_path}/history"},
        "unknown": {"table": f"{tmp_path}/histroy"},
        "ours": {"table": "user_history"},
        "elsewhere": {"files": "s3a://bucket/incoming"},
        "nightly": {"at": "30 2 * * *"},
    }
    triggers = [TriggerSettings.model_validate({"name": n, "steps": ["ingest"], **way}) for n, way in ways.items()]
    file = configured(tmp_path, registry, APP)
    settings = load_settings(file)
    assert settings.watch is not None
    watched = settings.watch.model_copy(update={"triggers": tuple(triggers)})

    found = planned(settings.model_copy(update={"watch": watched}))

    assert {one.trigger for one in found.starts} == set(ways)
    told = {one.trigger: one.when for one in found.starts if "(not there yet)" in one.when}
    assert told == {
        "misspelt": f"a new file: {tmp_path}/incomming/day=*/*.csv (not there yet)",
        "unknown": f"a new version of {tmp_path}/histroy (not there yet)",
    }
    only = watched.model_copy(
        update={"triggers": tuple(one for one in triggers if one.name == "unknown"), "http": None}
    )
    (tmp_path / "tables").mkdir()
    lines: list[str] = []
    assert watch(settings.model_copy(update={"watch": only}), once=True, told=lines.append) == 0
    assert lines[0].endswith(f"unknown: {tmp_path}/histroy is not there yet")
