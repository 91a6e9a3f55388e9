"""What the demo says of the tables of both engines; the whole of it is run by tests/deploy/test_cuts.py."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pyarrow as pa
import pytest

from builders import settings
from scoreline.cli import demo_compare
from scoreline.cli.demo_compare import compared
from scoreline.errors import ConfigurationError, RunFailed

ROWS = pa.table({"user_id": [1, 2], "scores": [[0.5], [0.25, 0.1]]})
OTHER = pa.table({"user_id": [1, 2], "scores": [[0.5], [0.25, 0.2]]})


SCRIPT = """
import os, signal, sys, time
from scoreline.cli.demo_compare import apart
from scoreline.errors import InputError

def work(place):
    with open(f"{place}.new", "w") as file:
        file.write(str(os.getpid()))
    os.rename(f"{place}.new", place)
    time.sleep(60)

def fails():
    raise InputError("no such file")

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell in the background has it ignored
    try:
        apart(fails)
    except InputError as error:
        print(error)
    try:
        apart(work, sys.argv[1])
    except KeyboardInterrupt:
        print("left out")
"""


@pytest.fixture(autouse=True)
def _embedded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demo_compare, "is_embedded", lambda _: True)


def said(monkeypatch: pytest.MonkeyPatch, folder: Path, *, fails: BaseException | None = None, spark: pa.Table) -> str:
    def ended(*_: object) -> None:
        """Stands for the process that Spark works in."""
        if fails:
            raise fails

    monkeypatch.setattr(demo_compare, "apart", ended)
    monkeypatch.setattr(
        demo_compare, "_rows", lambda made, _: spark if "on-spark" in made.settings.tables.root else ROWS
    )
    return compared(settings(folder), Path("events.csv"), Path("items.csv"))


def test_equal_rows_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert said(monkeypatch, tmp_path, spark=ROWS) == (
        "user_history: 2 rows, each the same on both engines\nrecommendations: 2 rows, each the same on both engines"
    )


def test_a_row_that_differs_fails_the_demo(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match="user_history: the 2 rows of the embedded engine are not the 2 of Spark"):
        said(monkeypatch, tmp_path, spark=OTHER)


def test_a_machine_that_cannot_have_spark_and_a_person_in_a_hurry_fail_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    no_java = ConfigurationError("No Java.")
    assert said(monkeypatch, tmp_path, fails=no_java, spark=OTHER) == "Not compared, Spark cannot be had here: No Java."
    assert said(monkeypatch, tmp_path, fails=KeyboardInterrupt(), spark=OTHER) == "Left out."


def test_what_is_done_apart_raises_here_and_ends_without_a_word_at_ctrl_c(tmp_path: Path) -> None:
    script, place = tmp_path / "script.py", tmp_path / "begun"
    script.write_text(SCRIPT)
    with subprocess.Popen(
        [sys.executable, str(script), str(place)], start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        while not place.exists():
            assert process.poll() is None
            time.sleep(0.05)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does
        assert process.communicate(timeout=60) == ("no such file\nleft out\n", "")
    assert not Path(f"/proc/{place.read_text()}").exists()
