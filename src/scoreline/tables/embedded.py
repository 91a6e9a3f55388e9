"""Tables without a JVM: delta-rs reads and writes the log, Sail reads the files that it names.

What a reader of Spark's must find stands as Spark writes it: the first commit is made here, word for word, since
delta-rs would ask for features that older readers do not know.
"""

import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from uuid import uuid4

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Field, Transaction, WriterProperties, write_deltalake
from deltalake.exceptions import DeltaError
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from scoreline.engine.embedded.files import uri
from scoreline.engine.embedded.sail import batches, read_files, written
from scoreline.engine.embedded.spool import parquet_batches, spooled
from scoreline.engine.filesystem import shown
from scoreline.engine.sql import quoted
from scoreline.errors import InputError
from scoreline.tables.added_files import added, stats_columns
from scoreline.tables.appended import AddedFile
from scoreline.tables.commit_note import Note
from scoreline.tables.delta import _RETENTION, Table, _interval, committed
from scoreline.tables.delta_log import (
    changed_log,
    first_commit,
    kept_log,
    log_commits,
    unheeded_by_writers,
    unknown_feature,
)
from scoreline.tables.history import Commit
from scoreline.tables.names import PROPERTIES

_DELETIONS = "deletion_vector_"
_FRESH = "_fresh-"  # readers and VACUUM pass over names that begin with _


@dataclass(frozen=True)
class EmbeddedTable(Table):
    """A table in a folder, by delta-rs."""

    def _log(self, version: int | None = None) -> DeltaTable:
        """The log, to be looked at before another one is asked for."""
        with self._understood():
            log = kept_log(self.location, version)
        self._require_heeded(unheeded_by_writers(log))
        return log

    @contextmanager
    def _changed(self) -> Iterator[DeltaTable]:
        """The log, for a commit of ours."""
        with self._understood(), changed_log(self.location) as log:
            self._require_heeded(unheeded_by_writers(log))
            yield log

    @contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except DeltaError as error:
            if (feature := unknown_feature(error)) is None:
                raise
            self._require_heeded([feature])

    def _require_heeded(self, foreign: Sequence[str]) -> None:
        if foreign:
            raise InputError(
                f"{self.location} has features that the embedded engine does not keep to: {', '.join(foreign)}. Say "
                "engine: spark, which does."
            )

    def create(self, schema: T.StructType, properties: Mapping[str, str] | None = None) -> None:
        if self.exists():
            self._check_schema(schema)
            return
        first_commit(self.location, schema.json(), {**PROPERTIES, **(properties or {})})

    def add_column(self, field: T.StructField) -> None:
        if field.name in self._schema().names:
            return
        wanted = Field.from_json(json.dumps(field.jsonValue()))
        try:
            with self._changed() as log:
                log.alter.add_columns([wanted])
        except DeltaError:
            if field.name not in self._schema().names:
                raise

    def _schema(self, log: DeltaTable | None = None) -> T.StructType:
        return T.StructType.fromJson(json.loads((log or self._log()).schema().to_json()))

    def read(self, version: int | None = None) -> DataFrame:
        return self._rows(self._log(version))

    def _rows(self, log: DeltaTable) -> DataFrame:
        schema = self._schema(log)
        if log.metadata().partition_columns or _deletions(log):
            return self._spooled(log, schema)
        return read_files(self.spark, schema, sorted(unquote(file) for file in log.file_uris()))

    def read_from(self, file: str) -> DataFrame:
        log = self._log()
        return self._spooled(log, self._schema(log), file)

    def read_added(self, place: str, files: Sequence[AddedFile], file: str) -> DataFrame:
        wanted = to_arrow_schema(self._schema()).append(pa.field(file, pa.string()))

        def batches() -> Iterator[pa.RecordBatch]:
            for found in files:
                path = Path(shown(f"{place}/{found.path}"))
                yield from parquet_batches(path, wanted, {**found.partition, file: uri(path)})

        return spooled(self.spark, batches(), wanted)

    def _spooled(self, log: DeltaTable, schema: T.StructType, file: str | None = None) -> DataFrame:
        """The rows by Arrow: Sail is not asked to mind deletion vectors, nor values that are in the log only."""
        arrow = to_arrow_schema(schema)
        wanted = arrow.append(pa.field(file, pa.string())) if file else arrow
        deleted, adds = _deletions(log), pa.table(log.get_add_actions()).to_pylist()

        def batches() -> Iterator[pa.RecordBatch]:
            for add in sorted(adds, key=lambda add: add["path"]):
                path = Path(self.location, unquote(add["path"]))
                given = {name: _said(value) for name, value in (add.get("partition") or {}).items()}
                kept = deleted.get(f"file://{path}")
                yield from parquet_batches(path, wanted, given | ({file: uri(path)} if file else {}), kept)

        return spooled(self.spark, batches(), wanted)

    def files(self, version: int) -> set[str]:
        return {unquote(file) for file in self._log(version).file_uris()}

    def write(
        self, rows: DataFrame | pa.RecordBatchReader, mode: str, options: Mapping[str, str] | None = None
    ) -> None:
        given = dict(options or {})
        stamp = _stamp(given)
        if not self.exists():
            schema = rows.schema if isinstance(rows, DataFrame) else _spark_schema(rows.schema)
            # as Spark does: what a first write happens to have no null in may get one later
            fields = [T.StructField(field.name, field.dataType, True, field.metadata) for field in schema]
            first_commit(self.location, T.StructType(fields).json(), {**PROPERTIES, **given})
        with self._changed() as log:
            if _is_behind(log, stamp):
                return
            if isinstance(rows, DataFrame):
                self._add(log, rows, mode, stamp)
                return
            with _Stream(rows, to_arrow_schema(self._schema(log))) as stream:
                write_deltalake(log, stream, mode=mode, commit_properties=_properties(stamp), writer_properties=_WRITER)

    def _add(self, log: DeltaTable, rows: DataFrame, mode: str, stamp: "_Stamp") -> None:
        """Commit files that Sail writes into the table's folder: no row passes through Python, or is written twice."""
        schema = self._schema(log)
        there = set(rows.columns)
        cast = [
            (F.col(quoted(f.name)) if f.name in there else F.lit(None)).cast(f.dataType).alias(f.name) for f in schema
        ]
        fresh = Path(self.location, f"{_FRESH}{uuid4().hex}")
        try:
            files = written(rows.select(*cast), fresh)
            stats = stats_columns(schema, log.metadata().configuration)
            adds = [added(file, Path(self.location, f"part-{uuid4()}.parquet"), schema, stats) for file in files]
        finally:
            shutil.rmtree(fresh, ignore_errors=True)
        kept = [add for add in adds if add is not None]
        log.create_write_transaction(kept, mode, log.schema(), commit_properties=_properties(stamp))

    def change(self, rows: DataFrame, key: str, options: Mapping[str, str]) -> None:
        stamp = _stamp(dict(options))
        named = {name: _new(name) for name in rows.columns if name != "_left"}
        with self._changed() as log:
            if _is_behind(log, stamp):
                return
            with self._merge(log, rows, key, stamp) as merge:
                merge.when_matched_delete("new._left").when_matched_update(named).when_not_matched_insert(
                    named, predicate="NOT new._left"
                ).execute()

    def upsert(
        self,
        rows: DataFrame | Callable[[DataFrame], DataFrame],
        key: str,
        *,
        update: bool = True,
        note: Note | None = None,
    ) -> None:
        def once() -> None:
            stamp = _stamp({"userMetadata": note.text()} if note else {})
            with self._changed() as log:
                made = rows(self._rows(log)) if callable(rows) else rows
                named = {name: _new(name) for name in made.columns}
                with self._merge(log, made, key, stamp) as merge:
                    if update:
                        merge.when_matched_update(named)
                    merge.when_not_matched_insert(named).execute()

        committed(once)

    @contextmanager
    def _merge(self, log: DeltaTable, rows: DataFrame, key: str, stamp: "_Stamp") -> Iterator[Any]:
        schema = to_arrow_schema(self._schema(log))
        wanted = pa.schema(
            [schema.field(name) if name in schema.names else pa.field(name, pa.bool_()) for name in rows.columns]
        )
        with _Stream(rows, wanted) as stream:
            yield log.merge(
                stream,
                f'old."{key}" = new."{key}"',
                source_alias="new",
                target_alias="old",
                commit_properties=_properties(stamp),
                writer_properties=_WRITER,
            )

    def delete(self, where: str) -> None:
        with self._changed() as log:
            log.delete(where)

    def set_property(self, key: str, value: str) -> None:
        with self._changed() as log:
            log.alter.set_table_properties({key: value}, raise_if_not_exists=False)

    def properties(self) -> dict[str, str]:
        return {key: str(value) for key, value in self._log().metadata().configuration.items()}

    def version(self) -> int:
        return int(self._log().version())

    def commits(self, limit: int | None = None) -> list[Commit]:
        return log_commits(self._log(), self.location, limit)

    def detail(self) -> Any:
        log = self._log()
        sizes = pa.table(log.get_add_actions(flatten=True))["size_bytes"].to_pylist()
        about = log.metadata()
        return {"location": self.location, "numFiles": len(sizes), "sizeInBytes": sum(sizes), "id": str(about.id)}

    def vacuum(self, retain: timedelta) -> None:
        kept = max(retain, _interval(self.properties().get(_RETENTION, "")))
        hours = int(kept.total_seconds() // 3600)
        with self._changed() as log:
            log.vacuum(retention_hours=hours, dry_run=False)
            # what no commit names; deletion vectors are left, since delta-rs lists those of living files, too
            unnamed = log.vacuum(retention_hours=hours, dry_run=True, full=True)
        for file in unnamed:
            if not Path(file).name.startswith(_DELETIONS):
                Path(self.location, unquote(file)).unlink(missing_ok=True)
        for folder in Path(self.location).glob(f"{_FRESH}*"):  # of a writer that was killed before its commit
            if time.time() - folder.stat().st_mtime > kept.total_seconds():
                shutil.rmtree(folder, ignore_errors=True)

    def optimize(self) -> None:
        with self._changed() as log:
            log.optimize.compact()

    def drop(self) -> None:
        shutil.rmtree(self.location, ignore_errors=True)


@dataclass(frozen=True)
class _Stamp:
    note: str | None
    app: str | None
    number: int


_WRITER = WriterProperties(compression="SNAPPY")


def _stamp(options: dict[str, str]) -> _Stamp:
    """What a commit says of itself, taken out of the options."""
    app, number = options.pop("txnAppId", None), options.pop("txnVersion", "0")
    return _Stamp(options.pop("userMetadata", None), app, int(number))


def _properties(stamp: _Stamp) -> CommitProperties:
    # a fenced commit is made from the snapshot that was looked at, or not at all: delta-rs refuses it if another of the
    # same application came between
    return CommitProperties(
        custom_metadata={"userMetadata": stamp.note} if stamp.note else None,
        app_transactions=[Transaction(stamp.app, stamp.number)] if stamp.app else None,
    )


def _is_behind(log: DeltaTable, stamp: _Stamp) -> bool:
    """Whether the application has written this number or a later one: Spark passes over such a commit, so do we."""
    if stamp.app is None:
        return False
    last = log.transaction_version(stamp.app)
    return last is not None and last >= stamp.number


def _new(name: str) -> str:
    return 'new."' + name.replace('"', '""') + '"'


def _deletions(log: DeltaTable) -> dict[str, pa.Array]:
    """Of files with deleted rows, by their addresses, which rows are still there."""
    if "deletionVectors" not in (log.protocol().reader_features or []):
        return {}
    found: dict[str, pa.Array] = {}
    for batch in pa.RecordBatchReader.from_stream(log.deletion_vectors()):
        for name, kept in zip(batch.column("filepath").to_pylist(), batch.column("selection_vector"), strict=True):
            found[unquote(name)] = kept.values
    return found


def _spark_schema(schema: pa.Schema) -> T.StructType:
    from pyspark.sql.pandas.types import from_arrow_schema

    return from_arrow_schema(schema)


def _said(value: object) -> str | None:
    """A value of a partition as text that Arrow casts back."""
    if isinstance(value, bool):
        return str(value).lower()
    return None if value is None else str(value)


class _Stream:
    """Rows as a stream of batches of a schema; an error of ours comes out as it went in."""

    def __init__(self, rows: DataFrame | pa.RecordBatchReader, schema: pa.Schema) -> None:
        self._error: BaseException | None = None
        source = batches(rows) if isinstance(rows, DataFrame) else rows
        self._stream = pa.RecordBatchReader.from_batches(schema, self._cast(source, schema))

    def _cast(self, source: Any, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        try:
            for batch in source:
                yield _cast(batch, schema)
        except BaseException as error:
            self._error = error
            raise

    def __enter__(self) -> pa.RecordBatchReader:
        return self._stream

    def __exit__(self, kind: Any, error: BaseException | None, trace: Any) -> None:
        if error is not None and self._error is not None:
            raise self._error from None


def _cast(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    names = batch.schema.names
    columns = []
    for field in schema:
        if field.name not in names:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        column = batch.column(names.index(field.name))
        columns.append(column if column.type.equals(field.type) else column.cast(field.type))
    return pa.RecordBatch.from_arrays(columns, schema=schema)
