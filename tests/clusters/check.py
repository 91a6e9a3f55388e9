"""`make clusters`: start each cluster that runs here, submit the job to it, compare the table with the local run's.

Prints a line per target. `python tests/clusters/check.py yarn` checks only that one.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from clusters.hadoop import hadoop
from clusters.project import JsonLines, Project, differences
from clusters.standalone import SPARK_HOME, standalone
from clusters.streaming import streaming

Check = Callable[[Project], str | JsonLines]


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


def submit(project: Project, target: str, root: str, **changes: Any) -> None:
    config = project.config(target, root=root)
    targets = project.target(target, **changes)
    project.scoreline("submit", target, "run", "--config", str(config), "--targets", str(targets), "--", "--quiet")


CHECKS: dict[str, Check] = {
    "local-cluster": local_cluster,
    "standalone": on_standalone,
    "yarn": on_yarn,
    "mapreduce-local": mapreduce_local,
    "mapreduce": mapreduce_on_yarn,
}


def main(wanted: list[str]) -> int:
    from scoreline.session import get_session

    failed = 0
    with tempfile.TemporaryDirectory(prefix="scoreline-clusters-") as scratch:
        project = Project.new(Path(scratch))
        reference = str(project.copied("local"))
        project.scoreline("run", "--config", str(project.config("local", root=reference)), "--quiet")
        spark = get_session("compare", {"spark.master": "local[1]", "spark.sql.shuffle.partitions": 2})
        for name in wanted or CHECKS:
            began = time.monotonic()
            try:
                rows, different = differences(spark, reference, CHECKS[name](project))
                verdict = f"{rows} rows, the same as the local run's" if not different else f"{different} rows differ"
                failed += bool(different)
            except Exception as error:
                verdict, failed = f"FAILED: {error}", failed + 1
            print(f"{name:14} {time.monotonic() - began:5.0f} s  {verdict}", flush=True)
        spark.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
