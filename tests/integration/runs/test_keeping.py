"""A row for each command, however it ends: what it says, that none is lost, and that it fails nothing."""

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from builders import NOW, settings, write_events
from embedded import HOUR
from scoreline import Pipeline
from scoreline.context import Context
from scoreline.errors import AuditRefused, InputError, RunInProgress, ScorelineError
from scoreline.ingest.ingest import ingest_events
from scoreline.operations.log import last_of_each, read_log, read_run
from scoreline.operations.maintenance import optimize, vacuum
from scoreline.operations.repair import repair_histories
from scoreline.operations.report.gather import read_runs
from scoreline.pipeline.approve import approve_run
from scoreline.pipeline.rollback import roll_back
from scoreline.pipeline.run import run
from scoreline.runs.keeping import kept
from scoreline.tables import schema
from scoreline.tables.lock import locked
from scoreline.tables.names import Kind
from scoreline.tables.reading import open_readers, records

APPENDS = """
import json, sys
from datetime import UTC, datetime
from scoreline.config.settings import Settings
from scoreline.runs.keeping import kept
made = Settings.model_validate(json.loads(sys.argv[1]))
for _ in range(int(sys.argv[2])):
    with kept(made, "ingest", now=datetime.now(UTC)) as record:
        pass
"""
DIES = """
import json, os, signal, sys
from datetime import UTC, datetime
from scoreline.config.settings import Settings
from scoreline.runs.keeping import kept
with kept(Settings.model_validate(json.loads(sys.argv[1])), "run", now=datetime.now(UTC)) as record:
    os.kill(os.getpid(), signal.SIGKILL)
"""


def log_of(made: Context) -> list[tuple[str, str]]:
    """Kind and state of all commands, oldest first."""
    return [(entry["kind"], entry["state"]) for entry in reversed(read_log(open_readers(made.settings)).runs)]


def newest(made: Context) -> Any:
    """The last row, its figures read."""
    row = max(records(open_readers(made.settings).table("runs").rows()), key=lambda row: row["started_at"])
    return {**row, "figures": json.loads(row["figures"])}


def started(code: str, made: Context, *arguments: str) -> "subprocess.Popen[bytes]":
    said = json.dumps(made.settings.model_dump(mode="json", exclude_unset=True, exclude={"export"}))
    return subprocess.Popen([sys.executable, "-c", code, said, *arguments])


@pytest.mark.long
def test_each_command_leaves_a_row(filled: Any, tmp_path: Path) -> None:
    made = filled()
    later = [filled(now=NOW + hours * HOUR) for hours in range(1, 9)]
    ingest_events(made, write_events(tmp_path / "news.csv", [(7, 33, 5, 1_700_000_009)]))
    first = run(later[0])
    assert run(later[1]).state == "nothing_due"
    strict = filled(now=NOW + 3 * HOUR, audit={"max_top_item_share": 0.01})
    with pytest.raises(AuditRefused) as refused:
        run(strict, full_refresh=True)
    (run_id,) = {entry["run_id"] for entry in read_log(open_readers(made.settings), state="refused").runs}
    assert run_id in str(refused.value)
    approve_run(later[3], run_id, reason="it is a test")
    roll_back(later[4])
    optimize(later[5])
    vacuum(later[6])
    repair_histories(later[7])
    assert log_of(made) == [
        ("ingest", "done"),
        ("ingest", "done"),
        ("run", "published"),
        ("run", "nothing_due"),
        ("run", "refused"),
        ("approve", "approved"),
        ("export", "done"),
        ("rollback", "done"),
        ("optimize", "done"),
        ("vacuum", "done"),
        ("repair", "done"),
    ]
    approval, attempt = read_run(open_readers(made.settings), run_id)
    broken = [gate["name"] for gate in attempt.figures["limits"] if not gate["passed"]]
    assert broken == ["share of the top item"]
    assert attempt.figures["reasons"] == {"asked": 60}
    assert "The audit refused" in attempt.figures["error"]
    assert (approval.kind, approval.figures["approval"]) == ("approve", "it is a test")
    assert approval.figures["written"].keys() == {"recommendations"}
    published = read_run(open_readers(made.settings), str(first.run_id))[0]
    assert list(published.figures["steps"]) == ["open", "plan", "score", "audit", "publish", "record"]
    assert published.figures["written"] == {"recommendations": first.version}
    assert published.figures["read"]["user_history"] >= 1
    assert published.figures["cpu_seconds"] > 0
    assert published.figures["peak_mib"] > 50
    assert {"python", "platform", "scoreline", "mlflow"} <= published.figures["versions"].keys()
    assert (published.model, published.users) == ("films version 1", 60)


@pytest.mark.both
def test_what_fails_before_anything_is_staged_leaves_a_row(filled: Any) -> None:
    made = filled()
    with pytest.raises(InputError):
        run(filled(model="films/99"))
    row = newest(made)
    assert (row["kind"], row["state"], row["users"]) == ("run", "failed", 0)
    assert "has no version 99" in row["figures"]["error"]
    with locked(made.settings, "run"), pytest.raises(RunInProgress):
        run(filled(now=NOW + HOUR))
    assert "Another run works" in newest(made)["figures"]["error"]
    with pytest.raises(InputError):
        ingest_events(filled(now=NOW + 2 * HOUR), "nowhere.csv")
    assert log_of(made)[-3:] == [("run", "failed"), ("run", "failed"), ("ingest", "failed")]


@pytest.mark.both
def test_a_run_that_is_refused_before_it_scores_leaves_a_row_with_the_limit(ran: Any) -> None:
    made = ran(now=NOW + HOUR)
    made.tables.table("user_history").delete("user_id > 10")
    with pytest.raises(AuditRefused):
        run(made)
    row = newest(made)
    assert (row["state"], [gate["passed"] for gate in row["figures"]["limits"]]) == ("refused", [False])


def test_a_session_that_cannot_be_had_leaves_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = settings(tmp_path / "tables")
    made.home.mkdir()
    monkeypatch.setattr("scoreline.context.open_session", lambda *_: (_ for _ in ()).throw(InputError("no Java")))
    with pytest.raises(InputError, match="no Java"):
        Pipeline(made).run()
    (entry,) = read_log(open_readers(made)).runs
    assert (entry["kind"], entry["state"]) == ("run", "failed")


def test_what_was_killed_is_found_by_the_next_command(filled: Any) -> None:
    made = filled()
    before = len(log_of(made))
    assert started(DIES, made).wait() == -9
    assert log_of(made)[-1] == ("run", "interrupted")  # before anybody has written it down
    readers = open_readers(made.settings)
    (killed,) = read_run(readers, read_log(readers).runs[0]["run_id"])
    said = "It has begun and never ended: its process is gone. Readers see what was published last; run again, and"
    assert killed.figures["error"] == f"{said} what is staged is taken up."
    with kept(made.settings, "optimize", now=NOW):
        pass
    assert sorted(log_of(made)[before:]) == [("optimize", "done"), ("run", "interrupted")]
    with kept(made.settings, "optimize", now=NOW):
        pass
    assert log_of(made).count(("run", "interrupted")) == 1


def test_attempts_are_numbered_and_the_newest_is_first(filled: Any) -> None:
    made = filled()
    for hour, state in enumerate(("failed", "published")):
        with kept(made.settings, "run", now=NOW + hour * HOUR) as record:
            record.run_id, record.state = "twice", state
    newest, oldest = read_run(open_readers(made.settings), "twice")
    assert [(one.state, one.attempt, one.attempts) for one in (newest, oldest)] == [
        ("published", 2, 2), ("failed", 1, 2),
    ]  # fmt: skip
    assert "attempt       2 of 2" in str(newest)


def test_what_was_stopped_by_hand_says_so(filled: Any) -> None:
    made = filled()

    def stopped(kind: Kind) -> object:
        with pytest.raises(KeyboardInterrupt), kept(made.settings, kind, now=NOW + HOUR) as record:
            raise KeyboardInterrupt
        return record.state, record.facts["error"]

    assert stopped("run") == ("interrupted", "Stopped by hand; the next run takes up what is staged.")
    assert stopped("vacuum") == ("interrupted", "Stopped by hand.")


def test_what_another_command_held_off_was_not_tried(filled: Any) -> None:
    made = filled()
    with kept(made.settings, "run", now=NOW) as record:
        record.state = "published"
    with locked(made.settings, "run"), pytest.raises(RunInProgress):
        run(filled(now=NOW + HOUR))
    readers = open_readers(made.settings)
    assert log_of(made)[-1] == ("run", "failed")
    assert last_of_each(readers)["run"] == {
        "tried_at": NOW, "run_id": record.run_id, "state": "published", "done_at": NOW,
    }  # fmt: skip
    assert [one.run_id for one in read_runs(readers)] == [record.run_id]


def test_an_approval_settles_that_a_run_was_refused(filled: Any) -> None:
    made = filled()
    limit = {"name": "failed users", "found": 9, "limit": "at most 1", "bound": 1, "passed": False}
    with kept(made.settings, "run", now=NOW) as record:
        record.say(limits=[limit], reasons={"new": 9}, error="The audit refused\n  - failed users is 9\n")
        record.state = "refused"
    with kept(made.settings, "approve", now=NOW + HOUR) as failed:
        failed.run_id, failed.state = record.run_id, "failed"
    readers = open_readers(made.settings)
    assert last_of_each(readers)["run"]["state"] == "refused"
    assert [(one.state, one.kind) for one in read_runs(readers)] == [("refused", "run")]

    with kept(made.settings, "approve", now=NOW + 2 * HOUR) as approval:
        approval.run_id, approval.state = record.run_id, "approved"
        approval.say(approved_by="kim", approval="it is right", limits=[], broken=[])

    assert last_of_each(readers)["run"] == {
        "tried_at": NOW, "run_id": record.run_id, "state": "approved", "done_at": NOW,
    }  # fmt: skip
    (shown,) = read_runs(readers)
    assert (shown.state, shown.broken, shown.figures["reasons"]) == ("approved", ("failed users is 9",), {"new": 9})
    assert (shown.figures["limits"], shown.figures["approved_by"]) == ([limit], "kim")


def test_what_has_not_ended_is_running(filled: Any) -> None:
    made = filled()
    with kept(made.settings, "vacuum", now=NOW) as record:
        (entry,) = read_log(open_readers(made.settings), state="running").runs
        assert (entry["run_id"], entry["kind"]) == (record.run_id, "vacuum")


def test_a_run_has_one_id_from_its_beginning_to_its_end(filled: Any) -> None:
    made = filled()

    class Looks:
        @contextmanager
        def work(self, total: int, *, done: int) -> Iterator[Callable[[int], None]]:
            self.shown = [entry["run_id"] for entry in read_log(open_readers(made.settings), state="running").runs]
            yield lambda users: None

    looks = Looks()
    assert [run(made, progress=looks).run_id] == looks.shown


def test_of_commands_at_once_no_row_is_lost(filled: Any) -> None:
    made = filled()
    before = len(log_of(made))
    writers = [started(APPENDS, made, "15") for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    rows = records(open_readers(made.settings).table("runs").rows(["run_id"]))
    assert len({row["run_id"] for row in rows}) == before + 45


@pytest.mark.spark
def test_a_table_that_spark_has_made_and_others_have_changed_is_appended_to(spark: SparkSession, filled: Any) -> None:
    """Optimised by Spark between two rows, and with a column more than we know of."""
    made = filled()
    table = made.tables.table("runs")
    table.drop()
    table.create(schema.runs())
    old = "'old', 'run', 'published', current_timestamp(), current_timestamp(), 'films version 1', 60, '{}'"
    spark.sql(f"INSERT INTO {table.identifier} VALUES ({old})")
    spark.sql(f"ALTER TABLE {table.identifier} ADD COLUMNS (mood STRING)")
    with kept(made.settings, "vacuum", now=NOW):
        pass
    table.optimize()
    with kept(made.settings, "export", now=NOW):
        pass
    assert sorted(row["kind"] for row in table.read().collect()) == ["export", "run", "vacuum"]
    assert sorted(kind for kind, _ in log_of(made)) == ["export", "run", "vacuum"]


@pytest.mark.spark
def test_a_row_that_cannot_be_written_is_a_warning(
    spark: SparkSession, filled: Any, caplog: pytest.LogCaptureFixture
) -> None:
    made = filled()
    table = made.tables.table("runs")
    table.drop()
    spark.sql(f"CREATE TABLE {table.identifier} (run_id STRING, n INT) USING DELTA")
    spark.sql(f"ALTER TABLE {table.identifier} ADD CONSTRAINT few CHECK (n > 0)")
    with kept(made.settings, "vacuum", now=NOW):
        pass
    assert "the runs table could not be written" in caplog.text
    assert "checkConstraints" in caplog.text


@pytest.mark.spark
def test_tables_of_a_catalogue_have_their_rows_by_the_session(
    spark: SparkSession, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))  # its commands that have begun: not those that other tests killed
    spark.sql("CREATE SCHEMA IF NOT EXISTS kept")
    try:
        made = settings(tables={"catalog": "kept"})
        with pytest.raises(ScorelineError), kept(made, "export", now=NOW, spark=spark):
            raise InputError("nothing to export")
        (entry,) = read_log(open_readers(made, spark)).runs
        assert (entry["kind"], entry["state"], entry["started_at"]) == ("export", "failed", NOW)
    finally:
        spark.sql("DROP SCHEMA kept CASCADE")


@pytest.mark.parametrize("program", ["/bin/scoreline", "/lib/scoreline/__main__.py"])
def test_the_command_line_is_kept_without_its_secrets(
    program: str, filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = filled()
    monkeypatch.setattr(sys, "argv", [program, "export", "--set", "export.url=postgresql://app:hush@db/shop"])
    with kept(made.settings, "export", now=NOW + HOUR):
        pass
    assert newest(made)["figures"]["command"] == "scoreline export --set 'export.url=postgresql://app:***@db/shop'"


def test_another_configuration_has_another_fingerprint(filled: Any) -> None:
    prints = []
    for hour, k in enumerate((5, 5, 6)):
        with kept(filled(scoring={"k": k}).settings, "export", now=NOW + hour * HOUR):
            pass
        prints.append(newest(filled())["figures"]["configuration"])
    assert prints[0] == prints[1] != prints[2]


def test_a_row_costs_little(filled: Any) -> None:
    """Beside the second that Spark takes for it."""
    made = filled()
    with kept(made.settings, "export", now=NOW):
        pass
    began = time.process_time()
    with kept(made.settings, "export", now=NOW):
        pass
    assert time.process_time() - began < 0.3
