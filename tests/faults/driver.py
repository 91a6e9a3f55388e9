"""A driver that is killed: a process of its own that works in the JVM of the test session.

It is forked by a server that has imported everything (multiprocessing's forkserver), so a round needs neither Python's
nor Java's start. It ends by SIGKILL, so nothing it holds is put in order: no finally, no atexit, no lock given back.
"""

import multiprocessing
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from importlib import import_module
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

PRELOAD = [
    "pyspark.sql",
    "delta.tables",
    "mlflow",
    "mlflow.data.delta_dataset_source",
    "scoreline.pipeline.run",
    "faults.driver",
]

# the calls that change something outside of the process; each is a point before it and a point after it
POINTS = {
    "open": "scoreline.pipeline.run.open_run",
    "find due": "scoreline.pipeline.run.find_due",
    "stage": "scoreline.pipeline.slices.stage",
    "audit": "scoreline.pipeline.publish.audit_metrics",
    "record failures": "scoreline.pipeline.publish.record_failures",
    "publish": "scoreline.pipeline.publish.publish_staged",
    "drop staging": "scoreline.tables.delta.Table.drop",
    "clean": "scoreline.pipeline.staging.clean_staging",
    "record": "scoreline.runs.keeping._append",
    "log": "scoreline.pipeline.publish.log_run",
    "quarantine": "scoreline.ingest.ingest.quarantine_bad",
    "merge": "scoreline.ingest.ingest.merge_histories",
    "remember": "scoreline.ingest.new_files._remember",
    "fence": "scoreline.pipeline.fence.next_sequence",
    "bring back": "scoreline.pipeline.fence.replace_all",
    "export": "scoreline.pipeline.rollback.export",
}


@dataclass(frozen=True)
class Job:
    """What the driver is to do, and where it is to die: `("before", "stage", 2)` is the second time it stages.

    Each slice that it stages is written to the file `staged`.
    """

    settings: Any
    now: datetime
    steps: tuple[tuple[str, Any], ...]
    die: tuple[str, str, int] | None = None
    staged: str | None = None


def gateway_of(spark: Any) -> tuple[int, str]:
    """How another process reaches the session's JVM: port and secret."""
    parameters = spark.sparkContext._gateway.gateway_parameters
    return int(parameters.port), str(parameters.auth_token)


def begin(gateway: tuple[int, str], job: Job) -> BaseProcess:
    """Start to do the job in a process of its own."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=_drive, args=(gateway, job))
    process.start()
    return process


def start(gateway: tuple[int, str], job: Job) -> int:
    """Do the job and wait; returns the exit code, -9 if the process died where it was to die."""
    process = begin(gateway, job)
    process.join()
    return int(process.exitcode or 0)


def _drive(gateway: tuple[int, str], job: Job) -> None:
    import warnings

    warnings.simplefilter("ignore")
    from scoreline.context import Context
    from scoreline.tables.delta import Tables

    spark = _session(*gateway)
    made = Context(job.settings, spark, Tables(spark, job.settings.tables), job.now)
    if job.staged is not None:
        _write_down(Path(job.staged))
    if job.die is not None:
        _mine(*job.die)
    for step, argument in job.steps:
        _STEPS[step](made, argument)


def _ingest(made: Any, source: str) -> None:
    from scoreline.ingest.ingest import ingest_events

    ingest_events(made, source)


def _run(made: Any, options: dict[str, Any]) -> None:
    from scoreline.pipeline.run import run

    run(made, **options)


def _roll_back(made: Any, run_id: str | None) -> None:
    from scoreline.pipeline.rollback import roll_back

    roll_back(made, run_id=run_id)


def _export(made: Any, _: Any) -> None:
    from scoreline.export.export import export

    export(made)


_STEPS: dict[str, Callable[[Any, Any], None]] = {
    "ingest": _ingest, "run": _run, "rollback": _roll_back, "export": _export
}  # fmt: skip


def _session(port: int, secret: str) -> Any:
    """A session of its own in the JVM that listens there: settings that a killed driver had made die with it."""
    os.environ |= {"PYSPARK_GATEWAY_PORT": str(port), "PYSPARK_GATEWAY_SECRET": secret}
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    gateway = launch_gateway()
    jvm = gateway.jvm
    java = jvm.org.apache.spark.api.java.JavaSparkContext(jvm.org.apache.spark.SparkContext.getOrCreate())
    found = SparkContext(jsc=java, gateway=gateway, conf=SparkConf(_jvm=jvm, _jconf=java.getConf()))
    own = jvm.org.apache.spark.sql.classic.SparkSession.active().newSession()
    session = SparkSession(found, jsparkSession=own)
    del os.environ["PYSPARK_GATEWAY_PORT"], os.environ["PYSPARK_GATEWAY_SECRET"]
    return session


def _write_down(staged: Path) -> None:
    from scoreline.pipeline import slices

    real = slices.stage

    def written(table: Any, rows: Any, *, number: int, manifest: Any) -> None:
        real(table, rows, number=number, manifest=manifest)
        with staged.open("a", encoding="utf-8") as file:
            file.write(f"{table.name} {number}\n")

    slices.stage = written


def _mine(when: str, point: str, times: int) -> None:
    """Put a mine before or after a call; the process dies when it is reached for the given time."""
    holder, name = _holder(POINTS[point])
    real, left = getattr(holder, name), [times]

    def mined(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if when == "before" and left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        found = real(*args, **kwargs)
        if when == "after" and left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return found

    setattr(holder, name, mined)


def _holder(path: str) -> tuple[Any, str]:
    place, name = path.rsplit(".", 1)
    try:
        return import_module(place), name
    except ModuleNotFoundError:
        module, kind = place.rsplit(".", 1)
        return getattr(import_module(module), kind), name
