"""Tables to look at by a session of Spark: catalogues, and whatever delta-rs does not read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import DataFrame
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import to_arrow_schema

from scoreline.config.settings import Settings
from scoreline.engine.choice import open_session
from scoreline.engine.failures import explained
from scoreline.engine.frames import collected, count
from scoreline.engine.session import settings_of
from scoreline.engine.session_settings import session_settings
from scoreline.engine.sql import quoted
from scoreline.errors import InputError
from scoreline.tables.delta import Table, Tables
from scoreline.tables.history import Commit
from scoreline.tables.reading import Where, counted, rows_schema

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["SessionReader"]


@dataclass(frozen=True)
class SessionReader:
    """One table, by the session that it is constructed with; its settings hold while something is read."""

    table: Table
    settings: Mapping[str, str]

    @classmethod
    def opened(cls, settings: Settings, name: str, spark: "SparkSession | None") -> "SessionReader":
        """The table of this name in the session given, that of this process, or a new one."""
        used = open_session(settings, spark)
        return cls(Tables(used, settings.tables).table(name), settings_of(used, settings.spark))

    @property
    def name(self) -> str:
        return self.table.name

    @property
    def location(self) -> str:
        return self.table.location

    def exists(self) -> bool:
        with self._working():
            return self.table.exists()

    def version(self) -> int:
        with self._working():
            return self.table.version()

    def rows(
        self, columns: Sequence[str] | None = None, where: Where | None = None, version: int | None = None
    ) -> pa.Table:
        with self._working():
            wanted, found = self._selected(columns, where, version)
            return collected(found).cast(wanted)

    def batches(
        self, columns: Sequence[str] | None = None, where: Where | None = None, version: int | None = None
    ) -> pa.RecordBatchReader:
        with self._working():
            wanted, found = self._selected(columns, where, version)
        return pa.RecordBatchReader.from_batches(wanted, self._stream(found, wanted))

    def count(self, version: int | None = None) -> int:
        with self._working():
            return count(self._read(version))

    def counts(self, column: str) -> dict[Any, int]:
        with self._working():
            wanted, found = self._selected([column], None, None)
            groups = found.groupBy(*[quoted(name) for name in wanted.names]).agg(F.count(F.lit(1)).alias("_rows"))
            return counted(collected(groups))

    def commits(self, limit: int | None = None) -> list[Commit]:
        with self._working():
            return self.table.commits(limit)

    def _read(self, version: int | None) -> DataFrame:
        if version is not None and version > (newest := self.table.version()):
            raise InputError(f"{self.location} has no version {version}; its newest is {newest}.")
        return self.table.read(version)

    def _selected(
        self, columns: Sequence[str] | None, where: Where | None, version: int | None
    ) -> tuple[pa.Schema, DataFrame]:
        found = self._read(version)
        wanted = rows_schema(self.location, to_arrow_schema(found.schema), columns, where)
        for name, values in (where or {}).items():
            found = found.where(F.col(quoted(name)).isin(list(values)))
        return wanted, found.select(*[quoted(name) for name in wanted.names])

    def _stream(self, found: DataFrame, wanted: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Each partition in turn, packed where it is: rows by themselves would take a hundred times as long."""

        def packed(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                sink = pa.BufferOutputStream()
                with pa.ipc.new_stream(sink, batch.schema) as writer:
                    writer.write_batch(batch)
                yield pa.RecordBatch.from_pydict({"batch": [sink.getvalue().to_pybytes()]})

        # by number: Spark takes a dot in a name for something else here
        numbered = found.toDF(*[f"c{place}" for place in range(len(wanted))])
        with self._working():
            for row in numbered.mapInArrow(packed, "batch binary").toLocalIterator():
                for batch in pa.ipc.open_stream(row["batch"]):
                    columns = [column.cast(field.type) for column, field in zip(batch.columns, wanted, strict=True)]
                    yield pa.RecordBatch.from_arrays(columns, schema=wanted)

    @contextmanager
    def _working(self) -> Iterator[None]:
        with (
            session_settings(self.table.spark, self.settings),
            explained(f"{self.location} could not be read"),
        ):
            yield
