"""`ingest --new` on real files: each is taken once, whatever its name, its folder and its neighbours."""

import gzip
import hashlib
import os
import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner
from pyspark.sql import SparkSession

from builders import NOW, context, write_events
from scoreline.api import Pipeline
from scoreline.cli import nightly
from scoreline.engine import listing
from scoreline.errors import ConfigurationError, InputError, RunFailed, RunInProgress
from scoreline.ingest import new_files
from scoreline.ingest.ingest import ingest_events
from scoreline.ingest.new import ingest_new
from scoreline.operations.log import read_log, read_run
from scoreline.tables.lock import locked
from scoreline.tables.reading import open_readers

T0 = 1_700_000_000
COLUMNS = {"columns": {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}, "settle": "0s"}


def made_in(spark: SparkSession, root: Path, **events: Any) -> Any:
    return context(spark, root, events={**COLUMNS, **events})


@pytest.fixture
def made(spark: SparkSession, tmp_path: Path) -> Any:
    return made_in(spark, tmp_path / "t")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    found = tmp_path / "incoming"
    found.mkdir()
    return found


def event(folder: Path, name: str, number: int, *, header: str = "user,item,rating,at") -> Path:
    """A file with an event of its own."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_events(path, [(number, 10 + number, 3, T0 + number)], header)
    return path


def rows(made: Any, table: str, *columns: str) -> Any:
    return sorted(tuple(row) for row in made.tables.table(table).read().select(*columns).collect())


def histories(made: Any) -> Any:
    return rows(made, "user_history", "user_id", "item_ids", "weights", "event_times", "history_hash")


def remembered(made: Any) -> dict[str, str | None]:
    """Names of files, and why they were refused."""
    return {Path(path).name: refused for path, refused in rows(made, "ingested_files", "path", "refused")}


@pytest.mark.both
def test_each_file_is_taken_once_and_all_together_give_the_histories_of_one_ingest(
    spark: SparkSession, made: Any, folder: Path, tmp_path: Path
) -> None:
    event(folder, "1.csv", 1)
    event(folder, "a b%20[1]{2}.csv", 2)
    first = ingest_new(made, str(folder))
    assert (first.listed, first.taken, [part.rows_read for part in first.parts]) == (2, 2, [2])
    event(folder, "3.csv", 3)
    write_events(folder / "4.csv", [(1, 99, 4, T0 + 9), ("x", 1, 1, T0)])
    made = made_in(spark, tmp_path / "t", max_bad_share=0.5)
    second = ingest_new(made, str(folder))
    assert (second.listed, second.taken, [part.rows_read for part in second.parts]) == (4, 2, [3])
    third = ingest_new(made, str(folder))
    assert (third.listed, third.taken, third.parts) == (4, 0, ())
    assert str(third) == f"{folder}: 4 files, 0 new ones taken"
    whole = made_in(spark, tmp_path / "whole", max_bad_share=0.5)
    ingest_events(whole, str(folder))
    assert histories(made) == histories(whole)
    bad = ("source_file", "raw_row", "reasons", "row_count", "row_hash")
    assert rows(made, "quarantine", *bad) == rows(whole, "quarantine", *bad)
    [noted] = made.tables.table("ingested_files").read().where("path LIKE '%/1.csv'").collect()
    found = (folder / "1.csv").stat()
    assert noted["path"] == f"file:{folder}/1.csv"
    assert (noted["size"], noted["refused"], noted["same_as"]) == (found.st_size, None, None)
    assert noted["modified_at"].timestamp() == pytest.approx(
        found.st_mtime, abs=2e-6
    )  # doubles of today are 2.4e-7 apart


@pytest.mark.parametrize("kind", [*(pytest.param(kind, marks=pytest.mark.both) for kind in ("csv", "parquet")), "json"])
def test_folders_give_columns_to_new_files_too(spark: SparkSession, tmp_path: Path, folder: Path, kind: str) -> None:
    given = {
        "columns": {"user_id": "user", "item_id": "item", "time": "day"}, "time": "iso", "settle": "0s", "format": kind
    }  # fmt: skip
    made, whole = (context(spark, tmp_path / name, events=given) for name in ("t", "whole"))
    for day in (26, 27, 28):
        place = folder / f"day=2026-05-{day}"
        place.mkdir()
        table = pa.table({"user": [day, 7], "item": [1, day]})
        if kind == "parquet":
            pq.write_table(table, place / "x.parquet")
        elif kind == "json":
            (place / "x.json").write_text("".join(f'{{"user": {u}, "item": {i}}}\n' for u, i in ((day, 1), (7, day))))
        else:
            (place / "x.csv").write_text(f"user,item\n{day},1\n7,{day}\n")
        assert ingest_new(made, str(folder)).taken == 1
    ingest_events(whole, str(folder))
    assert histories(made) == histories(whole)
    assert len(histories(made)) == 4


def test_the_configuration_may_name_the_files(spark: SparkSession, folder: Path, tmp_path: Path) -> None:
    event(folder, "1.csv", 1)
    assert ingest_new(made_in(spark, tmp_path / "t", files=str(folder))).taken == 1


def test_a_pattern_names_files_too(made: Any, folder: Path) -> None:
    event(folder, "1.csv", 1)
    event(folder, "2.txt", 2)
    assert ingest_new(made, f"{folder}/*.csv").taken == 1
    assert ingest_new(made, f"{folder}/*.{{csv,txt}}").taken == 1
    assert ingest_new(made, str(folder)).taken == 0


def test_renamed_and_doubled_files_are_not_taken_again(made: Any, folder: Path) -> None:
    first = event(folder, "1.csv", 1)
    ingest_new(made, str(folder))
    first.rename(folder / "renamed.csv")
    shutil.copy(folder / "renamed.csv", folder / "copy.csv")
    event(folder, "2.csv", 2)
    shutil.copy(folder / "2.csv", folder / "3.csv")
    report = ingest_new(made, str(folder))
    assert report.taken == 1
    assert report.same == {
        str(folder / "renamed.csv"): str(first), str(folder / "copy.csv"): str(first),
        str(folder / "3.csv"): str(folder / "2.csv"),
    }  # fmt: skip
    assert f"{folder}/3.csv has the bytes of {folder}/2.csv, and was not taken again" in str(report)
    assert [part.rows_read for part in report.parts] == [1]
    again = ingest_new(made, str(folder))
    assert (again.taken, again.same) == (0, {})


def test_a_changed_file_is_taken_again_and_a_touched_one_is_not(made: Any, folder: Path) -> None:
    changed, touched = event(folder, "1.csv", 1), event(folder, "2.csv", 2)
    ingest_new(made, str(folder))
    with changed.open("a") as file:
        file.write(f"1,77,5,{T0}\n")
    os.utime(touched, (T0, T0))
    report = ingest_new(made, str(folder))
    assert (report.taken, report.changed, report.same) == (1, (str(changed),), {})
    assert "has changed since it was taken, and was taken again" in str(report)
    assert [row[1] for row in histories(made)] == [[77, 11], [12]]
    assert ingest_new(made, str(folder)).taken == 0


def test_what_may_still_be_written_is_left_for_next_time(spark: SparkSession, folder: Path, tmp_path: Path) -> None:
    made, just_now = made_in(spark, tmp_path / "t", settle="30s"), NOW.timestamp() - 10
    event(folder, "old.csv", 1)
    os.utime(event(folder, "fresh.csv", 2), (just_now, just_now))
    (folder / "empty.csv").touch()
    os.utime(folder / "empty.csv", (T0, T0))
    report = ingest_new(made, str(folder))
    assert report.taken == 1
    assert report.waiting.keys() == {str(folder / "fresh.csv"), str(folder / "empty.csv")}
    assert "fresh.csv is left for next time: it was changed 10 s ago, and may still be written" in str(report)
    os.utime(folder / "fresh.csv", (T0, T0))
    assert ingest_new(made, str(folder)).taken == 1
    assert len(histories(made)) == 2


def test_a_file_that_changes_while_it_is_read_is_read_again(
    made: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing, real = event(folder, "1.csv", 1), new_files.merge_source

    def slow(*given: Any) -> Any:
        report = real(*given)
        with growing.open("a") as file:
            file.write(f"1,77,5,{T0}\n")
        return report

    monkeypatch.setattr(new_files, "merge_source", slow)
    report = ingest_new(made, str(folder))
    assert (report.taken, report.waiting) == (0, {str(growing): "it was changed while it was read"})
    monkeypatch.undo()
    assert ingest_new(made, str(folder)).taken == 1
    assert [row[1] for row in histories(made)] == [[77, 11]]


def test_a_file_that_vanishes_stops_no_other(made: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event(folder, "1.csv", 1)
    gone, real = event(folder, "2.csv", 2), new_files.digests

    def late(spark: Any, files: Any) -> Any:
        gone.unlink()
        return real(spark, files)

    monkeypatch.setattr(new_files, "digests", late)
    report = ingest_new(made, str(folder))
    assert (report.taken, report.refused) == (1, {str(gone): "it could not be opened: No such file or directory"})


@pytest.mark.spark  # it lists what is on no disk of this machine
def test_files_of_a_store_are_listed_by_the_session(
    spark: SparkSession, made: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the words that Spark has for any store; here for a folder that is looked at in the same way."""
    monkeypatch.setattr(listing, "_is_stored", lambda _: True)
    first = event(folder, "day=1/a b [1].csv", 1)
    listed = listing.listed(spark, str(folder))
    assert [(file.size, file.modified_us // 1000) for file in listed] == [
        (first.stat().st_size, first.stat().st_mtime_ns // 1_000_000)
    ]
    assert listing.digests(spark, [file.address for file in listed]) == {
        listed[0].address: hashlib.sha256(first.read_bytes()).hexdigest()
    }
    assert ingest_new(made, str(folder)).taken == 1
    event(folder, "day=2/b.csv", 2)
    report = ingest_new(made, str(folder))
    assert (report.listed, report.taken, [part.rows_read for part in report.parts]) == (2, 1, [1])
    assert ingest_new(made, str(folder)).taken == 0


def test_a_file_that_cannot_be_read_stops_no_other_and_is_tried_again(
    spark: SparkSession, made: Any, folder: Path, tmp_path: Path
) -> None:
    """Bad by its first bytes; by its columns; in the middle; by its rows: each is told by its name."""
    for number in range(1, 6):
        event(folder, f"{number}.csv", number)
    (folder / "binary.csv").write_bytes(b"\x00\x01PK")
    (folder / "columns.csv").write_text("a,b\n1,2\n")
    whole = gzip.compress(b"user,item,rating,at\n" + os.urandom(300_000).hex().encode())
    (folder / "damaged.csv.gz").write_bytes(whole[: len(whole) // 2])
    (folder / "rows.csv").write_text("user,item,rating,at\n" + "x,y,z,w\n" * 50)
    bad = {"binary.csv", "columns.csv", "damaged.csv.gz", "rows.csv"}
    report = ingest_new(made, str(folder))
    assert report.taken == 5
    assert {Path(path).name for path in report.refused} == bad
    said = {Path(path).name: why for path, why in report.refused.items()}
    assert "zero bytes" in said["binary.csv"]
    assert "expected columns user, item, at, rating, found a, b" in said["columns.csv"]
    assert "more than events.max_bad_share" in said["rows.csv"]
    assert not any("Exception" in why or "\n" in why for why in said.values())
    assert {name for name, why in remembered(made).items() if why} == bad
    readers = open_readers(made.settings)
    [logged] = read_run(readers, read_log(readers, kind="ingest").runs[0]["run_id"])
    in_log = str(logged)
    assert all(f"\n    {path}: {why[:60]}" in in_log for path, why in report.refused.items())
    event(folder, "6.csv", 6)
    (folder / "columns.csv").write_text(f"user,item,rating,at\n7,17,3,{T0 + 7}\n")
    again = ingest_new(made, str(folder))
    assert (again.taken, {Path(path).name for path in again.refused}) == (2, bad - {"columns.csv"})
    for name in bad - {"columns.csv"}:
        (folder / name).unlink()
    calm = made_in(spark, tmp_path / "calm")
    ingest_events(calm, str(folder))
    assert histories(made) == histories(calm)


def test_a_file_that_could_not_be_taken_is_told_of_once(
    spark: SparkSession, folder: Path, heard: Any, tmp_path: Path
) -> None:
    pytest.importorskip("apprise")
    address, messages = heard
    made = context(spark, tmp_path / "t", events=COLUMNS, notify={"to": [address]})
    event(folder, "1.csv", 1)
    bad = event(folder, "bad.csv", 2, header="user,film,rating,at")
    for _ in range(2):
        assert len(ingest_new(made, str(folder)).refused) == 1
    event(folder, "3.csv", 3)
    worse = event(folder, "worse.csv", 4, header="user,film,rating,at")
    assert ingest_new(made, str(folder)).taken == 1
    bad.write_text(worse.read_text())  # another one

    ingest_new(made, str(folder))

    ids = [row["run_id"] for row in reversed(read_log(open_readers(made.settings), kind="ingest").runs)]
    assert [title for title, *_ in messages] == [f"test refused: ingest {ids[number]}" for number in (0, 2, 3)]
    expected = f"{bad} could not be taken: expected column item, found user, film, rating, at."
    said, how = messages[0][1].split("\n\n")
    assert said.startswith(expected)
    assert said.endswith("\nOthers were taken: 1.")
    assert how == f"Next: scoreline log {ids[0]}, then mend it, then ingest once more"
    assert str(worse) in messages[1][1]
    assert str(bad) not in messages[1][1]


def test_a_mended_configuration_takes_what_was_refused(spark: SparkSession, folder: Path, tmp_path: Path) -> None:
    (folder / "1.csv").write_text(f"user;item;rating;at\n1;2;3;{T0}\n")
    report = ingest_new(made_in(spark, tmp_path / "t"), str(folder))
    assert (report.taken, len(report.refused)) == (0, 1)
    mended = made_in(spark, tmp_path / "t", separator=";")
    assert ingest_new(mended, str(folder)).taken == 1
    assert remembered(mended) == {"1.csv": None}


def test_many_bad_files_hold_the_others_up_for_a_time_only(
    made: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_files, "MOST_REFUSED", 3)
    for number in range(8):
        event(folder, f"{number}-good.csv", number)
        (folder / f"{number}.csv").write_text(f"a,b\n1,{number}\n")
    first = ingest_new(made, str(folder))
    assert 0 < len(first.refused) <= 4
    assert any("others could not be taken" in why for why in first.waiting.values())
    taken = first.taken
    for _ in range(3):
        taken += ingest_new(made, str(folder)).taken
    assert taken == 8
    assert len(histories(made)) == 8


def test_files_with_other_headers_and_with_a_header_only_are_taken(made: Any, folder: Path) -> None:
    for number in range(1, 4):
        event(folder, f"{number}.csv", number)
    (folder / "other.csv").write_text(f"at,rating,item,user\n{T0},3,5,9\n")
    (folder / "nothing.csv").write_text("user,item,rating,at\n")
    report = ingest_new(made, str(folder))
    assert (report.taken, report.refused) == (5, {})
    assert [row[0] for row in histories(made)] == [1, 2, 3, 9]


def test_what_is_not_in_a_file_is_no_files_fault(made: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise RunFailed("there is no space left")

    event(folder, "1.csv", 1)
    monkeypatch.setattr(new_files, "merge_source", full)
    with pytest.raises(RunFailed, match="no space left"):
        ingest_new(made, str(folder))
    monkeypatch.undo()
    assert ingest_new(made, str(folder)).taken == 1


def test_of_two_thousand_files_only_the_new_one_is_opened(
    made: Any, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(2000):
        event(folder, f"{number}.csv", number)
    first = ingest_new(made, str(folder))
    assert (first.taken, [part.rows_read for part in first.parts]) == (2000, [1000, 1000])
    event(folder, "new.csv", 5000)
    opened: list[str] = []
    real = listing._digest
    monkeypatch.setattr(listing, "_digest", lambda address: opened.append(address) or real(address))
    report = ingest_new(made, str(folder))
    assert (report.listed, report.taken, [part.rows_read for part in report.parts]) == (2001, 1, [1])
    assert opened == [f"file:{folder}/new.csv"]
    assert ingest_new(made, str(folder)).taken == 0
    assert opened == [f"file:{folder}/new.csv"]
    assert len(histories(made)) == 2001


def test_two_ingests_at_once_are_one(made: Any, folder: Path) -> None:
    event(folder, "1.csv", 1)
    with locked(made.settings, "ingest"), pytest.raises(RunInProgress, match="Another ingest works"):
        ingest_new(made, str(folder))
    assert ingest_new(made, str(folder)).taken == 1


def test_what_is_no_place_of_files_is_refused(spark: SparkSession, made: Any, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Say ingest --new SOURCE, or in the configuration events\.files"):
        ingest_new(made)
    with pytest.raises(InputError, match="no such file or folder"):
        ingest_new(made, str(folder / "nowhere"))
    assert ingest_new(made, str(folder)).listed == 0
    with pytest.raises(InputError, match="is a Delta table, whose files hold deleted rows"):
        ingest_new(made, made.tables.table("ingested_files").location)
    with pytest.raises(ConfigurationError, match="no events section"):
        ingest_new(context(spark, tmp_path / "t", events=None), str(folder))


def test_the_command_takes_a_folder_or_the_configured_one(
    made: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    event(folder, "1.csv", 1)
    given: list[Any] = []
    monkeypatch.setattr(
        Pipeline, "ingest_new", lambda self, source: given.append(source) or ingest_new(made, str(folder))
    )
    config = tmp_path / "p.yaml"
    config.write_text("name: t\ntables: {root: t}\nmodel: {uri: models:/films/1}\n")
    for arguments in (["--new", "incoming"], ["--new"]):
        done = CliRunner().invoke(nightly.ingest, ["--config", str(config), *arguments])
        assert done.exit_code == 0, done.output
        assert f"{folder}: 1 files, " in done.output
    assert given == ["incoming", None]
