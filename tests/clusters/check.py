"""`make clusters`: start each cluster that runs here, submit the job to it, compare the table with the local run's.

Prints a line per target. `python tests/clusters/check.py yarn` checks only that one.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.dataset
import yaml

sys.path.insert(0, str(Path(__file__).parents[1]))

from clusters.hadoop import hadoop
from clusters.kubernetes import api_server, valid
from clusters.livy import asked, ended, livy
from clusters.project import QUICK, ROOT, JsonLines, Project, differences
from clusters.s3 import client_jars, s3
from clusters.slow import slow
from clusters.standalone import SPARK_HOME, standalone
from clusters.streaming import streaming
from scoreline.engine.jars import delta_jars


@dataclass(frozen=True)
class Said:
    """What there is to say where there is no table to compare."""

    text: str


Check = Callable[[Project], str | JsonLines | Said]


def local_cluster(project: Project) -> str:
    root = str(project.copied("local-cluster"))
    submit(project, "local-cluster", root)
    return root


def on_standalone(project: Project) -> str:
    root = str(project.copied("standalone"))
    with standalone(project.folder / "standalone-cluster") as master:
        submit(project, "standalone", root, master=master, conf={"spark.executor.memory": "700m"})
    return root


def on_yarn(project: Project) -> str:
    """The tables in HDFS, the driver in the cluster; read back from HDFS while it is there."""
    with hadoop(project.folder / "hadoop") as cluster:
        cluster.shell("-mkdir", "-p", "/scoreline")
        cluster.shell("-put", str(project.folder / "base"), "/scoreline/tables")
        root = f"{cluster.uri}/scoreline/tables"
        conf = {
            "spark.yarn.jars": f"local:{SPARK_HOME}/jars/*",
            "spark.driver.memory": "900m",
            "spark.executor.memory": "600m",
            "spark.executor.cores": 1,
            "spark.executor.instances": 2,
            "spark.yarn.maxAppAttempts": 1,
        }
        variables = {"HADOOP_CONF_DIR": str(cluster.conf)}
        submit(project, "yarn", root, conf=conf, environment=None, variables=variables)
        cluster.shell("-get", "/scoreline/tables", str(project.folder / "yarn"))
    return str(project.folder / "yarn")


def mapreduce_local(project: Project) -> Any:
    return _mapreduce(project, "mapreduce-local", framework="local")


def mapreduce_on_yarn(project: Project) -> Any:
    return _mapreduce(project, "mapreduce", framework="yarn")


def _mapreduce(project: Project, name: str, *, framework: str) -> Any:
    """The mapper over exported histories; the lines it wrote, as a table."""
    written = project.folder / name
    config = project.config(name, root=str(project.copied(f"{name}-tables")))
    project.scoreline("mapreduce", str(written), "--config", str(config))
    out = project.folder / f"{name}-out"
    with hadoop(project.folder / f"hadoop-{name}") as cluster:
        streaming(cluster, written, out, framework=framework)
    return JsonLines(str(out))


def through_livy(project: Project) -> str:
    """HDInsight's request, but for what is HDInsight's own, to a real Livy."""
    root, home = str(project.copied("livy")), project.folder / "uploaded"
    shutil.copytree(ROOT / "dist", home)
    (home / "conf").mkdir()
    config = project.config("livy", root=root)
    targets = project.folder / "targets"
    given = yaml.safe_load((ROOT / "conf/deploy/hdinsight/target.yaml").read_text())
    batch = json.loads((ROOT / "conf/deploy/hdinsight/batch.json").read_text())
    batch["conf"] = {key: value for key, value in batch["conf"].items() if ".sql." in key}
    batch["conf"] |= {"spark.pyspark.python": sys.executable, **{k: str(v) for k, v in QUICK.items()}}
    batch |= {"jars": [str(jar) for jar in copied_jars(home)], "numExecutors": 1, "driverMemory": "1g"}
    with livy(project.folder / "livy-server", readable=project.folder, environment=project.environment()) as url:
        upload = [["cp", "${config_path}", f"{home}/conf/${{config}}"]]
        given |= {"artifacts": home.as_uri(), "upload": upload, "post": {"url": f"{url}/batches"}}
        (targets / "hdinsight").mkdir(parents=True, exist_ok=True)
        (targets / "hdinsight" / "target.yaml").write_text(yaml.safe_dump(given))
        (targets / "hdinsight" / "batch.json").write_text(json.dumps(batch))
        arguments = ("run", "--config", str(config), "--targets", str(targets), "--", "--quiet")
        project.scoreline("submit", "hdinsight", *arguments)
        if (state := ended(url)) != "success":
            log = asked(f"{url}/batches/0/log?size=40")["log"]
            raise RuntimeError(f"the batch ended {state}: {' | '.join(log)[-2000:]}")
    return root


def copied_jars(home: Path) -> list[Path]:
    return [Path(shutil.copy(jar, home)) for jar in delta_jars()]


def on_kubernetes(project: Project) -> Said:
    """What spark-submit sends to Kubernetes, judged by Kubernetes' schemas; no pod is run."""
    config = project.config("kubernetes", root="s3a://bucket/tables")
    with api_server() as (url, created):
        arguments = ("run", "--config", str(config), "--targets", str(ROOT / "conf" / "deploy"))
        project.scoreline("submit", "kubernetes", *arguments, KUBERNETES_API=url, SCORELINE_WAIT="false")
        return Said(f"sent and valid: {', '.join(f'{n} {kind}' for kind, n in sorted(valid(created).items()))}")


def on_s3(project: Project) -> str:
    """Every step with the tables in a bucket; read back by the vendor's own client."""
    with s3(project.folder / "s3") as store:
        config = project.config("s3", root=f"s3a://{store.bucket}/tables", spark=store.spark)
        settings = {**store.environment, "SCORELINE_JARS": str(client_jars(project.folder / "s3-jars"))}
        project.scoreline("ingest", "--config", str(config), "--events", str(project.events), **settings)
        for _ in range(2):  # the second finds nobody due
            project.scoreline("run", "--config", str(config), "--quiet", **settings)
        # by delta-rs: without the jars of the store's client Spark could not look
        project.scoreline("status", "--config", str(config), **store.environment)
        store.fetch("tables", project.folder / "fetched")
    return str(project.folder / "fetched")


def two_hosts_on_s3(project: Project, commits: int = 10) -> Said:
    """Two drivers append to one table at once, by Delta's default log store; what each was told, against the rows."""
    with s3(project.folder / "s3-shared") as store, slow(store.url, seconds=0.5) as url:
        given = replace(store, url=url).spark
        settings = [f"{key}={str(value).lower() if value is True else value}" for key, value in given.items()]
        table = f"s3a://{store.bucket}/contested"
        jars = str(client_jars(project.folder / "s3-shared-jars"))
        path = {"PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", "SCORELINE_JARS": jars}
        environment = {**project.environment(), **store.environment, **path}

        def host(number: int, commits: int) -> "subprocess.Popen[str]":
            command = [sys.executable, "-m", "clusters.two_hosts", table, str(commits), str(number), *settings]
            return subprocess.Popen(
                command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )

        host(0, 1).communicate()
        hosts = [host(number, commits) for number in (1, 2)]
        done = sum(int(found.communicate()[0].split()[-1]) for found in hosts)
        store.fetch("contested", project.folder / "contested")
    rows = pyarrow.dataset.dataset(_added(project.folder / "contested"), format="parquet").count_rows() - 1
    return Said(f"two drivers were told that {done} commits were done, {done - rows} of them are lost")


def _added(table: Path) -> list[str]:
    """The data files that the log names, which is all that a reader sees."""
    actions = [json.loads(line) for log in sorted((table / "_delta_log").glob("*.json")) for line in log.open()]
    return [str(table / action["add"]["path"]) for action in actions if "add" in action]


def submit(project: Project, target: str, root: str, **changes: Any) -> None:
    config = project.config(target, root=root)
    targets = project.target(target, **changes)
    project.scoreline("submit", target, "run", "--config", str(config), "--targets", str(targets), "--", "--quiet")


CHECKS: dict[str, Check] = {
    "local-cluster": local_cluster,
    "standalone": on_standalone,
    "yarn": on_yarn,
    "livy": through_livy,
    "kubernetes": on_kubernetes,
    "s3": on_s3,
    "s3-two-hosts": two_hosts_on_s3,
    "mapreduce-local": mapreduce_local,
    "mapreduce": mapreduce_on_yarn,
}


def compared(spark: Any, reference: str, found: str | JsonLines | Said) -> str:
    if isinstance(found, Said):
        return found.text
    rows, different = differences(spark, reference, found)
    return f"{different} of {rows} rows differ" if different else f"{rows} rows, the same as the local run's"


def main(wanted: list[str]) -> int:
    from scoreline.engine.session import get_session

    failed = 0
    with tempfile.TemporaryDirectory(prefix="scoreline-clusters-") as scratch:
        project = Project.new(Path(scratch))
        reference = str(project.copied("local"))
        project.scoreline("run", "--config", str(project.config("local", root=reference)), "--quiet")
        spark = get_session("compare", {"spark.master": "local[1]", "spark.sql.shuffle.partitions": 2})
        for name in wanted or CHECKS:
            began = time.monotonic()
            try:
                verdict = compared(spark, reference, CHECKS[name](project))
                failed += "differ" in verdict
            except Exception as error:
                verdict, failed = f"FAILED: {error}", failed + 1
            print(f"{name:14} {time.monotonic() - began:5.0f} s  {verdict}", flush=True)
        spark.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
