"""A server that hangs: its threads, and no other of the process, are stopped one by one, as a debugger does it."""

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from builders import write_events
from embedded import rows
from integration.conftest import events_of

pytest.importorskip("pysail")

SEIZE, INTERRUPT, ANY_THREAD = 0x4206, 0x4207, 0x40000000  # of ptrace(2) and waitpid(2)
INGEST = """
import json, sys
from pathlib import Path
from scoreline.cli.main import entry
from scoreline.engine.embedded import watch
from scoreline.engine.embedded.sail import embedded_session
from scoreline.ingest import ingest
watch._EVERY, watch._PATIENCE, watch._TO_LEAVE = 0.1, 0.5, 1
checked = ingest.checked_events
embedded_session()
tasks = list(Path("/proc/self/task").iterdir())
threads = [int(task.name) for task in tasks if (task / "comm").read_text().strip() == "tokio-rt-worker"]
def waits(*given, **named):
    print(json.dumps(threads), flush=True)
    sys.stdin.readline()
    return checked(*given, **named)
ingest.checked_events = waits
entry(sys.argv[1:])
"""


@pytest.fixture
def ingest(pipeline: Any, tmp_path: Path) -> list[str]:
    """A command that says which threads are its server's, and waits, when it has begun to read."""
    config, source = tmp_path / "pipeline.yaml", write_events(tmp_path / "events.csv", events_of())
    settings = pipeline().settings.model_dump(mode="json", exclude_unset=True) | {"engine": "embedded"}
    config.write_text(json.dumps({key: value for key, value in settings.items() if key != "export"}))
    return [sys.executable, "-c", INGEST, "ingest", "--config", str(config), "--events", source]


@contextmanager
def stopped(threads: list[int]) -> Iterator[None]:
    """Inside, these threads of a child process are stopped until it ends; skips where that is not allowed."""
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    if any(ptrace(request, thread, None, None) for thread in threads for request in (SEIZE, INTERRUPT)):
        pytest.skip("needs the right to stop threads of another process")
    yield
    for thread in threads:  # whoever stops them has to bury them
        while os.WIFSTOPPED(os.waitpid(thread, ANY_THREAD)[1]):
            pass


@pytest.mark.skipif(sys.platform != "linux", reason="needs ptrace of Linux")
def test_a_server_that_hangs_is_given_up_in_words(pipeline: Any, ingest: list[str]) -> None:
    """The command ends by itself, changes nothing, and can be given again."""
    with subprocess.Popen(ingest, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        with stopped(json.loads(process.stdout.readline())):
            process.stdin.write("\n")
            process.stdin.flush()
            said = process.stderr.read()
    assert "the embedded engine's server in this process has hung for minutes, and was given up. Run again" in said
    assert "Traceback" not in said
    assert process.returncode != 0
    assert rows(pipeline(), "user_history") == []
    assert subprocess.run(ingest, input="\n", text=True, check=False, stdout=-1).returncode == 0
    assert len(rows(pipeline(), "user_history")) == 60


def test_a_server_that_answers_is_left_alone(pipeline: Any, ingest: list[str]) -> None:
    """It is asked all the time, and busy."""
    done = subprocess.run(ingest, input="\n", capture_output=True, text=True, check=False)
    assert (done.returncode, "not answered" in done.stderr) == (0, False), done.stderr
    assert len(rows(pipeline(), "user_history")) == 60
