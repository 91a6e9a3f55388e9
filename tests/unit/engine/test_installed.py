"""What is said where nothing computes, where only Spark's client is there, and where two packages share their files."""

import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from scoreline import Pipeline
from scoreline.engine import installed, session
from scoreline.engine.installed import has_classic_spark, missing_for_embedded, require_pyspark
from scoreline.errors import ConfigurationError

CONFIG = {"name": "films", "tables": {"root": "data"}, "model": {"uri": "m"}, "engine": "spark"}
CONFIG["events"] = {"columns": {"user_id": "u", "item_id": "i", "time": "t"}}
HIDDEN = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("pyspark", "py4j"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
import importlib.util
importlib.util.find_spec = lambda name, found=importlib.util.find_spec: None if name == "pyspark" else found(name)
from scoreline.cli.main import entry
entry()
"""
NOTHING = (
    "error: Nothing that computes is installed here. Choose one: pip install 'scoreline[embedded]' on one machine, "
    "without Java; 'scoreline[spark]' for Spark; 'scoreline[both]' for both in one environment.\n"
)


def without_pyspark(*arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """A command in a Python that has no PySpark."""
    command = [sys.executable, "-c", HIDDEN, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", [["plan", "--config", "a.yaml"], ["init", "--events", "e.csv"], ["demo"]])
def test_a_command_says_what_to_install(command: list[str], tmp_path: Path) -> None:
    """One of a pipeline, one before there is one, and the demo."""
    tmp_path.joinpath("a.yaml").write_text(str(CONFIG).replace("'", '"'))
    done = without_pyspark(*command, folder=tmp_path)
    assert (done.returncode, done.stderr) == (2, NOTHING)


@pytest.mark.parametrize("command", [["--help"], ["run", "--help"], ["train", "--help-estimator", "popularity"]])
def test_help_needs_nothing_that_computes(command: list[str], tmp_path: Path) -> None:
    done = without_pyspark(*command, folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")


def test_two_packages_that_share_their_files_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "distribution", lambda name: name)
    with pytest.raises(ConfigurationError, match=r"pip uninstall -y pyspark pyspark-client"):
        Pipeline(CONFIG).plan()
    for there in ("pyspark", "pyspark-client"):
        monkeypatch.setattr(installed, "distribution", only(there))
        require_pyspark()


def only(there: str) -> object:
    def distribution(name: str) -> str:
        if name != there:
            raise PackageNotFoundError(name)
        return name

    return distribution


def test_sparks_client_alone_starts_no_spark(monkeypatch: pytest.MonkeyPatch) -> None:
    assert has_classic_spark()
    monkeypatch.setattr(session, "has_classic_spark", lambda: False)
    monkeypatch.setattr(session, "existing_session", lambda: None)
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    with pytest.raises(ConfigurationError, match=r"only its client \(pyspark-client\) is installed here"):
        session.get_session("films")


def test_what_the_embedded_engine_lacks_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "find_spec", lambda name: None if name == "pysail" else name)
    assert missing_for_embedded() == ["pysail"]
