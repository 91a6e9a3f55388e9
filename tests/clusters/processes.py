"""Servers that a check starts and stops: logs in a folder, all on loopback, none left behind."""

import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path


def maven_jars(name: str) -> Path:
    """The jars that `<name>-pom.xml` beside this file names, fetched once by Maven."""
    folder = Path.home() / ".cache" / "scoreline" / name / "jars"
    if not (folder / ".complete").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        pom = Path(__file__).with_name(f"{name}-pom.xml")
        copy = f"-DoutputDirectory={folder}"
        subprocess.run(
            ["mvn", "-q", "-B", "-Dstyle.color=never", "-f", str(pom), "dependency:copy-dependencies", copy], check=True
        )
        (folder / ".complete").touch()
    return folder


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def server(
    name: str, command: Sequence[str], *, logs: Path, environment: Mapping[str, str], ready: Callable[[], bool]
) -> Iterator[None]:
    """Run `command` until the block ends; `ready` says when it can be used."""
    logs.mkdir(parents=True, exist_ok=True)
    with (logs / f"{name}.log").open("w") as log:
        # a session of its own, so that what it starts ends with it
        process = subprocess.Popen(command, stdout=log, stderr=log, env=dict(environment), start_new_session=True)
        try:
            wait_until(ready, what=f"{name} (log: {logs / name}.log)", alive=lambda: process.poll() is None)
            yield
        finally:
            stop(process)


def stop(process: "subprocess.Popen[bytes]") -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(timeout=20)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            continue


def wait_until(done: Callable[[], bool], *, what: str, alive: Callable[[], bool], seconds: float = 180) -> None:
    end = time.monotonic() + seconds
    while not done():
        if not alive():
            raise RuntimeError(f"{what} ended before it was ready")
        if time.monotonic() > end:
            raise RuntimeError(f"{what} was not ready after {seconds:.0f} s")
        time.sleep(0.5)
