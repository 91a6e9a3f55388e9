"""Delta's jars: resolved once into Ivy's cache, then found there without a network.

`configure_spark_with_delta_pip` would have Ivy resolve 33 jars, loudly, at each start. Seven are needed; they are
passed by `spark.jars`, which needs no Ivy.
"""

import importlib.metadata
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from scoreline.errors import ConfigurationError

# Which Delta goes with which Spark: https://docs.delta.io/releases/
COORDINATES = {
    (3, 5): "io.delta:delta-spark_2.12:{delta}",
    (4, 0): "io.delta:delta-spark_4.0_2.13:{delta}",
    (4, 1): "io.delta:delta-spark_4.1_2.13:{delta}",
}
_GROUPS = ("io.delta_", "io.unitycatalog_")


def delta_coordinate() -> str:
    """The Maven coordinate of the Delta that fits the installed pyspark and delta-spark."""
    spark = importlib.metadata.version("pyspark")
    delta = importlib.metadata.version("delta-spark")
    line = tuple(int(part) for part in spark.split(".")[:2])
    if line not in COORDINATES or (line == (3, 5)) != delta.startswith("3."):
        raise ConfigurationError(
            f"pyspark {spark} and delta-spark {delta} do not go together. "
            "Install pyspark 3.5 with delta-spark 3.3, or pyspark 4.0 or 4.1 with delta-spark 4.x."
        )
    return COORDINATES[line].format(delta=delta)


def delta_jars() -> list[Path]:
    """Delta's jars from Ivy's cache, fetched on first use; raises ConfigurationError when they cannot be had."""
    if folder := os.environ.get("SCORELINE_JARS"):
        return _from_folder(Path(folder))
    if not (found := _cached()):
        _resolve()
        found = _cached()
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


def _resolve() -> None:
    import pyspark

    coordinate = delta_coordinate()
    print(f"Fetching Delta Lake for Spark ({coordinate}), once ...", file=sys.stderr, flush=True)  # noqa: T201
    submit = Path(pyspark.__path__[0]) / "bin" / "spark-submit"
    with tempfile.TemporaryDirectory() as scratch:
        # resolving is the first thing spark-submit does; the script that it then runs is empty
        script = Path(scratch) / "nothing.py"
        script.write_text("", encoding="utf-8")
        command = [str(submit), "--packages", coordinate, "--conf", f"spark.jars.ivy={_cache()}", str(script)]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYSPARK_PYTHON": sys.executable},
        )
    if done.returncode != 0:
        raise ConfigurationError(_cannot(_reason(done.stderr)))
    (_cache() / "resolved").touch()


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
