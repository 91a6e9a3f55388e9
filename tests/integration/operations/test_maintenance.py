"""What `doctor` finds and says, and what `vacuum` and `optimize` take away and leave: on tables with a past."""

import os
import re
import shutil
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyspark.sql import SparkSession

from builders import ENGINE, NOW
from integration.conftest import copied
from integration.terminal import Terminal
from integration.truth import published
from scoreline.config.loading import load_settings
from scoreline.errors import InputError
from scoreline.hashing import digest
from scoreline.operations.maintenance import optimize, vacuum
from scoreline.pipeline.rollback import roll_back
from scoreline.pipeline.run import plan_run, run
from scoreline.registry.files import download
from scoreline.registry.versions import pin
from scoreline.tables.history import published_commit
from scoreline.tables.lock import locked
from strangers import forget

DAY = 86_400
HOUR = timedelta(hours=1)


@pytest.fixture
def models(registry: Any, tmp_path: Path) -> Path:
    """A folder of fetched models that no other test uses."""
    download(pin("models:/films/1", tracking_uri=registry.uri), tmp_path / "fetched")
    return tmp_path / "fetched"


@pytest.fixture
def terminal(registry: Any, first_run: Path, models: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> Terminal:
    """A pipeline after its first run, whose model's digest is known."""
    copied(first_run, tmp_path / "tables")
    config = {
        "name": "test",
        "engine": ENGINE,
        "tables": {"root": str(tmp_path / "tables")},
        "events": {"columns": {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}},
        "histories": {"buckets": 8},
        "model": {"uri": "models:/films/1", "folder": str(models), "sha256": digest(next(models.glob("films/1-*")))},
        "mlflow": {"tracking_uri": registry.uri},
        "scoring": {"k": 5},
    }
    file = tmp_path / "test.yaml"
    file.write_text(yaml.safe_dump(config))
    return Terminal(str(file), capsys, monkeypatch)


def aged(path: Path, days: float) -> None:
    """As if that had been written so many days ago."""
    moment = time.time() - days * DAY
    for file in [*path.rglob("*"), path]:
        os.utime(file, (moment, moment))


def as_told(text: str, root: Path) -> list[str]:
    """Lines without what differs from one machine to another."""
    known = text.replace(str(root), "ROOT")
    for pattern, name in (
        (r"[\d.]+ GiB", "N GiB"),
        (r" 3\.\d+\.\d+$", " N"),
        (r"Spark \S+ with .*|embedded, without Java: .*", "N"),
        (r"\d+ files", "N files"),
    ):
        known = re.sub(pattern, name, known, flags=re.MULTILINE)
    return known.splitlines()


def test_an_installation_that_is_well_one_that_is_not_and_what_vacuum_does_about_it(
    spark: SparkSession, terminal: Terminal, models: Path, tmp_path: Path
) -> None:
    well = terminal("doctor")
    assert as_told(well.out, tmp_path) == [
        "ok    Python                 N",
        "ok    space                  N GiB free at ROOT/tables",
        "ok    engine                 N",
        "ok    model                  models:/films/1 is films version 1; its files have the recorded digest",
        "ok    storage                a table can be written, read and removed in ROOT/tables",
        "ok    table user_history     60 rows in N files, 0.0 MiB, version 1",
        "ok    table recommendations  60 rows in N files, 0.0 MiB, version 1",
        "ok    table quarantine       0 rows in N files, 0.0 MiB, version 0",
        "ok    table runs             2 rows in N files, 0.0 MiB, version 2",
        "ok    leftovers              none",
        "ok    last ingest            done 2026-07-01 03:00 UTC: done",
        "ok    last run               done 2026-07-01 03:00 UTC: published",
        "All is well.",
    ]
    assert well.code == 0

    tables, films = tmp_path / "tables", models / "films"
    for name in ("_staging_dead", "_staging_new"):
        shutil.copytree(tables / "runs", tables / name)
        aged(tables / name, 2 if name.endswith("dead") else 0)
    for name in (".fetching-dead", ".fetching-new"):
        (films / name).mkdir()
        aged(films / name, 2 if name.endswith("dead") else 0)
    (next(films.glob("1-*")) / "more.txt").write_text("not what was promoted")
    history = spark.read.format("delta").load(str(tables / "user_history")).where("user_id < 4")
    history.write.format("delta").mode("append").save(str(tables / "user_history"))
    for file in (tables / "recommendations").glob("*.parquet"):
        file.unlink()
    lost = terminal("show", "1")
    assert (lost.code, lost.err.count("\n")) == (1, 1)
    assert re.match(r"error: \S+/recommendations could not be read: \S+/part-\S+\.parquet does not exist", lost.err)
    ill = terminal("doctor")
    lines = as_told(ill.out, tmp_path)
    wrong = [(line[:5].strip(), line[6:28].strip()) for line in lines if line.startswith(("bad", "warn"))]
    assert wrong == [
        ("bad", "model"),
        ("bad", "table user_history"),
        ("bad", "table recommendations"),
        ("warn", "leftovers"),
    ], ill.out
    assert lines[-1] == "3 bad, 1 to look at."
    assert lines[lines.index("bad   table user_history     3 users have two rows") + 1].endswith(
        "scoreline repair puts them together."
    )
    dead = "_staging_dead, ROOT/fetched/films/.fetching-dead"
    at = lines.index(f"warn  leftovers              of runs that nobody took up: {dead}")
    assert lines[at + 1].strip() == "scoreline vacuum removes them."
    assert not re.search(r"org\.apache|Py4J|java\.|\[[A-Z_]+", ill.out + lost.err)
    assert ill.code == 1

    swept = terminal("vacuum")
    assert [line.split() for line in as_told(swept.out, tmp_path)] == [
        ["user_history", "N", "files"],
        ["recommendations", "N", "files"],
        ["quarantine", "N", "files"],
        ["runs", "N", "files"],
        ["2", "leftover(s)", "of", "dead", "runs", "removed"],
    ]
    assert sorted(path.name for path in [*tables.glob("_*"), *films.glob(".*")]) == [".fetching-new", "_staging_new"]
    assert "ok    leftovers              1 staged run(s), none older than a day" in terminal("doctor").out
    assert terminal("vacuum", "--retain", "6d").err.startswith("error: vacuum keeps at least 7 days")
    with locked(load_settings(tmp_path / "test.yaml", ()), "run"):
        assert "Another run works on the tables" in terminal("optimize").err


@pytest.mark.both
def test_vacuum_and_optimize_keep_what_a_rollback_of_the_last_week_needs(ran: Any) -> None:
    """Runs of films/1, films/2 and films/1 again; what the first had written was taken away eight days ago."""
    made, table = ran(), ran().tables.table("recommendations")
    second = run(ran("films/2", now=NOW + HOUR))
    lists = published(made)
    third = run(ran("films/1", now=NOW + 2 * HOUR))
    folder = Path(table.location)
    log = folder / "_delta_log" / f"{second.version:020d}.json"
    long_ago = f'"deletionTimestamp":{int((time.time() - 8 * DAY) * 1000)}'
    stat = log.stat()
    log.write_text(re.sub(r'"deletionTimestamp":\d+', long_ago, log.read_text()))
    os.utime(log, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    forget(table)
    for file in folder.glob("*.parquet"):
        aged(file, 9)
    for name in ("part-dead", "part-new"):  # of writers that have not committed
        shutil.copy(next(folder.glob("part*.parquet")), folder / f"{name}.parquet")
    aged(folder / "part-dead.parquet", 9)
    aged_files = {path.name for path in folder.glob("*.parquet")}
    first_files = files_of(made, table, 1)

    done = vacuum(made)
    assert done.files.keys() == {"user_history", "recommendations", "quarantine", "runs"}
    assert aged_files - {path.name for path in folder.glob("*.parquet")} == first_files | {"part-dead.parquet"}
    assert plan_run(made).due == 0
    with pytest.raises(InputError, match=r"(\d) of the \1 files that version 1 of .* are not there any more"):
        roll_back(made, run_id=table.commits()[-2].note.run_id)
    assert published_commit(table.commits()).published.run_id == third.run_id  # type: ignore[union-attr]

    table.set_property("delta.deletedFileRetentionDuration", "interval 30 days")
    assert vacuum(made).removed == 0
    assert roll_back(made).run_id == second.run_id
    assert published(made) == lists
    rows = table.read().where("user_id < 9")
    table.write(rows, "append")
    table.delete("run_id = 'x'")
    assert optimize(made).files["recommendations"] == 1
    assert {row[0] for row in table.read().select("user_id").collect()} == set(lists)


def files_of(made: Any, table: Any, version: int) -> set[str]:
    return {file.rsplit("/", 1)[-1] for file in table.read(version).inputFiles()}
