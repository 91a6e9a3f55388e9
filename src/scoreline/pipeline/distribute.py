"""How a model reaches the workers: decided here and nowhere else.

Where every worker sees the driver's folder (one machine, or a mounted volume: `model.shared`) the workers read it
there. Everywhere else the folder travels with the job as one archive, once per executor, and is unpacked once per node
(`scoreline.scoring.node`). Either way a node's workers map the same files.
"""

import logging
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import pyarrow as pa
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline import __version__
from scoreline.engine.engine import engine_of
from scoreline.engine.filesystem import is_remote
from scoreline.engine.sql import quoted
from scoreline.errors import ConfigurationError, told
from scoreline.scoring import node
from scoreline.scoring.task import ScoringTask

log = logging.getLogger(__name__)

_MOST_PROBES = 64


def on_one_machine(spark: SparkSession) -> bool:
    """Whether driver and workers share a file system because they are one process."""
    if engine_of(spark).name == "embedded":
        return True
    master = spark.conf.get("spark.master", "") or ""
    return master.startswith("local") and not master.startswith("local-cluster") and not is_remote(spark)


def ship(spark: SparkSession, folder: Path, *, shared: bool) -> node.Shipment:
    """Bring the model in `folder` to wherever the workers are; returns what they need to find it.

    Raises ConfigurationError when the workers lack the package or have another version of it, and where the models of
    all workers of the embedded engine would not fit into memory.
    """
    if engine_of(spark).name == "embedded":
        from scoreline.pipeline.pooled import require_room

        require_room(folder)
    if on_one_machine(spark):
        return node.Shipment(str(folder), None)
    _require_package(spark)
    if shared:
        return node.Shipment(str(folder), None)
    archive = _packed(folder)
    _send(spark, archive)
    log.info("shipped model=%s bytes=%d", archive.name, archive.stat().st_size)
    return node.Shipment(str(folder), archive.name)


def scored(
    rows: DataFrame, shipment: node.Shipment, task: ScoringTask, schema: T.StructType
) -> DataFrame | pa.RecordBatchReader:
    """The task's columns of the rows mapped through the model, in the workers.

    They go there by number: `mapInArrow` does not find a column with a dot in its name.
    """
    numbered = [F.col(quoted(name)).alias(f"c{place}") for place, name in enumerate(task.columns)]
    if engine_of(rows.sparkSession).name == "embedded":
        from scoreline.pipeline.pooled import pooled

        return pooled(rows.select(*numbered), shipment, task)
    from pyspark import SparkFiles

    return rows.select(*numbered).mapInArrow(partial(node.score_shipped, shipment, task, SparkFiles.get), schema)


def worker_peak_bytes(spark: SparkSession) -> int | None:
    """The most memory that a worker of this machine had; None where they are elsewhere or gone, or none was needed."""
    if engine_of(spark).name == "embedded":
        from scoreline.scoring.pool import worker_peak

        return worker_peak()
    from scoreline.runs.usage import peak_of_forks

    return peak_of_forks("daemon") if on_one_machine(spark) else None


def _packed(folder: Path) -> Path:
    """The folder as an archive beside it; the name says which model, so that no node mistakes one for another."""
    archive = folder.with_name(f"{folder.parent.name}-{folder.name}.zip")
    if not archive.is_file():
        fresh = archive.with_suffix(".packing")
        with zipfile.ZipFile(fresh, "w", zipfile.ZIP_STORED) as packed:  # arrays of floats do not compress
            for path in sorted(folder.rglob("*")):
                packed.write(path, path.relative_to(folder))
        fresh.replace(archive)
    return archive


def _send(spark: SparkSession, archive: Path) -> None:
    if is_remote(spark):
        spark.addArtifacts(str(archive), file=True)
    else:
        spark.sparkContext.addFile(str(archive))


def _require_package(spark: SparkSession) -> None:
    probes = min(int(spark.conf.get("spark.sql.shuffle.partitions") or 8), _MOST_PROBES)
    fields = T.StructType([T.StructField(name, T.StringType()) for name in node.REPORT.names])
    try:
        asked = spark.range(0, probes, 1, probes).mapInArrow(node.report, fields)  # type: ignore[arg-type]
        found: list[Row] = asked.distinct().collect()
    except PySparkException as error:
        log.debug("the workers could not be asked", exc_info=True)
        raise ConfigurationError(_why(told(error))) from None
    for row in found:
        log.info("worker host=%s scoreline=%s python=%s", row["host"], row["scoreline"], row["python"])
    _require_version([row.asDict() for row in found])


def _require_version(found: list[Mapping[str, str]]) -> None:
    if others := [row for row in found if row["scoreline"] != __version__]:
        raise ConfigurationError(
            f"The executor on {others[0]['host']} has scoreline {others[0]['scoreline']}, the driver {__version__}. "
            f"Install the same version on every node, or ship it: --py-files dist/scoreline-{__version__}.zip."
        )


def _why(reason: str) -> str:
    if "No module named 'scoreline" in reason:
        return (
            "The executors have no package scoreline. Ship it (`scoreline submit` does, or spark-submit with "
            f"--py-files dist/scoreline-{__version__}.zip, built by make package), or install it on every node."
        )
    if "No module named" in reason:
        return (
            f"The executors lack a dependency: {reason}. Install the wheel on every node, or submit with a packed "
            "environment (make package ENVIRONMENT=1)."
        )
    return f"The executors cannot run Python for this job: {reason}"
