"""Who has begun is known by a lock that the kernel keeps: while its process lives, and no longer."""

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from scoreline.runs.begun import begun, left_behind, marked
from scoreline.runs.record import Record

AT = datetime(2026, 7, 1, 3, tzinfo=UTC)
BEGINS = """
import sys
from datetime import UTC, datetime
from pathlib import Path
from scoreline.runs.begun import marked
from scoreline.runs.record import Record
with marked(Path(sys.argv[1]), Record("ingest", datetime(2026, 7, 1, 3, tzinfo=UTC), "one"), "scoreline ingest"):
    print("begun", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def another(tmp_path: Path) -> "subprocess.Popen[str]":
    """Another process, which has begun an ingest."""
    command = [sys.executable, "-c", BEGINS, str(tmp_path)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


def test_it_is_there_while_the_work_lasts(tmp_path: Path) -> None:
    with marked(tmp_path, Record("run", AT, "mine"), "scoreline run"):
        assert [(one.kind, one.run_id, one.started_at, one.alive) for one in begun(tmp_path)] == [
            ("run", "mine", AT, True)
        ]
        with left_behind(tmp_path) as found:
            assert found == []
    assert begun(tmp_path) == []


def test_a_run_that_takes_up_another_has_its_id_from_then_on(tmp_path: Path) -> None:
    with marked(tmp_path, record := Record("run", AT, "mine"), "scoreline run"):
        record.take_up("the run before")
        assert [(one.run_id, one.begun_as, one.alive) for one in begun(tmp_path)] == [("the run before", "mine", True)]
    assert begun(tmp_path) == []


def test_whose_process_is_gone_was_interrupted_and_is_met_once(
    tmp_path: Path, another: "subprocess.Popen[str]"
) -> None:
    assert [one.alive for one in begun(tmp_path)] == [True]
    another.kill()
    another.communicate()
    assert [one.alive for one in begun(tmp_path)] == [False]
    with left_behind(tmp_path) as found, left_behind(tmp_path) as by_another:
        assert ([one.run_id for one in found], by_another) == (["one"], [])
    with left_behind(tmp_path) as found:
        assert found == []
    assert begun(tmp_path) == []


def test_what_could_not_be_noted_is_met_again(tmp_path: Path, another: "subprocess.Popen[str]") -> None:
    another.kill()
    another.communicate()
    with pytest.raises(ZeroDivisionError), left_behind(tmp_path):
        raise ZeroDivisionError
    with left_behind(tmp_path) as found:
        assert [one.run_id for one in found] == ["one"]


def test_without_a_place_for_the_file_the_work_is_done_all_the_same(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with marked(tmp_path / "file", Record("run", AT), ""):
        assert begun(tmp_path / "file") == []
