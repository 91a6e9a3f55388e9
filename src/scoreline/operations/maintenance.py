"""Keep the tables small: remove files no version needs any more, put small files together, clean up after crashes."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta

from scoreline.context import Context, logged, step
from scoreline.engine.failures import explained
from scoreline.errors import InputError
from scoreline.pipeline.staging import clean_staging
from scoreline.registry.files import abandoned
from scoreline.report import Report
from scoreline.tables.delta import Table
from scoreline.tables.lock import exclusive
from scoreline.tables.names import TABLES

LEAST = timedelta(days=7)


@dataclass(frozen=True)
class Maintained(Report):
    """What was done: files per table that are left, tables and folders of dead runs removed."""

    files: dict[str, int]
    removed: int

    def __str__(self) -> str:
        lines = [f"  {name:<16} {files:>6,} files" for name, files in self.files.items()]
        return "\n".join([*lines, *([f"{self.removed} leftover(s) of dead runs removed"] if self.removed else [])])


@logged("vacuum")
@step
def vacuum(context: Context, *, retain: timedelta = LEAST) -> Maintained:
    """Delete files that no version of the last `retain` needs, and what runs left behind that nobody took up.

    At least seven days: a run, a reader or the database's export may still look at an older version, and `rollback`
    can only go back to a version whose files are there. Raises InputError for less. A table whose own
    `delta.deletedFileRetentionDuration` is longer keeps what that says.
    """
    if retain < LEAST:
        raise InputError(
            f"vacuum keeps at least {LEAST.days} days, found {retain}: rollback, a running export and readers need the "
            "files of older versions."
        )
    files = {}
    with _nobody_else(context), explained("vacuum failed"):
        for table in _existing(context):
            table.vacuum(retain)
            files[table.name] = _files(table)
        removed = clean_staging(context.tables)
    for folder in abandoned(context.settings.model_folder):
        shutil.rmtree(folder, ignore_errors=True)
        removed += 1
    context.record.say(files=files, removed=removed)
    return Maintained(files, removed)


@logged("optimize")
@step
def optimize(context: Context) -> Maintained:
    """Put small files together; rows, runs and rollback stay as they are."""
    files = {}
    with _nobody_else(context), explained("optimize failed"):
        for table in _existing(context):
            table.optimize()
            files[table.name] = _files(table)
    context.record.say(files=files)
    return Maintained(files, 0)


@contextmanager
def _nobody_else(context: Context) -> Iterator[None]:
    with ExitStack() as locks:
        for work in ("ingest", "run"):
            locks.enter_context(exclusive(context.settings, context.tables, work))
        yield


def _existing(context: Context) -> list[Table]:
    tables = [context.tables.table(name) for name in TABLES]
    return [table for table in tables if table.exists()]


def _files(table: Table) -> int:
    return int(table.detail()["numFiles"])
