"""The one place that writes `runs`: around a command, whatever it is and however it ends."""

import logging
import platform
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from datetime import UTC, datetime
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from scoreline import __version__
from scoreline.config.settings import Settings
from scoreline.errors import InputError, ScorelineError, told
from scoreline.hashing import fingerprint
from scoreline.redaction import redacted
from scoreline.runs.begun import Begun, left_behind, marked
from scoreline.runs.lineage import send_event
from scoreline.runs.metrics import leave_metrics
from scoreline.runs.record import Record
from scoreline.runs.telling import last_state, note_watch, tell_end
from scoreline.tables.names import Kind, place
from scoreline.typed import typed

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["kept", "kept_if_failed", "require_place"]

log = logging.getLogger(__name__)

_PACKAGES = ("pyspark", "pyspark-client", "pysail", "delta-spark", "deltalake", "mlflow", "numpy", "pyarrow")
_ROW = "its row"


@contextmanager
def kept(settings: Settings, kind: Kind, *, now: datetime, spark: "SparkSession | None" = None) -> Iterator[Record]:
    """A command is recorded: inside it says what it does; at the end a row of `runs` says that and how it ended.

    `spark`: the session to write by where that cannot be done without one. None: that of this process, or a new one.
    Those that were interrupted before it get their rows first. A row that cannot be written is a warning, and fails
    nothing.
    """
    from scoreline.runs.usage import Usage, processors

    record, command = Record(kind, now), command_line()
    record.say(
        host=socket.gethostname(),
        processors=processors(),
        command=command,
        configuration=fingerprint(redacted(settings.model_dump_json())),
        versions=dict(versions()),
    )
    used = Usage.now()
    with marked(settings.home, record, command) if _has_place(settings, kind, spark) else nullcontext():
        _note_interrupted(settings, spark)
        send_event(settings, record)
        try:
            yield record
            record.state = record.state or "done"
        except ScorelineError as error:
            record.fail(error, str(error))
            raise
        except KeyboardInterrupt as error:
            more = "; the next run takes up what is staged" if kind == "run" else ""
            record.fail(error, f"Stopped by hand{more}.")
            raise
        except BaseException as error:
            record.fail(error, f"{type(error).__name__}: {told(error)}")
            raise
        finally:
            after = Usage.now()
            record.say(
                cpu_seconds=round(after.cpu_seconds - used.cpu_seconds, 2), peak_mib=round(after.peak_bytes / 2**20)
            )
            note_watch(record)
            before = _before(settings, spark, record)
            _write(settings, spark, record, finished=datetime.now(UTC))
            tell_end(settings, record, before=before, page=_page(record))
            leave_metrics(settings, record, spark)
            send_event(settings, record)


@contextmanager
def kept_if_failed(settings: Settings, kind: Kind | None, *, spark: "SparkSession | None" = None) -> Iterator[None]:
    """For what comes before a command of this kind: it is recorded only if it fails.

    Raises InputError where the folder of tables.root is not there, and this is no command to begin with: its name may
    be mistyped. Nothing is made there then.
    """
    now = datetime.now(UTC)
    try:
        if kind is not None:
            require_place(settings, kind, spark=spark)
        yield
    except Exception:
        if kind is None:
            raise
        with kept(settings, kind, now=now, spark=spark):
            raise


def require_place(settings: Settings, kind: Kind | None = None, *, spark: "SparkSession | None" = None) -> None:
    """Raise InputError where the pipeline's folder is not there; `kind`: None for what only looks."""
    if not _has_place(settings, kind, spark):
        raise InputError(
            f"tables.root is {settings.tables.root}, and there is no folder {settings.home}. Correct it, or begin "
            f"with: {typed('ingest --events FILE')}"
        )


def _has_place(settings: Settings, kind: Kind | None, spark: "SparkSession | None") -> bool:
    """Whether a command may write to the pipeline's folder: it is there, or this is a command that makes it."""
    from scoreline.tables.appending import is_ours_alone

    begins = kind == "ingest" or settings.input is not None or not is_ours_alone(settings, spark)
    return begins or settings.home.exists()


def _note_interrupted(settings: Settings, spark: "SparkSession | None") -> None:
    try:
        with left_behind(settings.home) as found:
            for one in found:
                record = _interrupted(one)
                note_watch(record)
                _append(settings, spark, _row(record, finished=None))
                tell_end(settings, record, before=None)
                leave_metrics(settings, record, spark)
                send_event(settings, record)
    except Exception as error:
        log.warning("an interrupted command could not be noted in runs: %s", told(error))


def _interrupted(one: Begun) -> Record:
    record = Record(one.kind, one.started_at, one.run_id, "interrupted", begun_as=one.begun_as)  # type: ignore[arg-type]
    facts = {name: value for name, value in asdict(one).items() if name in ("process", "host", "command")}
    record.say(**facts, seconds=None, error=one.error)
    return record


def _before(settings: Settings, spark: "SparkSession | None", record: Record) -> str | None:
    try:
        return last_state(settings, record, spark)
    except Exception as error:
        log.warning("how the %s before this one ended could not be read: %s", record.kind, told(error))
        return None


def _page(record: Record) -> str | None:
    try:
        return record.page() if record.page else None
    except Exception as error:
        log.warning("no page about it was written: %s", told(error))
        return None


def _write(settings: Settings, spark: "SparkSession | None", record: Record, *, finished: datetime) -> None:
    try:
        _append(settings, spark, _row(record, finished))
    except Exception as error:
        # by the command itself, which could not write either
        said = any(
            words.removeprefix(f"{_ROW}: ") in str(record.facts.get("error")) for words in (str(error), told(error))
        )
        level = logging.DEBUG if said else logging.WARNING
        log.log(
            level,
            "the runs table could not be written run_id=%s state=%s reason=%s",
            record.run_id,
            record.state,
            told(error),
        )
        log.debug("the runs table failed", exc_info=True)


def _row(record: Record, finished: datetime | None) -> dict[str, Any]:
    return {
        "run_id": record.run_id,
        "kind": record.kind,
        "state": record.state,
        "started_at": record.started_at,
        "finished_at": finished,
        "model": record.model,
        "users": record.users,
        "figures": record.figures(),
    }


def _append(settings: Settings, spark: "SparkSession | None", row: Mapping[str, Any]) -> None:
    from scoreline.tables import schema
    from scoreline.tables.appending import append_row, is_ours_alone

    if is_ours_alone(settings, spark):
        if not settings.home.exists():
            return
        append_row(place(settings.tables, "runs"), schema.runs().json(), row)
        return
    from scoreline.engine.choice import open_session
    from scoreline.engine.failures import explained
    from scoreline.engine.frames import one_row
    from scoreline.tables.delta import Tables

    with explained(_ROW):
        table = Tables(open_session(settings, spark), settings.tables).table("runs")
        table.create(schema.runs())
        names = [field.name for field in schema.runs()]
        table.write(one_row(table.spark, [row[name] for name in names], schema.runs()), "append")


def command_line() -> str:
    """How this process was called, without secrets."""
    name, *arguments = sys.argv or [""]
    name = name.rsplit("/", 1)[-1].replace("__main__.py", "scoreline")  # python -m scoreline
    return shlex.join([name, *map(redacted, arguments)])


@cache
def versions() -> Mapping[str, str]:
    """What works here: our package, those that matter to it, Python, the platform."""
    found = {"scoreline": __version__, "python": platform.python_version(), "platform": platform.platform()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
