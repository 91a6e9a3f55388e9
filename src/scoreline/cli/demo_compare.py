"""The demo's events and model once more on Spark, and whether its tables are those of the embedded engine."""

import os
import shutil
import signal
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import ParamSpec

import pyarrow as pa

from scoreline.api import Pipeline
from scoreline.config.settings import Settings
from scoreline.engine.choice import is_embedded
from scoreline.errors import ConfigurationError, RunFailed, ScorelineError

__all__ = ["apart", "compared"]

P = ParamSpec("P")

_TABLES = ("user_history", "recommendations")
_WHEN = ("run_id", "scored_at", "added_at", "updated_at")  # which step it was, and when: of each its own


def compared(settings: Settings, events: Path, items: Path) -> str:
    """What to say of both engines' tables, which the demo has just made. Raises RunFailed where their rows differ.

    Spark works in a process of its own, since a process has one engine. Where it cannot be had, that is what is said.
    """
    if not is_embedded(settings):
        return "All of this was done on Spark already."
    root = settings.home.parent / "on-spark"
    shutil.rmtree(root, ignore_errors=True)  # what another demo left in the middle
    place = settings.tables.model_copy(update={"root": str(root)})
    mlflow = settings.mlflow.model_copy(update={"tracking_uri": settings.tracking_uri})
    on_spark = settings.model_copy(update={"engine": "spark", "tables": place, "mlflow": mlflow})
    try:
        apart(_ingest_and_run, on_spark, events, items)
    except ConfigurationError as error:
        return f"Not compared, Spark cannot be had here: {error}"
    except KeyboardInterrupt:
        return "Left out."
    own, other = Pipeline(settings), Pipeline(on_spark.model_copy(update={"engine": settings.engine}))
    return "\n".join(_same(name, _rows(own, name), _rows(other, name)) for name in _TABLES)


def apart(work: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
    """Do it in a process of its own; an error of ours is raised here.

    Ctrl-C does not reach it, since Java and Python's side of it would both print where they were: it is ended.
    """
    context = get_context("spawn")
    answers, answer = context.Pipe(duplex=False)
    process = context.Process(target=_answered, args=(answer, work, args, kwargs))
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # until it has a session of its own
    try:
        process.start()
    finally:
        signal.signal(signal.SIGINT, before)
    answer.close()
    try:
        error = answers.recv()
    except EOFError:
        raise RunFailed("The process in which Spark worked has ended before its work was done.") from None
    finally:
        process.terminate()  # Java ends with it
        process.join()
    if error is not None:
        raise error


def _answered(
    answer: Connection, work: Callable[..., None], args: tuple[object, ...], named: dict[str, object]
) -> None:
    os.setsid()
    error = None
    try:
        work(*args, **named)
    except ScorelineError as raised:
        error = raised
    answer.send(error)


def _ingest_and_run(settings: Settings, events: Path, items: Path) -> None:
    from scoreline.engine.session import existing_session

    os.environ.pop("SPARK_CONNECT_MODE_ENABLED", None)  # the embedded engine's session has left it to its children
    pipeline = Pipeline(settings)
    pipeline.ingest(events, items=items)
    pipeline.run()
    if (session := existing_session()) is not None:
        session.stop()


def _rows(pipeline: Pipeline, name: str) -> pa.Table:
    table = pipeline.table(name)
    return table.drop(*_WHEN).orderBy("user_id").toArrow()


def _same(name: str, embedded: pa.Table, spark: pa.Table) -> str:
    if not embedded.equals(spark):
        raise RunFailed(
            f"{name}: the {embedded.num_rows:,} rows of the embedded engine are not the {spark.num_rows:,} of Spark; "
            "expected the same. Please report it with the versions that scoreline doctor prints."
        )
    return f"{name}: {embedded.num_rows:,} rows, each the same on both engines"
