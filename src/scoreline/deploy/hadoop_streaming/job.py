"""What a Hadoop streaming job needs, as files: histories as JSON lines, the model, and the task of the mapper."""

import pickle
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from scoreline import __version__
from scoreline.context import Context, step
from scoreline.deploy.hadoop_streaming.mapper import MODEL, TASK
from scoreline.engine.engine import TO_THE_MICROSECOND
from scoreline.engine.sql import quoted
from scoreline.errors import InputError
from scoreline.hashing import digest
from scoreline.pipeline.snapshot import open_run
from scoreline.report import Report


@dataclass(frozen=True)
class MapReduceFiles(Report):
    """Where everything is, and the columns that the mapper reads."""

    folder: str
    histories: str
    users: int
    columns: tuple[str, ...]
    model: str

    def __str__(self) -> str:
        return f"{self.folder}: {self.users:,} users' histories and {self.model}"


@step
def write_files(context: Context, folder: Path) -> MapReduceFiles:
    """Write `histories/`, `model.zip` and `task.pickle` into `folder` (local), of the input and model as pinned now.

    Raises InputError for a model that is not allowed, or not the one that was promoted.
    """
    opened = open_run(context, fraction=1.0, full_refresh=True)
    task = opened.pinned.task
    source = Path(task.model_path)
    columns = task.columns
    rows = opened.inputs.rows.select(*map(quoted, columns))
    histories = folder.absolute() / "histories"
    json_lines(rows).write.mode("overwrite").text(str(histories))
    with zipfile.ZipFile(folder / "model.zip", "w", zipfile.ZIP_STORED) as packed:
        for path in sorted(source.rglob("*")):
            packed.write(path, path.relative_to(source))
    users = rows.count()
    guard = replace(task.guard, failures=context.settings.audit.tolerated(users, users))
    # a mapper compares what it gets with what was packed here, whether or not the version was promoted
    task = replace(task, model_path=MODEL, digest=task.digest or digest(source), guard=guard)
    made = (__version__, task, to_arrow_schema(rows.schema), context.settings.scoring.batch_rows)
    (folder / TASK).write_bytes(pickle.dumps(made))
    return MapReduceFiles(str(folder), str(histories), users, columns, opened.model)


def json_lines(rows: DataFrame) -> DataFrame:
    """A row as one line of JSON that the mapper reads as it was, to the microsecond.

    Raises InputError for a column of a type that does not come back from JSON.
    """
    for field in rows.schema:
        if lost := _lost(field.dataType):
            raise InputError(
                f"column {field.name} has values of type {lost}, and histories go to a mapper as JSON, from which "
                "these do not come back. Cast it in the table (a date to timestamp), or score with scoreline run."
            )
    return rows.select(F.to_json(F.struct(*map(quoted, rows.columns)), TO_THE_MICROSECOND))


def _lost(kind: T.DataType) -> str | None:
    if isinstance(kind, T.ArrayType):
        return _lost(kind.elementType)
    if isinstance(kind, T.StructType):
        return next((lost for part in kind if (lost := _lost(part.dataType))), None)
    return kind.simpleString() if isinstance(kind, T.BinaryType | T.MapType | T.DateType) else None
