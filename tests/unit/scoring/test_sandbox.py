"""A child of the sandbox is gone when it has to be, with all that it has started."""

import os
import time
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from scoreline.scoring.limits import alarm
from scoreline.scoring.sandbox import Timeouts, sandboxed

ROWS = pa.RecordBatch.from_pydict({"a": [1, 2, 3]})


def fail(rows: pa.RecordBatch, code: str, message: str) -> pa.RecordBatch:
    return pa.RecordBatch.from_pydict({"a": [-1] * rows.num_rows})


def outcome(score: object) -> tuple[list[int], float]:
    began = time.monotonic()
    found = list(sandboxed(score, fail, ROWS, Timeouts(0.5, 0.5, lambda: False)))  # type: ignore[arg-type]
    return [value for batch in found for value in batch.column("a").to_pylist()], time.monotonic() - began


@pytest.mark.parametrize("session", [False, True], ids=["in its group", "in a session of its own"])
@pytest.mark.parametrize("end", ["hangs", "exits", "answers"])
def test_what_a_model_has_forked_keeps_nobody_waiting(end: str, session: bool, tmp_path: Path) -> None:
    """A helper process, such as those of multiprocessing, holds the pipe open after its parent is gone."""
    helpers = tmp_path / "helpers"

    def score(rows: pa.RecordBatch, seconds: float | None) -> pa.RecordBatch:
        with alarm(seconds):
            if 2 in rows.column("a").to_pylist():
                if os.fork() == 0:
                    if session:
                        os.setsid()
                    with helpers.open("a") as file:
                        file.write(f"{os.getpid()}\n")
                    time.sleep(15)
                    os._exit(0)
                time.sleep(0.1)
                if end == "exits":
                    os._exit(3)
                while end == "hangs":
                    time.sleep(1)
        return rows

    values, seconds = outcome(score)
    assert values == ([1, 2, 3] if end == "answers" else [1, -1, 3])
    assert seconds < 5
    if not session:
        time.sleep(0.1)
        assert [pid for pid in map(int, helpers.read_text().split()) if _runs(pid)] == []


def _runs(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_an_answer_larger_than_a_pipe_comes_whole() -> None:
    large = pa.RecordBatch.from_pydict({"a": list(range(200_000))})
    found = list(sandboxed(lambda rows, _: rows, fail, large, Timeouts(None, None, lambda: False)))
    assert found == [large]
