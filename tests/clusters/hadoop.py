"""A one-node Hadoop from Maven's jars: HDFS and YARN, for as long as a check needs them."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from clusters.processes import free_port, listening, maven_jars, server

_OPENED = "--add-opens=java.base/java.lang=ALL-UNNAMED"  # for Guice, which Hadoop's web pages are put together by
_DAEMON = ("-Xmx384m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.net.preferIPv4Stack=true", _OPENED)


@dataclass(frozen=True)
class Hadoop:
    """A running Hadoop: where its configuration is, and its file system's URI."""

    conf: Path
    uri: str

    @property
    def classpath(self) -> str:
        return f"{self.conf}:{jars()}/*"

    def shell(self, *arguments: str) -> str:
        """`hadoop fs`."""
        return self.java("org.apache.hadoop.fs.FsShell", *arguments)

    def java(self, main: str, *arguments: str) -> str:
        command = ["java", *_DAEMON, "-cp", self.classpath, main, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"{main} {' '.join(arguments)}: {done.stderr[-3000:]}")
        return done.stdout


def jars() -> Path:
    """Hadoop's jars."""
    return maven_jars("hadoop")


@contextmanager
def hadoop(folder: Path) -> Iterator[Hadoop]:
    """NameNode, DataNode, ResourceManager and NodeManager, each a process."""
    ports = {name: free_port() for name in ("fs", "rm", "scheduler", "tracker", "admin", "rmweb")}
    conf = folder / "conf"
    write_conf(conf, folder, ports)
    found = Hadoop(conf, f"hdfs://localhost:{ports['fs']}")
    prefix = "org.apache.hadoop."
    found.java(f"{prefix}hdfs.server.namenode.NameNode", "-format", "-nonInteractive", "-force")
    daemons = (
        ("namenode", f"{prefix}hdfs.server.namenode.NameNode", ports["fs"]),
        ("datanode", f"{prefix}hdfs.server.datanode.DataNode", None),
        ("resourcemanager", f"{prefix}yarn.server.resourcemanager.ResourceManager", ports["rm"]),
        ("nodemanager", f"{prefix}yarn.server.nodemanager.NodeManager", None),
    )
    environment = {**os.environ, "HADOOP_CONF_DIR": str(conf)}
    with ExitStack() as running:
        for name, main, port in daemons:
            command = ["java", *_DAEMON, f"-Dyarn.log.dir={folder}", "-cp", found.classpath, main]
            ready = (lambda port=port: listening(port)) if port else (lambda: True)
            running.enter_context(server(name, command, logs=folder / "logs", environment=environment, ready=ready))
        yield found


def write_conf(conf: Path, folder: Path, ports: dict[str, int]) -> None:
    conf.mkdir(parents=True)
    local = "localhost:0"
    core = {"fs.defaultFS": f"hdfs://localhost:{ports['fs']}", "hadoop.tmp.dir": str(folder / "tmp")}
    hdfs = {
        "dfs.replication": "1",
        "dfs.namenode.name.dir": str(folder / "name"),
        "dfs.datanode.data.dir": str(folder / "data"),
        "dfs.namenode.http-address": local,
        "dfs.datanode.address": local,
        "dfs.datanode.http.address": local,
        "dfs.datanode.ipc.address": local,
        "dfs.permissions.enabled": "false",
    }
    yarn = {
        "yarn.resourcemanager.address": f"localhost:{ports['rm']}",
        "yarn.resourcemanager.scheduler.address": f"localhost:{ports['scheduler']}",
        "yarn.resourcemanager.resource-tracker.address": f"localhost:{ports['tracker']}",
        "yarn.resourcemanager.admin.address": f"localhost:{ports['admin']}",
        "yarn.resourcemanager.webapp.address": f"localhost:{ports['rmweb']}",
        "yarn.nodemanager.hostname": "localhost",
        "yarn.nodemanager.address": local,
        "yarn.nodemanager.localizer.address": local,
        "yarn.nodemanager.webapp.address": local,
        "yarn.nodemanager.local-dirs": str(folder / "nm"),
        "yarn.nodemanager.log-dirs": str(folder / "containers"),
        "yarn.nodemanager.resource.memory-mb": "6144",
        "yarn.nodemanager.resource.cpu-vcores": "4",
        "yarn.nodemanager.vmem-check-enabled": "false",
        "yarn.nodemanager.pmem-check-enabled": "false",
        "yarn.nodemanager.delete.debug-delay-sec": "0",
        "yarn.nodemanager.disk-health-checker.max-disk-utilization-per-disk-percentage": "99.9",
        "yarn.nodemanager.aux-services": "mapreduce_shuffle",
        "yarn.scheduler.minimum-allocation-mb": "256",
        "yarn.application.classpath": f"{conf}:{jars()}/*",
    }
    mapred = {
        "mapreduce.framework.name": "yarn",
        "mapreduce.application.classpath": f"{conf}:{jars()}/*",
        "yarn.app.mapreduce.am.resource.mb": "512",
        "yarn.app.mapreduce.am.command-opts": f"-Xmx384m {_OPENED}",
        "mapreduce.map.memory.mb": "512",
        "mapreduce.map.java.opts": "-Xmx256m",
    }
    queue = {
        "yarn.scheduler.capacity.root.queues": "default",
        "yarn.scheduler.capacity.root.default.capacity": "100",
        "yarn.scheduler.capacity.maximum-am-resource-percent": "0.9",
    }
    files = {
        "core-site": core,
        "hdfs-site": hdfs,
        "yarn-site": yarn,
        "mapred-site": mapred,
        "capacity-scheduler": queue,
    }
    for name, properties in files.items():
        rows = "".join(f"<property><name>{k}</name><value>{v}</value></property>\n" for k, v in properties.items())
        (conf / f"{name}.xml").write_text(f"<configuration>\n{rows}</configuration>\n")
    appender = "log4j.appender.c"
    (conf / "log4j.properties").write_text(
        f"log4j.rootLogger=WARN,c\n{appender}=org.apache.log4j.ConsoleAppender\n"
        f"{appender}.layout=org.apache.log4j.PatternLayout\n{appender}.layout.ConversionPattern=%p %c: %m%n\n"
    )
