"""One row more in a table of a folder, without Spark. Only for tables that are written in this one way.

Spark's writer of a local folder looks for a commit of its number and then renames over it, so beside it a commit of
anybody's may be lost; of two that are written here exactly one wins. Where several machines write nothing is written
here, as nobody has shown that it is safe.
"""

import fcntl
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import write_deltalake
from deltalake.exceptions import DeltaError

from scoreline.config.settings import Settings
from scoreline.errors import InputError
from scoreline.tables.delta_log import changed_log, first_commit, unheeded_by_writers, unknown_feature
from scoreline.tables.names import PROPERTIES
from scoreline.tables.reading import is_elsewhere

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["append_row", "is_ours_alone"]


def is_ours_alone(settings: Settings, spark: "SparkSession | None" = None) -> bool:
    """Whether the tables are in a folder of this machine."""
    root = (settings.tables.root or "x://").removeprefix("file://").removeprefix("file:")
    return "://" not in root and not is_elsewhere(settings, spark)


def append_row(location: str, schema: str, row: Mapping[str, Any]) -> None:
    """Add a row to a table, which is made if there is none, by the JSON of its `schema`.

    Columns that others have added are null in the row.
    """
    location = location.removeprefix("file://").removeprefix("file:")
    folder = Path(location)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.with_name(f".{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # for some milliseconds
        if not any(Path(location, "_delta_log").glob("[0-9]*")):
            first_commit(location, schema, PROPERTIES)
        try:
            with changed_log(location) as log:
                _require_heeded(location, unheeded_by_writers(log))
                wanted = pa.schema(log.schema().to_arrow())
                rows = pa.Table.from_pylist([{name: row.get(name) for name in wanted.names}], schema=wanted)
                write_deltalake(log, rows, mode="append")
        except DeltaError as error:
            if (feature := unknown_feature(error)) is None:
                raise
            _require_heeded(location, [feature])


def _require_heeded(location: str, unheeded: Sequence[str]) -> None:
    if unheeded:
        raise InputError(f"{location} has features that are not kept to without Spark: {', '.join(unheeded)}")
