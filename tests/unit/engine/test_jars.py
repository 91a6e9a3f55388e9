"""Which Delta goes with which Spark, where its jars are, and what is said when they cannot be had."""

import subprocess
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from scoreline.engine import jars
from scoreline.errors import ConfigurationError

pytestmark = pytest.mark.usefixtures("home")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SCORELINE_JARS", raising=False)
    return tmp_path


def installed(monkeypatch: pytest.MonkeyPatch, spark: str, delta: str) -> None:
    monkeypatch.setattr("pyspark.__version__", spark)
    monkeypatch.setattr("importlib.metadata.version", {"delta-spark": delta}.__getitem__)


@pytest.mark.parametrize(
    ("spark", "delta", "coordinate"),
    [
        ("3.5.8", "3.3.2", "io.delta:delta-spark_2.12:3.3.2"),
        ("4.0.1", "4.0.0", "io.delta:delta-spark_2.13:4.0.0"),
        ("4.0.1", "4.1.0", "io.delta:delta-spark_4.0_2.13:4.1.0"),
        ("4.1.4", "4.4.0", "io.delta:delta-spark_4.1_2.13:4.4.0"),
    ],
)
def test_a_spark_has_its_delta(monkeypatch: pytest.MonkeyPatch, spark: str, delta: str, coordinate: str) -> None:
    installed(monkeypatch, spark, delta)
    assert jars.delta_coordinate() == coordinate


def test_without_the_package_that_says_which_delta_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a platform, where PySpark is, and no package of Delta's."""

    def missing(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr("importlib.metadata.version", missing)
    with pytest.raises(ConfigurationError, match=r"delta-spark is not installed, .* pip install 'scoreline\[spark\]'"):
        jars.delta_coordinate()


@pytest.mark.parametrize(("spark", "delta"), [("3.5.8", "4.0.0"), ("4.1.4", "3.3.2"), ("3.4.0", "2.4.0")])
def test_a_pair_that_does_not_go_together_says_which_do(
    monkeypatch: pytest.MonkeyPatch, spark: str, delta: str
) -> None:
    installed(monkeypatch, spark, delta)
    with pytest.raises(ConfigurationError, match=rf"pyspark {spark} and delta-spark {delta} do not go together"):
        jars.delta_coordinate()


def test_a_folder_of_jars_is_taken_as_it_is_if_delta_is_in_it(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCORELINE_JARS", str(home))
    with pytest.raises(ConfigurationError, match="no delta-spark jar in this folder"):
        jars.delta_jars()
    (home / "delta-spark_4.1_2.13-4.4.0.jar").touch()
    assert jars.delta_jars() == [home / "delta-spark_4.1_2.13-4.4.0.jar"]


def answers(monkeypatch: pytest.MonkeyPatch, *codes: int, said: str = "") -> list[int]:
    """Ivy ends with these codes, one after another; it leaves a jar where the last is 0."""
    left = list(codes)

    def submit() -> subprocess.CompletedProcess[str]:
        code = left.pop(0)
        if code == 0:
            (jars._cache() / "jars").mkdir(parents=True)
            (jars._cache() / "jars" / "io.delta_delta-spark.jar").touch()
        return subprocess.CompletedProcess([], code, "", said)

    monkeypatch.setattr(jars, "_submit_nothing", submit)
    return left


def test_a_refusal_is_tried_again_and_what_came_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    left = answers(monkeypatch, 1, 0)
    (jar,) = jars.delta_jars()
    assert (jar.name, left) == ("io.delta_delta-spark.jar", [])
    assert jars.delta_jars() == [jar]  # nobody is asked again


def test_after_three_refusals_the_servers_own_word_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    left = answers(monkeypatch, 1, 1, 1, 0, said="loading\nServer access error at url x\nException in thread main")
    with pytest.raises(ConfigurationError, match=r"could not be fetched: Server access error at url x\. Connect to"):
        jars.delta_jars()
    assert left == [0]
