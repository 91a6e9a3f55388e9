"""A real Livy server, HDInsight's interface, from Maven's jars."""

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from clusters.processes import free_port, listening, maven_jars, server
from clusters.standalone import SPARK_HOME

_OPENED = ("java.base/java.lang", "java.base/java.nio", "java.base/sun.nio.ch")


def jars() -> Path:
    """Livy's jars."""
    return maven_jars("livy")


@contextmanager
def livy(folder: Path, *, readable: Path, environment: dict[str, str]) -> Iterator[str]:
    """The URL of a server whose batches run here (`local[2]`) and may read files below `readable`."""
    port, conf = free_port(), folder / "conf"
    conf.mkdir(parents=True)
    (conf / "livy.conf").write_text(
        f"livy.server.host = 127.0.0.1\nlivy.server.port = {port}\nlivy.spark.master = local[2]\n"
        f"livy.file.local-dir-whitelist = {readable}\n"
    )
    opened = [f"--add-opens={package}=ALL-UNNAMED" for package in _OPENED]
    command = ["java", "-Xmx256m", *opened, "-cp", f"{conf}:{jars()}/*", "org.apache.livy.server.LivyServer"]
    places = {"LIVY_LOG_DIR": str(folder), "LIVY_CONF_DIR": str(conf), "SPARK_HOME": str(SPARK_HOME)}
    settings = {**os.environ, **places, **environment}
    with server("livy", command, logs=folder, environment=settings, ready=lambda: listening(port)):
        yield f"http://127.0.0.1:{port}"


def asked(url: str) -> Any:
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)


def ended(url: str, *, seconds: float = 600) -> str:
    """The state of the newest batch when it is over."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        state = str(asked(f"{url}/batches")["sessions"][-1]["state"])
        if state in ("success", "dead", "error", "killed"):
            return state
        time.sleep(2)
    return "still at work"
