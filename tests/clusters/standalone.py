"""A standalone cluster: a master and a worker, from the jars of the installed pyspark."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pyspark

from clusters.processes import free_port, listening, server

SPARK_HOME = Path(pyspark.__path__[0])


@contextmanager
def standalone(folder: Path) -> Iterator[str]:
    """The master's URL."""
    master, worker = free_port(), free_port()
    url = f"spark://127.0.0.1:{master}"
    environment = {**os.environ, "SPARK_LOCAL_IP": "127.0.0.1", "SPARK_DAEMON_MEMORY": "256m"}
    start = str(SPARK_HOME / "bin" / "spark-class")
    deploy = "org.apache.spark.deploy"
    where = ("--host", "127.0.0.1", "--webui-port", "0")
    size = ("--cores", "2", "--memory", "2g", "--work-dir", str(folder / "work"))
    commands = (
        ("master", master, (start, f"{deploy}.master.Master", *where, "--port", str(master))),
        ("worker", worker, (start, f"{deploy}.worker.Worker", *where, "--port", str(worker), *size, url)),
    )
    with ExitStack() as running:
        for name, port, command in commands:
            running.enter_context(
                server(
                    name,
                    command,
                    logs=folder / "logs",
                    environment=environment,
                    ready=lambda port=port: listening(port),
                )
            )
        yield url
