"""docs/triggers.md from an empty folder to an application that has read its user's new list."""

import os
import re
import shlex
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from integration.databases.server import free_port

PAGE = (
    (Path(__file__).parents[3] / "docs" / "triggers.md")
    .read_text(encoding="utf-8")
    .split("## What can be a trigger")[0]
)


def until(is_so: Callable[[], bool], *, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def missing(answer: str, said: str) -> list[str]:
    """The lines of an answer that nobody has said; … stands for anything."""
    wanted = [r"\s+".join(map(re.escape, line.split())).replace("…", ".*") for line in answer.splitlines()]
    return [w for w in wanted if not any(re.fullmatch(w, line.strip()) for line in said.splitlines())]


def answered(answer: str, said: str, log: Path) -> bool:
    return not missing(answer, said + log.read_text())


@pytest.mark.long
def test_the_page_can_be_walked(tmp_path: Path) -> None:
    """Each command is run as it stands; `scoreline watch` in a terminal of its own, whose lines are answers, too."""
    scripts = iter(re.findall(r"ave this as `(\w+\.py)`", PAGE))
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    environ = {**os.environ, "PATH": path, "SCORELINE_CONFIG": "conf/films.yaml"}
    port, log, said = free_port(), tmp_path / "watch.log", ""
    log.touch()
    watching: subprocess.Popen[bytes] | None = None
    try:
        for language, text in re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE):
            shown = text.replace("8099", str(port))
            if language == "python":
                (tmp_path / next(scripts)).write_text(shown)
            elif language == "yaml":
                file = tmp_path / "conf" / "films.yaml"
                events = "\nevents:\n  files: incoming\n  settle: 1s\n"
                file.write_text(file.read_text().replace("\nevents:\n", events) + shown)
            elif shown == "scoreline watch\n":
                with log.open("w") as out:
                    watching = subprocess.Popen(shlex.split(shown), cwd=tmp_path, env=environ, stdout=out, stderr=out)
                assert until(lambda: "watches films" in log.read_text(), seconds=60), log.read_text()
            elif language == "sh":
                script = ["bash", "-ec", shown]
                done = subprocess.run(script, cwd=tmp_path, env=environ, capture_output=True, text=True, check=False)
                assert done.returncode == 0, done.stderr
                said += done.stdout
            else:
                until(partial(answered, text, said, log), seconds=60)
                assert missing(text, said + log.read_text()) == [], said + log.read_text()
    finally:
        if watching is not None:
            watching.terminate()
            ended = watching.wait(60)
    assert (ended, "Traceback" in log.read_text()) == (0, False)
