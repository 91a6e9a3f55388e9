"""A log that is kept between two looks says what the table's files say, whoever has written them since."""

import shutil
from pathlib import Path

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake

from scoreline.tables.delta_log import changed_log, kept_log


@pytest.fixture
def table(tmp_path: Path) -> str:
    folder = str(tmp_path / "table")
    add(folder, 1, 2)
    return folder


def add(folder: str, *numbers: int) -> None:
    """A commit of somebody else's for each."""
    for number in numbers:
        write_deltalake(folder, pa.table({"n": [number]}), mode="append")


def numbers(log: DeltaTable) -> list[int]:
    return sorted(log.to_pyarrow_table()["n"].to_pylist())


def test_commits_of_others_are_seen_and_a_version_stays_one(table: str) -> None:
    assert (kept_log(table).version(), numbers(kept_log(table))) == (1, [1, 2])
    add(table, 3, 4)
    assert (kept_log(table).version(), numbers(kept_log(table))) == (3, [1, 2, 3, 4])
    assert (numbers(kept_log(table, 0)), numbers(kept_log(table, 3))) == ([1], [1, 2, 3, 4])


def test_what_is_committed_to_a_kept_log_is_there_for_the_next(table: str) -> None:
    for number in (3, 4):
        with changed_log(table) as log:
            write_deltalake(log, pa.table({"n": [number]}), mode="append")
    assert numbers(kept_log(table)) == numbers(DeltaTable(table)) == [1, 2, 3, 4]


def test_a_commit_that_failed_leaves_nothing_of_itself(table: str) -> None:
    kept_log(table)
    with pytest.raises(RuntimeError), changed_log(table):
        raise RuntimeError
    assert numbers(kept_log(table)) == [1, 2]


@pytest.mark.parametrize("made", [(7, 8), (7, 8, 9)])
def test_another_table_in_the_same_place_is_another(table: str, made: tuple[int, ...]) -> None:
    assert numbers(kept_log(table)) == [1, 2]
    shutil.rmtree(table)
    add(table, *made)
    assert numbers(kept_log(table)) == list(made)


def test_where_the_commits_in_between_are_gone_all_is_read(table: str) -> None:
    kept_log(table)
    add(table, 3, 4)
    DeltaTable(table).create_checkpoint()
    Path(table, "_delta_log", f"{2:020d}.json").unlink()
    assert numbers(kept_log(table)) == [1, 2, 3, 4]


def test_a_checkpoint_is_when_a_log_is_read_anew(table: str) -> None:
    """What has read its commits one by one holds each of them, for ever."""
    before = kept_log(table)
    add(table, 3)
    assert kept_log(table) is before
    with changed_log(table) as log:
        write_deltalake(log, pa.table({"n": [4]}), mode="append")
        log.create_checkpoint()
    after = kept_log(table)
    assert after is not before
    assert kept_log(table) is after
    assert numbers(after) == [1, 2, 3, 4]
