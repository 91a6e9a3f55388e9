"""What the embedded engine cannot do, and what happens to it: refused before work, or an error in words."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from builders import settings, write_events
from disks import mounted
from embedded import command, embedded, rows
from integration.conftest import events_of
from scoreline.context import open_context
from scoreline.engine import choice, installed, memory
from scoreline.engine.choice import is_embedded
from scoreline.engine.failures import explained
from scoreline.engine.memory import bytes_of_memory
from scoreline.errors import BeyondMemory, ConfigurationError, RunFailed
from scoreline.ingest.ingest import ingest_events
from scoreline.pipeline import pooled
from scoreline.sources import arrow_csv
from scoreline.training import train

pytest.importorskip("pysail")

DEAD = """
import time
from scoreline.engine.embedded.sail import embedded_session
from scoreline.engine.engine import engine_of
from scoreline.engine.failures import explained
spark = embedded_session()
spark.range(3).collect()
engine_of(spark)._server.stop()
engine_of(spark).rest()
began = time.monotonic()
try:
    with explained("the run failed"):
        spark.range(3).collect()
except Exception as error:
    print(type(error).__name__, error)
print(time.monotonic() - began < 30)
"""

INTERRUPTED = """
import signal, sys, time
import click
from scoreline.cli.main import entry
from scoreline.engine.embedded.sail import embedded_session
signal.signal(signal.SIGINT, getattr(signal, sys.argv[1]))
@click.command()
def work():
    spark = embedded_session()
    print("begun", flush=True)
    end = time.monotonic() + 2
    while time.monotonic() < end:
        spark.range(3).collect()
    print("done", flush=True)
entry([], command=work)
"""


def of_the_log(table: Path, action: str, change: Callable[[dict[str, Any]], object]) -> None:
    """Change one action of a table's first commit."""
    log = table / "_delta_log" / f"{0:020d}.json"
    actions = [json.loads(line) for line in log.read_text().splitlines()]
    change(next(found[action] for found in actions if action in found))
    log.write_text("".join(json.dumps(found) + "\n" for found in actions))


def column(key: str, value: object) -> Callable[[dict[str, Any]], object]:
    def change(about: dict[str, Any]) -> None:
        schema = json.loads(about["schemaString"])
        schema["fields"][0]["metadata"][key] = value
        about["schemaString"] = json.dumps(schema)

    return change


def listed(name: str, *kinds: str) -> Callable[[dict[str, Any]], object]:
    return lambda protocol: [protocol[kind].append(name) for kind in kinds]


def set_to(key: str, value: str) -> Callable[[dict[str, Any]], object]:
    return lambda about: about["configuration"].update({key: value})


FEATURES: dict[str, tuple[str, Callable[[dict[str, Any]], object]]] = {
    "checkConstraints": ("metaData", set_to("delta.constraints.positive", "bucket > 100")),
    "columnMapping": ("metaData", set_to("delta.columnMapping.mode", "name")),
    "invariants": ("metaData", column("delta.invariants", '{"expression": {"expression": "user_id > 100"}}')),
    "generatedColumns": ("metaData", column("delta.generationExpression", "7")),
    "identityColumns": ("metaData", column("delta.identity.start", 1)),
    "typeWidening": ("protocol", listed("typeWidening", "readerFeatures", "writerFeatures")),
    "rowTracking": ("protocol", listed("rowTracking", "writerFeatures")),
    "fromTheFuture": ("protocol", listed("fromTheFuture", "readerFeatures", "writerFeatures")),
}
NOT_READ = {"columnMapping", "typeWidening", "fromTheFuture"}


def test_a_table_with_a_feature_that_is_not_kept_to_is_refused_by_its_name(pipeline: Any, tmp_path: Path) -> None:
    """And not written; nor read where it would be misread: delta-rs passes over a CHECK and other columns' names."""
    made = pipeline()
    embedded(made, ("ingest", write_events(tmp_path / "events.csv", events_of())))
    table = Path(made.tables.table("user_history").location)
    first = (table / "_delta_log" / f"{0:020d}.json").read_text()
    news = write_events(tmp_path / "news.csv", [(7, 33, 5, 1_780_000_000)])
    before = sorted(path.name for path in table.rglob("*"))
    said, shown = {}, {}
    for name, (action, change) in FEATURES.items():
        of_the_log(table, action, change)
        said[name], shown[name] = embedded(made, ("ingest", news), ("show", "7"))
        (table / "_delta_log" / f"{0:020d}.json").write_text(first)
    assert {name for name, report in shown.items() if "error" in report} == NOT_READ
    assert {name: report["error"] for name, report in said.items()} == {
        name: f"InputError: {table} has features that the embedded engine does not keep to: {name}. Say engine: spark, "
        "which does."
        for name in FEATURES
    }
    assert sorted(path.name for path in table.rglob("*")) == before


def test_events_that_do_not_fit_into_memory_are_refused_before_a_line_is_read(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    large, packed = tmp_path / "large.csv", tmp_path / "packed.csv.gz"
    large.write_bytes(b"1,2,3,1700000000\n" * 1000)
    packed.write_bytes(bytes(5000))
    for file in (large, packed):
        monkeypatch.setattr(memory, "bytes_of_memory", lambda: 500_000)
        with pytest.raises(BeyondMemory, match=r"has about 0 MiB of text\. .* 50% of .*smaller files, or say engine"):
            arrow_csv._require_memory(str(file), [file])
        monkeypatch.setattr(memory, "bytes_of_memory", lambda: 1_000_000)
        arrow_csv._require_memory(str(file), [file])


def test_a_model_that_each_worker_loads_counts_as_often(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "weights.bin").write_bytes(bytes(1000))
    monkeypatch.setattr(pooled, "_workers", lambda: 4)
    monkeypatch.setattr(pooled, "bytes_of_memory", lambda: 8000)
    pooled.require_room(tmp_path)
    monkeypatch.setattr(pooled, "bytes_of_memory", lambda: 7000)
    with pytest.raises(ConfigurationError, match="4 of its kind would be in memory at once: expected at most 50%"):
        pooled.require_room(tmp_path)


def test_training_on_more_than_the_memory_is_refused_before_it_reads(
    filled: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = filled(model={"uri": "models:/films@champion", "train": {"estimator": "popularity"}})
    size = made.tables.table("user_history").detail()["sizeInBytes"]
    monkeypatch.setattr(train, "bytes_of_memory", lambda: 20 * size - 1)
    with pytest.raises(ConfigurationError, match=r"Training on 60 users would take .*model\.train\.max_users"):
        train.histories(made)
    half = made.settings.model.train.model_copy(update={"max_users": 20})
    model = made.settings.model.model_copy(update={"train": half})
    few = replace(made, settings=made.settings.model_copy(update={"model": model}))
    assert 0 < train.histories(few).num_rows < 60


def test_a_container_says_how_much_memory_there_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    limit = tmp_path / "memory.max"
    monkeypatch.setattr(memory, "_limits", lambda: [limit, tmp_path / "none"])
    limit.write_text("max\n")
    assert bytes_of_memory() == machine
    limit.write_text("1048576\n")
    assert bytes_of_memory() == 1 << 20


def test_a_server_that_died_is_said_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", DEAD], capture_output=True, text=True, check=True, timeout=120)
    said, quick = done.stdout.splitlines()
    assert said.startswith("RunFailed the run failed: the embedded engine's server in this process has died. Run again")
    assert quick == "True"


@pytest.mark.parametrize(
    ("handler", "ended"),
    [
        ("SIG_IGN", (0, "done\n", "")),
        ("default_int_handler", (130, "", "\nstopped; what is staged is taken up by the next run\n")),
    ],
)
def test_an_interrupt_stops_the_command_or_is_ignored_as_it_was_begun(
    handler: str, ended: tuple[int, str, str]
) -> None:
    """A shell has it ignored in the background: then the server, too, has to go on."""
    with subprocess.Popen(
        [sys.executable, "-c", INTERRUPTED, handler], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out, err) == ended


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "no space left .* set TMPDIR to a folder on a larger disk"),
        (RunFailed("x"), "^x$"),
    ],
)
def test_a_full_disk_is_told_in_words(raised: Exception, said: str) -> None:
    with pytest.raises(RunFailed, match=said), explained("the run failed"):
        raise raised


def test_memory_that_sail_does_not_get_is_told_in_words(pipeline: Any, tmp_path: Path) -> None:
    source = write_events(tmp_path / "events.csv", events_of())
    few = {"SAIL_RUNTIME__MEMORY_POOL__GREEDY__MAX_SIZE": "1000"}
    done = subprocess.run(
        command(pipeline(), ("ingest", source)), capture_output=True, text=True, check=True, env={**os.environ, **few}
    )
    (said,) = (json.loads(line)["error"] for line in done.stdout.splitlines())
    assert said.startswith("RunFailed: ")
    assert "needs more memory than the embedded engine takes" in said


@pytest.mark.spark  # its session
def test_a_process_with_a_spark_session_is_no_place_for_the_embedded_engine(spark: SparkSession) -> None:
    with pytest.raises(ConfigurationError, match=r"cannot begin in a process that has a Spark session: stop it"):
        open_context(settings(engine="embedded"))


def test_auto_without_the_packages_takes_spark_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda name: None if name == "pysail" else object())
    monkeypatch.setattr(choice, "existing_session", lambda: None)
    with caplog.at_level("WARNING", logger=choice.__name__):
        assert not is_embedded(settings(engine="auto"))
    assert caplog.messages == ["Spark computes, as there is no package pysail here: docs/engines.md"]
    with pytest.raises(ConfigurationError, match=r"needs the package pysail: pip install 'scoreline\[both\]'"):
        is_embedded(settings(engine="embedded"))


def test_windows_line_ends_and_an_odd_time_zone_change_nothing(pipeline: Any, tmp_path: Path) -> None:
    source = Path(write_events(tmp_path / "events.csv", events_of()))
    windows = tmp_path / "windows.csv"
    windows.write_bytes(source.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    one, two = (pipeline(tables={"root": str(tmp_path / name)}) for name in ("one", "two"))
    assert embedded(one, ("ingest", str(source)))[0].get("error") is None
    environment = {**os.environ, "TZ": "Asia/Kathmandu"}
    subprocess.run(command(two, ("ingest", str(windows))), check=True, env=environment, stdout=subprocess.DEVNULL)
    assert rows(one, "user_history") == rows(two, "user_history")
    assert len(rows(one, "user_history")) > 0


def test_texts_that_a_merge_has_written_are_read_beside_those_of_a_first_ingest(pipeline: Any, tmp_path: Path) -> None:
    """In Arrow's words in the files they differ, `string_view` and `string`, which is no matter but to Sail."""
    made = pipeline(keys={"user_id": "string", "item_id": "string"})
    events = [("u", f"{item}", 5, 1_700_000_000) for item in range(9)]
    first = write_events(tmp_path / "events.csv", [*events, *events_of()])
    news = [write_events(tmp_path / f"{at}.csv", [("u", "33", 5, 1_780_000_000 + at)]) for at in range(2)]
    reports = embedded(made, *[("ingest", file) for file in (first, *news)], ("show", "u"))
    assert [report.get("error") for report in reports] == [None] * 4
    assert [report["users_changed"] for report in reports[:3]] == [61, 1, 1]
    assert reports[3]["history"][0]["item_id"] == "33"


def test_what_a_killed_writer_has_left_is_vacuumed_when_it_is_old(pipeline: Any, tmp_path: Path) -> None:
    made = pipeline()
    ingest_events(made, write_events(tmp_path / "events.csv", events_of()))
    table = Path(made.tables.table("user_history").location)
    old, young = table / "_fresh-old", table / "_fresh-young"
    for folder in (old, young):
        folder.mkdir()
        (folder / "part-0.parquet").write_bytes(b"PAR1")
    long_ago = time.time() - 400 * 24 * 3600
    os.utime(old, (long_ago, long_ago))
    before = rows(made, "user_history")
    (said,) = embedded(made, ("vacuum", {}))
    assert said.get("error") is None
    assert not old.exists()
    assert young.exists()
    assert rows(made, "user_history") == before


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("jdbc:postgresql://host/app?user=me&password=hush", "jdbc:postgresql://host/app"),
        ("main.films.ratings", "main.films.ratings is no file here, but may be a table of a catalogue"),
    ],
)
def test_a_source_that_only_spark_reads_is_refused_in_words(pipeline: Any, source: str, said: str) -> None:
    (told,) = embedded(pipeline(), ("ingest", source))
    assert told["error"].startswith(f"InputError: {said}")
    assert told["error"].endswith("Say engine: spark.")
    assert "hush" not in told["error"]


SMALL = """
import sys
from scoreline.engine import memory
memory.bytes_of_memory = lambda: 60_000
from scoreline.cli.main import entry
entry(sys.argv[1:])
"""


@pytest.mark.spark  # which takes over
@pytest.mark.long
def test_auto_hands_over_to_spark_what_does_not_fit(pipeline: Any, tmp_path: Path) -> None:
    made = pipeline()
    config = tmp_path / "pipeline.yaml"
    settings = made.settings.model_dump(mode="json", exclude_unset=True) | {"engine": "auto"}
    config.write_text(json.dumps({key: value for key, value in settings.items() if key != "export"}))
    source = write_events(tmp_path / "events.csv", events_of())
    command = [sys.executable, "-c", SMALL, "ingest", "--config", str(config), "--events", source, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    said = f"Spark takes over: {source} has about 0 MiB of text. To group it the embedded engine"
    assert said in done.stderr
    assert json.loads(done.stdout)["users_changed"] == 60
    assert len(rows(made, "user_history")) == 60


def test_news_of_users_with_long_histories_are_refused_before_they_are_merged(pipeline: Any, tmp_path: Path) -> None:
    made = pipeline()
    embedded(made, ("ingest", write_events(tmp_path / "events.csv", events_of())))
    before = rows(made, "user_history")
    config = tmp_path / "pipeline.yaml"
    settings = made.settings.model_dump(mode="json", exclude_unset=True) | {"engine": "embedded"}
    config.write_text(json.dumps({key: value for key, value in settings.items() if key != "export"}))
    news = write_events(tmp_path / "news.csv", [(user, 40, 5, 1_780_000_000) for user in range(1, 31)])
    command = [sys.executable, "-c", SMALL, "ingest", "--config", str(config), "--events", news]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "with the histories of the users in it the news has 2" in done.stderr
    assert "smaller files, or say engine: spark" in done.stderr
    assert rows(made, "user_history") == before


def test_no_space_for_scratch_files_is_told_in_words_and_leaves_the_tables(pipeline: Any, tmp_path: Path) -> None:
    made = pipeline()
    source = write_events(
        tmp_path / "events.csv", [(user, item, 5, 1_700_000_000) for user in range(99) for item in range(99)]
    )
    with mounted(tmp_path / "small", "size=12k") as small:
        environment = {**os.environ, "TMPDIR": str(small)}
        done = subprocess.run(
            command(made, ("ingest", source)), capture_output=True, text=True, check=True, env=environment
        )
        said = json.loads(done.stdout)["error"]
    assert "there is no space left where the tables are, or where the embedded engine keeps its scratch files (" in said
    assert embedded(made, ("ingest", source))[0]["users_changed"] == 99


def test_a_home_and_a_folder_for_scratch_files_that_cannot_be_written_are_no_hindrance(
    pipeline: Any, tmp_path: Path
) -> None:
    made = pipeline()
    source = write_events(tmp_path / "events.csv", events_of())
    with mounted(tmp_path / "readonly", "ro") as readonly:
        environment = {**os.environ, "HOME": str(readonly), "TMPDIR": str(readonly)}
        done = subprocess.run(
            command(made, ("ingest", source), ("run", {})), capture_output=True, text=True, check=True, env=environment
        )
    assert [json.loads(line).get("error") for line in done.stdout.splitlines()] == [None, None]
    assert len(rows(made, "recommendations")) == 60
