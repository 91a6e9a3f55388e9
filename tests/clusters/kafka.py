"""A broker of Apache Kafka: one process on loopback, its log in a folder; with and without a password."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clusters.processes import free_port, listening, maven_jars, server

USER, PASSWORD = "reader", "hush4Kafka"
_PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule required"
_CLUSTER = "c2NvcmVsaW5lLXRlc3RzIQ"
_LOGGING = ["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-Xmx512m", "-XX:TieredStopAtLevel=1"]


@dataclass(frozen=True)
class Broker:
    """Where it listens; `run` runs it, again and again on the same log."""

    folder: Path
    port: int
    guarded_port: int
    control_port: int

    @classmethod
    def new(cls, folder: Path) -> "Broker":
        """Format a log in `folder`, which must not exist."""
        folder.mkdir(parents=True)
        made = cls(folder, free_port(), free_port(), free_port())
        (folder / "server.properties").write_text("".join(f"{k}={v}\n" for k, v in made._settings.items()))
        command = made._java(
            "kafka.tools.StorageTool", "format", "-t", _CLUSTER, "-c", str(folder / "server.properties")
        )
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"Kafka's log could not be formatted: {done.stdout[-500:]}{done.stderr[-1000:]}")
        return made

    @property
    def servers(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def guarded(self) -> str:
        """Where a user and a password are asked for."""
        return f"127.0.0.1:{self.guarded_port}"

    @property
    def credentials(self) -> dict[str, str]:
        """Options of a client that is let in there."""
        return {
            "security.protocol": "SASL_PLAINTEXT",
            "sasl.mechanism": "PLAIN",
            "sasl.jaas.config": f'{_PLAIN} username="{USER}" password="{PASSWORD}";',
        }

    @property
    def _settings(self) -> dict[str, str | int]:
        listeners = f"PLAINTEXT://{self.servers},SASL_PLAINTEXT://{self.guarded}"
        return {
            "process.roles": "broker,controller",
            "node.id": 1,
            "controller.quorum.voters": f"1@127.0.0.1:{self.control_port}",
            "controller.listener.names": "CONTROLLER",
            "listeners": f"{listeners},CONTROLLER://127.0.0.1:{self.control_port}",
            "advertised.listeners": listeners,
            "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
            "sasl.enabled.mechanisms": "PLAIN",
            "listener.name.sasl_plaintext.plain.sasl.jaas.config": f'{_PLAIN} user_{USER}="{PASSWORD}";',
            "log.dirs": str(self.folder / "log"),
            "offsets.topic.replication.factor": 1,
            "transaction.state.log.replication.factor": 1,
            "transaction.state.log.min.isr": 1,
            "transaction.state.log.num.partitions": 1,
            "auto.create.topics.enable": "false",
        }

    @contextmanager
    def run(self) -> Iterator[None]:
        command = self._java("kafka.Kafka", str(self.folder / "server.properties"))
        ready = lambda: listening(self.port) and listening(self.guarded_port)  # noqa: E731
        with server("kafka", command, logs=self.folder, environment=os.environ, ready=ready):
            yield

    def _java(self, main: str, *arguments: str) -> list[str]:
        return ["java", *_LOGGING, "-cp", f"{maven_jars('kafka')}/*", main, *arguments]
