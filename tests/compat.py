"""`make compat`: the whole-job tests on each Spark line, the examples for schedulers in those schedulers; in virtual
environments that are kept outside of the checkout.

    python tests/compat.py            # all of them
    python tests/compat.py 3.5        # one of them, such as airflow

Prints a line per environment; exits with 1 if one of them fails. An environment is made once and used again as long as
its list of packages stays the same.
"""

import hashlib
import os
import subprocess
import sys
import time
import tomllib
import venv
from pathlib import Path

ROOT = Path(__file__).parents[1]
CACHE = Path.home() / ".cache" / "scoreline" / "compat"
LINES = {
    "3.5": ("pyspark==3.5.*", "delta-spark==3.3.*"),
    "4.0": ("pyspark==4.0.*", "delta-spark==4.0.*"),
    "4.1": ("pyspark==4.1.*", "delta-spark==4.4.0"),
}
TESTS = (
    "tests/integration/pipeline/test_run.py",
    "tests/integration/ingest/test_ingest.py",
    "tests/integration/export/test_export.py",
)
SCHEDULERS = {
    "airflow": ("apache-airflow-core==3.3.*", "apache-airflow-providers-standard"),
    "dagster": ("dagster==1.13.*",),
}
_TOOLS = ("pytest", "pytest-timeout", "pytest-xdist", "chispa", "hypothesis")


def packages(line: str) -> list[str]:
    """What the tests need with this Spark or scheduler, as pip says it."""
    if line in SCHEDULERS:
        return [*SCHEDULERS[line], "pytest", "pytest-timeout"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return [*project["dependencies"], *LINES[line], *_TOOLS, "setuptools<81"]  # Spark 3.5 imports distutils


def environment(line: str) -> Path:
    """The Python of the line's environment, made if need be."""
    wanted = packages(line)
    folder = CACHE / f"{line}-{hashlib.sha256(repr(wanted).encode()).hexdigest()[:8]}"
    python = folder / "bin" / "python"
    if not (folder / ".complete").exists():
        venv.create(folder, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        (folder / ".complete").touch()
    return python


def check(line: str) -> bool:
    """Run the tests on one line and say how it went."""
    began = time.monotonic()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("SPARK_", "PYSPARK_"))}
    python = environment(line)
    # the suite's conftest.py is about Spark
    tests = ("--noconftest", f"tests/schedulers/in_{line}.py") if line in SCHEDULERS else TESTS
    command = [str(python), "-m", "pytest", *tests, "-x", "-p", "no:cacheprovider", "-W", "default"]
    done = subprocess.run(
        command, cwd=ROOT, env={**kept, "PYTHONPATH": str(ROOT / "src")}, capture_output=True, text=True, check=False
    )
    last = (done.stdout.strip().splitlines() or ["nothing was printed"])[-1]
    print(f"{'' if line in SCHEDULERS else 'Spark '}{line}  {time.monotonic() - began:4.0f} s  {last}", flush=True)
    if done.returncode:
        print(done.stdout[-6000:], done.stderr[-2000:], flush=True)
    return done.returncode == 0


if __name__ == "__main__":
    passed = [check(line) for line in sys.argv[1:] or (*LINES, *SCHEDULERS)]
    sys.exit(0 if all(passed) else 1)
