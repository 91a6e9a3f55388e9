"""Two processes on the same tables: one works, whatever each calls the folder."""

import subprocess
import sys
from pathlib import Path

import pytest

from builders import settings
from scoreline.errors import RunInProgress
from scoreline.tables.lock import locked

_HOLD = """
import sys
from builders import settings
from scoreline.tables.lock import locked
with locked(settings(sys.argv[1]), "run"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_one_of_two_processes_works_however_the_folder_is_spelled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, link = tmp_path / "warehouse" / "tables", tmp_path / "link"
    folder.mkdir(parents=True)
    link.symlink_to(folder.parent)
    monkeypatch.chdir(tmp_path)
    spelled = [
        str(folder), f"{folder}/", f"{link}/tables", "warehouse/tables", "./link/../warehouse//tables/",
        f"file:{folder}", f"file://{folder}", f"file://{link}/tables/",
    ]  # fmt: skip
    command = [sys.executable, "-c", _HOLD, "link/tables/"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": ":".join(sys.path)}
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        for root in spelled:
            with (
                pytest.raises(RunInProgress, match=f"Another run works on the tables of test .process {holder.pid}, "),
                locked(settings(root), "run"),
            ):
                pass
        holder.kill()
    with locked(settings(spelled[2]), "run"):  # the kernel gives a dead process's lock back
        pass
