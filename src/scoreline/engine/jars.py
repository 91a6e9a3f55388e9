"""Delta's jars: resolved once into Ivy's cache, then found there without a network.

`configure_spark_with_delta_pip` would have Ivy resolve 33 jars, loudly, at each start. The seven that are needed are
fetched and passed by `spark.jars`, which needs no Ivy.
"""

import fcntl
import importlib.metadata
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from scoreline.errors import ConfigurationError

# Which Delta goes with which Spark: https://docs.delta.io/releases/
COORDINATES = {
    (3, 5): "io.delta:delta-spark_2.12:{delta}",
    (4, 0): "io.delta:delta-spark_4.0_2.13:{delta}",
    (4, 1): "io.delta:delta-spark_4.1_2.13:{delta}",
}
_GROUPS = ("io.delta_", "io.unitycatalog_")
# What Delta asks for besides is in Spark's own jars already: not fetching it makes 7 downloads of 33.
_IN_SPARK = "com.*:*,commons-*:*,io.airlift:*,javax.*:*,org.*:*"
_TRIES = 3


def delta_coordinate() -> str:
    """The Maven coordinate of the Delta that fits the installed pyspark and delta-spark."""
    import pyspark

    spark = pyspark.__version__
    try:
        delta = importlib.metadata.version("delta-spark")
    except importlib.metadata.PackageNotFoundError:
        raise ConfigurationError(
            f"The package delta-spark is not installed, which says what Delta Lake goes with Spark {spark}: "
            "pip install 'scoreline[spark]'."
        ) from None
    line = tuple(int(part) for part in spark.split(".")[:2])
    if line not in COORDINATES or (line == (3, 5)) != delta.startswith("3."):
        raise ConfigurationError(
            f"pyspark {spark} and delta-spark {delta} do not go together. "
            "Install pyspark 3.5 with delta-spark 3.3, or pyspark 4.0 or 4.1 with delta-spark 4.x."
        )
    if delta.startswith("4.0."):  # its name does not say for which Spark
        return f"io.delta:delta-spark_2.13:{delta}"
    return COORDINATES[line].format(delta=delta)


def hadoop_version() -> str:
    """Of the Hadoop that PySpark brings, which clients of stores have to be of; VERSION where it brings none."""
    import pyspark

    name = "hadoop-client-api-"
    jar = next(Path(pyspark.__path__[0], "jars").glob(f"{name}*.jar"), None)
    return jar.stem.removeprefix(name) if jar else "VERSION"


def delta_jars() -> list[Path]:
    """Delta's jars from Ivy's cache, fetched on first use; raises ConfigurationError when they cannot be had."""
    if folder := os.environ.get("SCORELINE_JARS"):
        return _from_folder(Path(folder))
    if not (found := _cached()):
        with _one_at_a_time():
            found = _cached() or _resolved()
    if not found:
        raise ConfigurationError(_cannot(f"Ivy left no Delta jar in {_cache()}"))
    return found


def _from_folder(folder: Path) -> list[Path]:
    found = sorted(folder.glob("*.jar"))
    if not any("delta-spark" in jar.name for jar in found):
        raise ConfigurationError(f"SCORELINE_JARS={folder}: no delta-spark jar in this folder.")
    return found


def _cache() -> Path:
    # one cache of ours, so that it holds nothing but what was resolved for one coordinate
    return Path.home() / ".cache" / "scoreline" / "ivy" / delta_coordinate().replace(":", "_")


def _cached() -> list[Path]:
    marker = _cache() / "resolved"
    return sorted(j for g in _GROUPS for j in (_cache() / "jars").glob(f"{g}*.jar")) if marker.exists() else []


@contextmanager
def _one_at_a_time() -> Iterator[None]:
    # Ivy's cache is not made for two writers: of two first sessions at once, one would find half a jar
    _cache().mkdir(parents=True, exist_ok=True)
    with (_cache() / "lock").open("w", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _resolved() -> list[Path]:
    print(f"Fetching Delta Lake for Spark ({delta_coordinate()}), once ...", file=sys.stderr, flush=True)  # noqa: T201
    for _ in range(_TRIES):  # a repository refuses a single jar now and then; what came is in the cache
        done = _submit_nothing()
        if done.returncode == 0:
            (_cache() / "resolved").touch()
            return _cached()
    raise ConfigurationError(_cannot(_reason(done.stderr)))


def _submit_nothing() -> subprocess.CompletedProcess[str]:
    """Run an empty script by spark-submit, which resolves packages before anything else."""
    import pyspark

    submit = Path(pyspark.__path__[0]) / "bin" / "spark-submit"
    packages = ["--packages", delta_coordinate(), "--exclude-packages", _IN_SPARK]
    environment = {**os.environ, "PYSPARK_PYTHON": sys.executable}
    with tempfile.TemporaryDirectory() as scratch:
        script = Path(scratch) / "nothing.py"
        script.write_text("", encoding="utf-8")
        command = [str(submit), *packages, "--conf", f"spark.jars.ivy={_cache()}", str(script)]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment)


def _reason(log: str) -> str:
    # Ivy's own word on the server says more than the exception that follows
    signs = ("Server access error", "Exception", "not found")
    telling = [line.strip() for sign in signs for line in log.splitlines() if sign in line]
    return telling[0] if telling else (log.strip().splitlines() or ["spark-submit said nothing"])[-1]


def _cannot(reason: str) -> str:
    return (
        f"Delta Lake's jars ({delta_coordinate()}) could not be fetched: {reason}. "
        "Connect to a Maven repository once (Ivy reads ~/.ivy2.5.2/ivysettings.xml), or put delta-spark, delta-storage "
        "and their io.delta and io.unitycatalog dependencies in a folder and set SCORELINE_JARS to it."
    )
