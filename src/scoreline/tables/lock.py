"""One writer at a time on local tables: a lock file held by the kernel, so a killed process leaves nothing to clean up.

Tables on shared storage have no such lock; there the fence in `scoreline.pipeline.fence` decides, if the storage
lets exactly one of two commits win.
"""

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from scoreline.config.settings import Settings
from scoreline.errors import ConfigurationError, RunInProgress

if TYPE_CHECKING:
    from scoreline.tables.delta import Tables

log = logging.getLogger(__name__)


def make_home(settings: Settings) -> None:
    """Make the pipeline's folder; raises ConfigurationError where nothing can be written to it."""
    home = settings.home
    try:
        home.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=home):
            pass
    except OSError as error:
        there = next(folder for folder in (home, *home.parents) if folder.exists())
        why = f"{there} is a file" if there.is_file() else f"{error.strerror} in {there}"
        named = f"tables.root is {settings.tables.root}" if settings.tables.root else "There is no tables.root"
        raise ConfigurationError(
            f"{named}, and nothing can be written to the folder {home}: {why}. Name another folder, or change who may "
            "write there."
        ) from None


@contextmanager
def exclusive(settings: Settings, tables: "Tables", work: str) -> Iterator[None]:
    """Hold the lock for `work`, and say so where nothing would keep another host's commit apart from ours."""
    with locked(settings, work):
        if not tables.keeps_writers_apart():
            log.warning(
                "%s: of two hosts that commit at once one may be lost here. Let one driver at a time write these "
                "tables, or set S3DynamoDBLogStore (docs/deploy/storage.md)",
                tables.settings.root,
            )
        yield


@contextmanager
def locked(settings: Settings, work: str) -> Iterator[None]:
    """Hold the lock for `work` (ingest, run) on the pipeline's tables; raises RunInProgress if another process does."""
    make_home(settings)
    with _file(settings, work).open("a+", encoding="utf-8") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            raise RunInProgress(
                f"Another {work} works on the tables of {settings.name} ({holder}). Nothing was done; try again when "
                "it is over."
            ) from None
        file.truncate(0)
        file.write(f"process {os.getpid()}, since {datetime.now(UTC):%Y-%m-%d %H:%M:%S} UTC")
        file.flush()
        yield


def holder(settings: Settings, work: str) -> str | None:
    """Who holds the lock for `work` on this machine: `process 7, since ...`; None if nobody does."""
    try:
        with _file(settings, work).open(encoding="utf-8") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _file(settings, work).read_text(encoding="utf-8").strip() or "another process"
    except OSError:  # there has never been one
        pass
    return None


def _file(settings: Settings, work: str) -> Path:
    return settings.home / f".{work}.lock"
