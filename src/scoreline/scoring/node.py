"""What happens in a Python worker before it scores: the package's version is checked, the model is found.

Spark-free: where a node has the files of a job is told by the caller. A shipped model is unpacked once per node,
whatever the number of executors and Python workers on it; each of them then maps the same files, so a node holds one
copy of the model's arrays.
"""

import fcntl
import os
import platform
import shutil
import socket
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pyarrow as pa

from scoreline import __version__
from scoreline.errors import RunFailed, told
from scoreline.scoring.task import ScoringTask, score_batches

REPORT = pa.schema([("host", pa.string()), ("scoreline", pa.string()), ("python", pa.string())])
_KEPT_SECONDS = 7 * 24 * 3600


@dataclass(frozen=True)
class Shipment:
    """How the workers find the model: in `folder`, which all of them see, or in `archive`, shipped with the job."""

    folder: str
    archive: str | None
    version: str = __version__


def score_shipped(
    shipment: Shipment, task: ScoringTask, file_of: Callable[[str], str], batches: Iterator[pa.RecordBatch]
) -> Iterator[pa.RecordBatch]:
    """`score_batches` with the model where this node has it; the batches' columns are the task's, in its order.

    `file_of` says where on this node a file is that was shipped with the job.
    """
    if shipment.version != __version__:
        raise RuntimeError(
            f"the executor on {socket.gethostname()} has scoreline {__version__}, the driver {shipment.version}: "
            "install the same version, or ship it with --py-files"
        )
    named = (batch.rename_columns(list(task.columns)) for batch in batches)
    return score_batches(replace(task, model_path=str(model_folder(shipment, file_of))), named)


def report(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """One row (REPORT) about this worker."""
    for _ in batches:
        pass
    row = {"host": socket.gethostname(), "scoreline": __version__, "python": platform.python_version()}
    yield pa.RecordBatch.from_pylist([row], schema=REPORT)


def model_folder(shipment: Shipment, file_of: Callable[[str], str]) -> Path:
    """The model's folder on this node."""
    if shipment.archive is None:
        return Path(shipment.folder)
    return unpacked(Path(file_of(shipment.archive)), _place())


def _place() -> Path:
    # of this user only: what lies in a common folder might be somebody else's code
    place = Path(tempfile.gettempdir()) / f"scoreline-models-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    if place.stat().st_uid != os.getuid():
        raise RuntimeError(f"{place} belongs to another user; remove it, or give the executors another TMPDIR")
    return place


def unpacked(archive: Path, place: Path) -> Path:
    """The folder `place/<name of the archive>`, unpacked there by whoever comes first on this node."""
    folder = place / archive.stem
    with (place / f"{archive.stem}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.is_dir():
            _clean(place)
            scratch = Path(tempfile.mkdtemp(dir=place, prefix=".unpacking-"))
            try:
                with zipfile.ZipFile(archive) as packed:
                    packed.extractall(scratch)
            except (OSError, zipfile.BadZipFile) as error:
                shutil.rmtree(scratch, ignore_errors=True)
                raise RunFailed(
                    f"the model's archive {archive.name} cannot be unpacked into {place} on {socket.gethostname()} "
                    f"({told(error)}): is the disk full, or did the file arrive in part? Make room, or give the "
                    f"executors another TMPDIR, and run again"
                ) from error
            scratch.rename(folder)
        os.utime(folder)
    return folder


def _clean(place: Path) -> None:
    """Remove what no worker of this node has asked for in a week."""
    for folder in place.iterdir():
        if folder.is_dir() and time.time() - folder.stat().st_mtime > _KEPT_SECONDS:
            shutil.rmtree(folder, ignore_errors=True)
