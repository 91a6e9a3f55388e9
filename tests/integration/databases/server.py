"""A PostgreSQL of our own: started by a user that is not root, on loopback, and stopped at the end."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pyspark.sql import SparkSession

from scoreline.sources.postgres import DRIVER

CACHE = Path.home() / ".cache" / "scoreline" / "postgres"


def programs() -> Path | None:
    """The folder with initdb and pg_ctl."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    given = found[-1] if found else Path(on_path).resolve() if on_path else None
    return given.parent if given else None


@contextmanager
def postgres() -> Iterator[str]:
    """`postgresql://` of an empty database; skips where PostgreSQL is not installed."""
    where = programs()
    if where is None:
        pytest.skip(
            "PostgreSQL is not installed: apt-get install postgresql, or the programs initdb and pg_ctl on the PATH"
        )
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="scoreline-postgres-") as folder:
        user = owner(Path(folder))
        password = Path(folder) / "password"
        password.write_text("s3cret-Of-The-Test")
        password.chmod(0o644)
        data, log = f"{folder}/data", f"{folder}/log"
        login = [
            "--username=app",
            f"--pwfile={password}",
            "--auth=scram-sha-256",
            "--no-sync",
            "--locale=C",
            "-E",
            "UTF8",
        ]
        _run(user, folder, str(where / "initdb"), "-D", data, *login)
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1 -c fsync=off -c max_connections=50"
        _run(user, folder, str(where / "pg_ctl"), "-D", data, "-l", log, "-w", "-o", options, "start")
        try:
            yield f"postgresql://app:s3cret-Of-The-Test@127.0.0.1:{port}/postgres"
        finally:
            _run(user, folder, str(where / "pg_ctl"), "-D", data, "-m", "immediate", "stop")


def jdbc_driver(spark: SparkSession) -> None:
    """Spark's driver for PostgreSQL, in the session; skips where it cannot be had."""
    if not list(CACHE.glob("*.jar")):
        if shutil.which("mvn") is None:
            pytest.skip(f"needs {DRIVER} in {CACHE}, and there is no mvn to fetch it")
        fetch = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={DRIVER}", f"-DoutputDirectory={CACHE}"]
        if subprocess.run(fetch, check=False, capture_output=True).returncode:
            pytest.skip(f"needs {DRIVER} in {CACHE}, and it could not be fetched")
    spark.sql(f"ADD JAR '{next(CACHE.glob('*.jar')).as_uri()}'")


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def owner(folder: Path) -> str | None:
    """PostgreSQL refuses to run as root: then as the user `postgres` or `nobody`."""
    if os.getuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    user = next(name for name in ("postgres", "nobody") if name in names)
    shutil.chown(folder, user)
    return user


def _run(user: str | None, folder: str, *command: str) -> None:
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,  # the server inherits it: a pipe would never end
        stderr=subprocess.DEVNULL,
        check=False,
        user=user,
        cwd=folder,
        env={**os.environ, "LC_ALL": "C"},
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}")
