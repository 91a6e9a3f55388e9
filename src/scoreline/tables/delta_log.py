"""A table's log by delta-rs, without Spark: its versions, its commits as Spark tells them, what it asks of readers."""

import json
import os
import re
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

from deltalake import DeltaTable
from deltalake.exceptions import DeltaError

from scoreline.tables.commit_note import read_note
from scoreline.tables.history import Commit

__all__ = [
    "changed_log",
    "first_commit",
    "kept_log",
    "log_commits",
    "open_log",
    "unheeded_by_readers",
    "unheeded_by_writers",
    "unknown_feature",
]

_METRICS = {"num_target_rows_inserted": "numTargetRowsInserted", "num_target_rows_updated": "numTargetRowsUpdated"}
_OPERATIONS = {"ADD COLUMN": "ADD COLUMNS"}
_KNOWN_TO_READERS = {"deletionVectors", "timestampNtz", "v2Checkpoint", "variantType", "vacuumProtocolCheck"}
_KNOWN_TO_WRITERS = {
    "appendOnly", "changeDataFeed", "checkConstraints", "deletionVectors", "generatedColumns",
    "identityColumns", "invariants", "timestampNtz", "v2Checkpoint", "variantType",
}  # fmt: skip
_OF_A_COLUMN = {
    "generationExpression": "generatedColumns", "identity": "identityColumns", "invariants": "invariants",
}  # fmt: skip
_UNKNOWN = re.compile(r"Feature '(\w+)' is not supported|Column mapping is enabled")


def open_log(location: str, version: int | None = None, options: Mapping[str, str] | None = None) -> DeltaTable:
    """The log of a version; raises delta-rs' errors (`unknown_feature` tells one of them)."""
    return DeltaTable(location, version=version, storage_options=dict(options) if options else None)


class _Kept(threading.local):
    """Logs that this thread has read, by the table's folder."""

    def __init__(self) -> None:
        self.logs: OrderedDict[str, _Log] = OrderedDict()


class _Log(NamedTuple):
    """last: the file of its last commit. read_at: the version at which it was read from the beginning."""

    log: DeltaTable
    last: tuple[int, int] | None
    read_at: int


_kept = _Kept()
_MOST_KEPT = 16


def kept_log(folder: str, version: int | None = None) -> DeltaTable:
    """The log of a version, to be looked at and let go: whoever asks next may bring it up to date.

    What was read of the newest one before is not read again: without a checkpoint a log costs more with each commit.
    """
    log, read_at = _taken(folder)
    _keep(folder, log, read_at)
    return log if version in (None, log.version()) else open_log(folder, version)


@contextmanager
def changed_log(folder: str) -> Iterator[DeltaTable]:
    """The log of the newest version, for one who commits to it."""
    log, read_at = _taken(folder)
    yield log
    _keep(folder, log, read_at)


def _taken(folder: str) -> tuple[DeltaTable, int]:
    """The log, and the version at which it was read from the beginning."""
    kept = _kept.logs.pop(folder, None)
    if kept is None or kept.last is None or _commit_file(folder, kept.log.version()) != kept.last:
        return _read(folder)
    # a checkpoint: the commits up to it may have been cleaned away, and one who has read them singly holds more
    if _last_checkpoint(folder) > kept.read_at:
        return _read(folder)
    if _commit_file(folder, kept.log.version() + 1) is not None:
        kept.log.update_incremental()
    return kept.log, kept.read_at


def _read(folder: str) -> tuple[DeltaTable, int]:
    log = open_log(folder)
    return log, log.version()


def _keep(folder: str, log: DeltaTable, read_at: int) -> None:
    _kept.logs[folder] = _Log(log, _commit_file(folder, log.version()), read_at)
    while len(_kept.logs) > _MOST_KEPT:
        _kept.logs.popitem(last=False)


def _commit_file(folder: str, version: int) -> tuple[int, int] | None:
    """What tells the file of a commit from that of another table in the same place; None if there is none."""
    try:
        found = Path(folder, "_delta_log", f"{version:020d}.json").stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_mtime_ns


def _last_checkpoint(folder: str) -> int:
    """The version of the newest checkpoint: -1 without one, beyond all where the file does not say it."""
    try:
        return int(json.loads(Path(folder, "_delta_log", "_last_checkpoint").read_text(encoding="utf-8"))["version"])
    except FileNotFoundError:
        return -1
    except (KeyError, TypeError, ValueError):
        return sys.maxsize


def first_commit(location: str, schema: str, properties: Mapping[str, str]) -> None:
    """Make the table's first commit unless somebody else just does; what is written is what Spark would write.

    `schema` is Spark's and Delta's JSON of it.
    """
    log = Path(location, "_delta_log")
    log.mkdir(parents=True, exist_ok=True)
    now = int(datetime.now(UTC).timestamp() * 1000)
    features = ["appendOnly", "deletionVectors", "invariants"]
    actions: list[dict[str, Any]] = [
        {
            "commitInfo": {
                "timestamp": now,
                "operation": "CREATE TABLE",
                "operationParameters": {},
                "engineInfo": "scoreline",
            }
        },
        {
            "protocol": {
                "minReaderVersion": 3,
                "minWriterVersion": 7,
                "readerFeatures": ["deletionVectors"],
                "writerFeatures": features,
            }
        },
        {
            "metaData": {
                "id": str(uuid4()),
                "format": {"provider": "parquet", "options": {}},
                "schemaString": schema,
                "partitionColumns": [],
                "configuration": dict(properties),
                "createdTime": now,
            }
        },
    ]
    fresh = log / f".{uuid4().hex}.tmp"
    with fresh.open("w", encoding="utf-8") as file:
        file.write("".join(json.dumps(action) + "\n" for action in actions))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(fresh, log / f"{0:020d}.json")
    except FileExistsError:
        pass
    finally:
        fresh.unlink()


def unknown_feature(error: DeltaError) -> str | None:
    """The feature for which delta-rs did not open a table; None for another error."""
    if (unknown := _UNKNOWN.search(str(error))) is None:
        return None
    return unknown[1] or "columnMapping"


def unheeded_by_readers(log: DeltaTable) -> list[str]:
    """Features that change what files say, and that nobody here minds; delta-rs passes over some of them silently."""
    found = sorted({*(log.protocol().reader_features or [])} - _KNOWN_TO_READERS - {"columnMapping"})
    return found + _mapped(log)


def unheeded_by_writers(log: DeltaTable) -> list[str]:
    """What the table asks of its readers and writers that nobody here does; delta-rs passes over some of it silently.

    A feature of `_KNOWN_TO_WRITERS` may be listed; what counts of those that older versions of the protocol had without
    a name is whether they are used.
    """
    protocol, about = log.protocol(), log.metadata().configuration
    listed = {*(protocol.reader_features or []), *(protocol.writer_features or [])}
    fields = json.loads(log.schema().to_json())["fields"]
    said = {key.split(".")[1] for field in fields for key in field.get("metadata", {}) if key.startswith("delta.")}
    found = [name for name in sorted(listed) if name not in _KNOWN_TO_WRITERS]
    found += _mapped(log)
    found += ["checkConstraints"] if any(key.startswith("delta.constraints.") for key in about) else []
    found += [_OF_A_COLUMN[key] for key in sorted(said & _OF_A_COLUMN.keys())]
    return list(dict.fromkeys(found))


def _mapped(log: DeltaTable) -> list[str]:
    return ["columnMapping"] if log.metadata().configuration.get("delta.columnMapping.mode", "none") != "none" else []


def log_commits(
    log: DeltaTable, location: str, limit: int | None = None, options: Mapping[str, str] | None = None
) -> list[Commit]:
    """The table's history as Spark tells it, newest first."""
    found = log.history(limit)
    moments = _moments([int(commit["version"]) for commit in found], location, options)
    return [_commit(commit, moments) for commit in found]


def _moments(versions: Sequence[int], location: str, options: Mapping[str, str] | None) -> dict[int, datetime]:
    """When each commit was made, as Spark says it: by its file, and later than the one before."""
    found: dict[int, datetime] = {}
    before = 0
    written = _written(versions, location, options)
    for version in sorted(versions):
        before = max(written.get(version, before + 1), before + 1)
        found[version] = datetime.fromtimestamp(before / 1000, UTC)
    return found


def _written(versions: Sequence[int], location: str, options: Mapping[str, str] | None) -> dict[int, int]:
    """When the file of each commit was written, in milliseconds; of those whose file is still there."""
    names = {f"{version:020d}.json": version for version in versions}
    if "://" not in location:
        files = {version: Path(location, "_delta_log", name) for name, version in names.items()}
        return {version: int(file.stat().st_mtime * 1000) for version, file in files.items() if file.exists()}
    import pyarrow.fs
    from deltalake.fs import DeltaStorageHandler

    store = pyarrow.fs.PyFileSystem(DeltaStorageHandler(location, dict(options or {})))
    entries = store.get_file_info([f"_delta_log/{name}" for name in names])
    return {names[entry.base_name]: int(entry.mtime.timestamp() * 1000) for entry in entries if entry.mtime}


def _commit(said: Mapping[str, Any], moments: Mapping[int, datetime]) -> Commit:
    metrics = {_METRICS.get(key, key): str(value) for key, value in (said.get("operationMetrics") or {}).items()}
    operation = str(said.get("operation"))
    return Commit(
        int(said["version"]),
        moments[int(said["version"])],
        _OPERATIONS.get(operation, operation),
        read_note(said.get("userMetadata")),
        metrics,
        said.get("operationParameters") or {},
    )
