"""The seam: what an engine has to do besides running DataFrame code, and which one a session belongs to.

Two more parts of the seam stand where their words are known: `scoreline.tables` (the log, versions, commits) and
`scoreline.pipeline.distribute` (how batches reach Python workers). Nothing else asks which engine it is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol
from uuid import uuid4

import pyarrow as pa
from pyspark import StorageLevel
from pyspark.sql import Column, DataFrame, Observation, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from scoreline.engine.filesystem import is_remote, shown

__all__ = ["TO_THE_MICROSECOND", "Engine", "Figures", "engine_of"]

TO_THE_MICROSECOND = {  # which to_json would cut to milliseconds
    "timestampFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSSXXX",
    "timestampNTZFormat": "yyyy-MM-dd'T'HH:mm:ss.SSSSSS",
}
Figures = Callable[[], Mapping[str, Any] | None]  # what was counted on the way; None: look at what was written


@dataclass(frozen=True)
class Counted:
    """Rows, and figures of them once `first`, the same rows, has been read."""

    rows: DataFrame
    first: DataFrame
    figures: Figures


class Engine(Protocol):
    """One engine; `session` makes its DataFrames."""

    @property
    def name(self) -> Literal["spark", "embedded"]: ...

    def described(self) -> str:
        """What computes, with versions, for people."""
        ...

    def kept(self, rows: DataFrame) -> AbstractContextManager[DataFrame]:
        """The same rows, computed once however often they are used inside."""
        ...

    def observed(self, rows: DataFrame, *figures: Column) -> tuple[DataFrame, Figures]:
        """Rows that are counted while something else reads them."""
        ...

    def counted(self, rows: DataFrame, *figures: Column) -> AbstractContextManager["Counted"]:
        """Rows that are read more than once inside, and counted."""
        ...

    def collected(self, rows: DataFrame) -> pa.Table:
        """The rows on the driver, as Arrow."""
        ...

    def rest(self) -> None:
        """Nothing runs in the session: let go of what is kept of queries that have ended."""
        ...

    def grouping(self, events: Callable[[], int], what: str, *, at_most: int | None = None) -> int:
        """Into how many partitions so many events, which are asked for only if it matters, go to be grouped by user.

        at_most: how many there can be, where that is known without asking. Raises BeyondMemory where they cannot be
        grouped.
        """
        ...

    def ranged(self, rows: DataFrame, partitions: int, *by: str) -> DataFrame:
        """The rows sorted, each file having its own range of the first column."""
        ...

    def files(self, path: str) -> list[str]:
        """The data files under a path, by their addresses."""
        ...

    def stored(self, paths: Sequence[str]) -> DataFrame:
        """The data files that are not on this machine: `path, length, modificationTime, content`, nothing read yet."""
        ...

    def listed(self, files: Sequence[str]) -> DataFrame:
        """`path, length, modificationTime` of files, named by their addresses."""
        ...

    def text(self, column: Column, kind: T.DataType) -> Column:
        """A value of a type as Spark's cast to text writes it."""
        ...

    def json(self, fields: Mapping[str, tuple[Column, T.DataType]]) -> Column:
        """A record of these fields as Spark's to_json writes it, with its nulls and to the microsecond."""
        ...

    def hashes(self, kind: T.DataType) -> bool:
        """Whether `json` and `hashable` know values of a type."""
        ...

    def hashable(self, column: Column, kind: T.DataType) -> Column:
        """What xxhash64 has to be given so that it is Spark's of the value, which is not nested."""
        ...


class SparkEngine:
    """Spark, classic or by Spark Connect."""

    name: Literal["spark"] = "spark"

    def __init__(self, session: SparkSession) -> None:
        self.session = session

    def described(self) -> str:
        version = self.session.sql("SELECT java_method('java.lang.System', 'getProperty', 'java.version') AS v").first()
        java = "unknown" if version is None else version["v"]
        return f"Spark {self.session.version} with Delta, on Java {java}"

    @contextmanager
    def kept(self, rows: DataFrame) -> Iterator[DataFrame]:
        persisted = rows.persist(StorageLevel.MEMORY_AND_DISK)
        try:
            yield persisted
        finally:
            persisted.unpersist()

    def observed(self, rows: DataFrame, *figures: Column) -> tuple[DataFrame, Figures]:
        seen = Observation(f"scoreline {uuid4().hex[:8]}")

        def found() -> Mapping[str, Any] | None:
            try:
                return seen.get
            except Exception:  # py4j's, for an observation that is empty
                return None

        return rows.observe(seen, *figures), found

    def rest(self) -> None:
        """Spark does it by itself."""

    def collected(self, rows: DataFrame) -> pa.Table:
        if hasattr(rows, "toArrow"):
            return rows.toArrow()
        # Spark 3.5
        return pa.Table.from_pandas(rows.toPandas(), schema=to_arrow_schema(rows.schema), preserve_index=False)

    @contextmanager
    def counted(self, rows: DataFrame, *figures: Column) -> Iterator[Counted]:
        # the client of Spark Connect cannot have an observed frame on both sides of a union
        first, found = (rows, lambda: None) if is_remote(self.session) else self.observed(rows, *figures)
        yield Counted(rows, first, found)

    def grouping(self, events: Callable[[], int], what: str, *, at_most: int | None = None) -> int:
        """Spark spills, and is told how many."""
        return int(self.session.conf.get("spark.sql.shuffle.partitions") or 8)

    def ranged(self, rows: DataFrame, partitions: int, *by: str) -> DataFrame:
        return rows.repartitionByRange(partitions, by[0]).sortWithinPartitions(*by)

    def files(self, path: str) -> list[str]:
        return sorted(self.session.read.schema("_ string").text(path).inputFiles())

    def stored(self, paths: Sequence[str]) -> DataFrame:
        return self.session.read.format("binaryFile").load(list(paths))

    def listed(self, files: Sequence[str]) -> DataFrame:
        paths = sorted({shown(file) for file in files})
        listing = self.session.read.format("binaryFile").option("recursiveFileLookup", "true")
        return listing.load(paths).select("path", "length", "modificationTime")

    def text(self, column: Column, kind: T.DataType) -> Column:
        return column.cast("string")

    def json(self, fields: Mapping[str, tuple[Column, T.DataType]]) -> Column:
        record = F.struct(*[column.alias(name) for name, (column, _) in fields.items()])
        return F.to_json(record, {"ignoreNullFields": "false", **TO_THE_MICROSECOND})

    def hashes(self, kind: T.DataType) -> bool:
        return True

    def hashable(self, column: Column, kind: T.DataType) -> Column:
        return column


def engine_of(session: SparkSession) -> Engine:
    """The engine that a session belongs to."""
    known: Engine | None = getattr(session, "_scoreline_engine", None)
    return SparkEngine(session) if known is None else known
