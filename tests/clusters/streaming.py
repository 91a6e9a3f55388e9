"""A Hadoop streaming job with our mapper."""

import sys
from pathlib import Path

from clusters.hadoop import Hadoop, jars
from clusters.project import ROOT


def streaming(cluster: Hadoop, written: Path, out: Path, *, framework: str) -> None:
    """Run the mapper over `written/histories`; its output comes to `out`, on this machine."""
    histories, target = "/histories", "/recommendations"
    cluster.shell("-put", str(written / "histories"), histories)
    (jar,) = jars().glob("hadoop-streaming-*.jar")
    cluster.java(
        "org.apache.hadoop.util.RunJar", str(jar),
        "-D", f"mapreduce.framework.name={framework}",
        "-D", "mapreduce.job.reduces=0",
        "-D", f"mapreduce.cluster.local.dir={cluster.conf.parent / 'mr'}",
        "-files", (written / "task.pickle").as_uri(),
        "-archives", f"{(written / 'model.zip').as_uri()}#model",
        "-input", histories,
        "-output", target,
        "-mapper", f"{sys.executable} -m scoreline.deploy.hadoop_streaming.mapper",
        "-cmdenv", f"PYTHONPATH={ROOT / 'src'}",
    )  # fmt: skip
    cluster.shell("-get", target, str(out))
