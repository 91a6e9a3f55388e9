"""A session that was there before us: what we set is set while a step runs, and what it had before comes back."""

import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from builders import NOW, write_events
from scoreline.cli import main as cli
from scoreline.config.settings import Settings
from scoreline.context import open_context
from scoreline.engine.session import get_session
from scoreline.errors import ConfigurationError, InputError
from scoreline.ingest.ingest import ingest_events
from scoreline.operations.show import show_users
from scoreline.pipeline import slices
from scoreline.pipeline.published import published_table
from scoreline.pipeline.run import plan_run, run
from scoreline.tables.commit_note import Repaired
from scoreline.tables.delta import Table
from scoreline.tables.reading import open_readers

pytestmark = pytest.mark.spark  # what a step leaves in a session of somebody else

ARROW = "spark.sql.execution.arrow"
THEIRS = {
    "spark.sql.session.timeZone": "Europe/Berlin",
    "spark.sql.ansi.enabled": "false",
    f"{ARROW}.maxRecordsPerBatch": "123",
    "spark.databricks.delta.commitInfo.userMetadata": '{"kind": "theirs"}',
}
UNSET = (f"{ARROW}.pyspark.enabled", f"{ARROW}.maxBytesPerBatch", "spark.sql.shuffle.partitions")


def settings_of(spark: SparkSession) -> dict[str, str]:
    """Everything that is set in a session, but for what Delta itself notes in it."""
    found = {row["key"]: row["value"] for row in spark.sql("SET").collect()}
    return {key: value for key, value in found.items() if not key.endswith("lastCommitVersionInSession")}


@pytest.fixture
def theirs(spark: SparkSession) -> Iterator[Mapping[str, str]]:
    """The suite's session as somebody else has set it."""
    before = settings_of(spark)
    for key, value in THEIRS.items():
        spark.conf.set(key, value)
    for key in UNSET:
        spark.conf.unset(key)
    yield settings_of(spark)
    for key in settings_of(spark).keys() - before.keys():
        spark.conf.unset(key)
    for key, value in before.items():
        if spark.conf.isModifiable(key):
            spark.conf.set(key, value)


def test_each_step_leaves_a_borrowed_session_as_it_was(
    spark: SparkSession, theirs: Mapping[str, str], filled: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also one that fails, the command line, and a thread of its own; while a step runs, its settings hold."""
    made = Settings.model_validate(
        {**filled().settings.model_dump(exclude_unset=True), "spark": {"spark.sql.shuffle.partitions": 3}}
    )
    asked = open_context(made, now=NOW)
    assert settings_of(spark) == theirs
    events = write_events(tmp_path / "news.csv", [(7, 33, 5, "2026-06-30T12:00:00")])
    local = made.events.model_copy(update={"time": "iso"})
    ingest_events(open_context(made.model_copy(update={"events": local}), now=NOW), events)
    assert settings_of(spark) == theirs
    seen = {}
    staged = slices._staged
    monkeypatch.setattr(slices, "_staged", lambda *a, **k: (seen.update(settings_of(spark)), staged(*a, **k))[1])
    assert run(asked).state == "published"
    wanted = {"spark.sql.session.timeZone": "UTC", "spark.sql.shuffle.partitions": "3"}
    assert {key: seen[key] for key in wanted} == wanted
    assert seen[f"{ARROW}.maxRecordsPerBatch"] != "123"
    assert settings_of(spark) == theirs
    looked = open_readers(made, spark)
    newest = show_users(looked, ["7"])[0].history[0]
    assert (newest.item_id, newest.at.timestamp()) == (33, datetime(2026, 6, 30, 12, tzinfo=UTC).timestamp())
    target = published_table(asked.tables, made.name)
    assert [commit.kind for commit in target.commits()][:1] == ["publish"]
    with pytest.raises(InputError):
        show_users(looked, ["no number"])
    monkeypatch.setattr(slices, "_staged", lambda *a, **k: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(asked, full_refresh=True)
    elsewhere = threading.Thread(target=lambda: plan_run(open_context(made)))
    elsewhere.start()
    elsewhere.join()
    assert settings_of(spark) == theirs


def test_settings_that_are_refused_are_not_left_in_the_session(spark: SparkSession, theirs: Mapping[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="would vanish without a word"):
        get_session("x", {"spark.sql.files.ignoreCorruptFiles": True})
    assert settings_of(spark) == theirs


def test_a_commit_leaves_what_others_stamp_theirs_with(
    spark: SparkSession, theirs: Mapping[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamp = {"userMetadata": Repaired(users=1).text(), "txnAppId": "us", "txnVersion": "9"}

    def fails(*_: Any) -> None:
        assert spark.conf.get("spark.databricks.delta.commitInfo.userMetadata") == stamp["userMetadata"]
        raise ZeroDivisionError

    monkeypatch.setattr(Table, "merge", fails)
    with pytest.raises(ZeroDivisionError):
        Table(spark, "t", str(tmp_path), in_catalog=False).change(spark.range(1), "id", stamp)
    assert settings_of(spark) == theirs


def test_a_command_in_a_process_with_a_session_does_not_end_it(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended: list[bool] = []
    monkeypatch.setattr(cli, "_leave", lambda: ended.append(True))
    cli.entry(["--version"])
    assert ended == []
