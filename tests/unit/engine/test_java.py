"""The Java that our sessions start: Spark's own, behind a script that keeps it quiet."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from scoreline.engine.java import ensure_java, java_version

FAKE = """#!/bin/sh
echo 'WARNING: what the JVM itself says' >&2
echo "$@"
"""


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine whose Java says what it was called with; HOME is a folder of the test."""
    home = tmp_path / "jdk 17"
    for folder in ("bin", "lib/server"):
        (home / folder).mkdir(parents=True)
    (home / "bin" / "java").write_text(FAKE)
    (home / "bin" / "java").chmod(0o755)
    (home / "bin" / "keytool").touch()
    (home / "lib" / "server" / "libjvm.so").touch()
    (home / "release").write_text('JAVA_VERSION="17.0.1"\n')
    monkeypatch.setenv("JAVA_HOME", str(home))
    monkeypatch.setenv("HOME", str(tmp_path / "user"))
    (tmp_path / "user").mkdir()
    return home


def said(home: Path, *arguments: str) -> tuple[str, str]:
    done = subprocess.run([home / "bin" / "java", *arguments], capture_output=True, text=True, check=True)
    return done.stdout, done.stderr


def test_a_session_asks_for_no_incubating_module_and_its_jvm_prints_nothing_between_reports(machine: Path) -> None:
    home = ensure_java()
    asked = ("-cp", "a b", "--add-modules=jdk.incubator.vector", "org.apache.spark.deploy.SparkSubmit")
    warning = "WARNING: what the JVM itself says\n"
    assert said(home, *asked, "job.py") == ("-cp a b org.apache.spark.deploy.SparkSubmit job.py\n", warning)
    assert said(home, *asked, "pyspark-shell") == ("", warning)
    # but the launcher, which says what to start
    launch = ("org.apache.spark.launcher.Main", "org.apache.spark.deploy.SparkSubmit", "pyspark-shell")
    assert said(home, *launch) == (" ".join(launch) + "\n", warning)


def test_it_is_a_home_like_the_one_it_stands_for(machine: Path) -> None:
    home = ensure_java()
    assert os.environ["JAVA_HOME"] == str(home)
    assert java_version(home) == 17
    assert {path.name for path in (home / "bin").iterdir()} == {"java", "keytool"}
    assert (home / "lib" / "server" / "libjvm.so").resolve() == machine / "lib" / "server" / "libjvm.so"
    assert ensure_java() == home  # in a process that this one started, too


def test_without_a_place_for_the_script_the_machines_own_is_taken(machine: Path, tmp_path: Path) -> None:
    (tmp_path / "user" / ".cache").write_text("no folder")
    assert ensure_java() == machine


@pytest.mark.spark
def test_a_session_that_does_not_start_is_one_message(machine: Path, tmp_path: Path) -> None:
    (tmp_path / "delta-spark.jar").touch()
    start = "from scoreline.errors import ScorelineError\nfrom scoreline.engine.session import get_session\n"
    start += "try:\n    get_session('x')\nexcept ScorelineError as error:\n    print(error)"
    environment = {**os.environ, "SCORELINE_JARS": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", start], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == (
        "Spark could not be started: Java gateway process exited before sending its port number. The lines above may "
        "say why; look at the spark settings of the configuration, JAVA_HOME, and the memory of this machine."
    )
