"""A Sail server in this process, and what Spark does that it does not."""

import json
import os
import shutil
import signal
import tempfile
import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache, lru_cache, reduce
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from deltalake.exceptions import DeltaError
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from scoreline.engine.embedded.files import data_files, not_here
from scoreline.engine.embedded.text import has_json, java_bytes, json_as_spark, written_as_spark
from scoreline.engine.embedded.watch import watch
from scoreline.engine.engine import Counted, Figures
from scoreline.engine.filesystem import shown
from scoreline.engine.memory import SHARE, bytes_of_memory, require_memory
from scoreline.engine.session_settings import RUNTIME

__all__ = ["SailEngine", "embedded_session", "scratch"]

# how Parquet is written: for a table, and to be read once and removed
_KEPT = {"compression": "snappy"}
_READ_ONCE = {"compression": "lz4_raw", "dictionary_enabled": "false", "statistics_enabled": "none"}

_BATCH = 65_536  # rows of a batch on the wire: each costs milliseconds, whatever is in it
_POOL_SHARE = 0.6  # of the memory: Sail spills what it can before it counts more; it takes more than it counts
_LITTLE = 64 << 20  # bytes: less is not worth a query
_GROUPED = 450  # bytes of memory for each event that is grouped into a history: docs/engines.md
_PARTITION, _MOST_PARTITIONS = 10_000, 200  # events that are grouped together
_RETRIES = 0  # of a call to a server in this process: one that breaks off is gone, and a query is not begun twice


class SailEngine:
    """Sail by Spark Connect on the loopback; nothing of it outlives the process."""

    name: Literal["embedded"] = "embedded"

    def __init__(self, session: SparkSession, server: Any) -> None:
        self.session = session
        self._server = server

    def described(self) -> str:
        return f"embedded, without Java: pysail {version('pysail')}, deltalake {version('deltalake')}"

    @contextmanager
    def kept(self, rows: DataFrame) -> Iterator[DataFrame]:
        """Written once: Sail takes `persist` for a word and computes again each time."""
        folder = scratch("kept")
        try:
            yield read_files(self.session, rows.schema, [str(file) for file in written(rows, folder / "rows")])
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def collected(self, rows: DataFrame) -> pa.Table:
        """By files: on the wire a batch of long histories is larger than the client takes."""
        schema = to_arrow_schema(rows.schema)
        return pa.Table.from_batches([batch.cast(schema) for batch in batches(rows)], schema)

    def rest(self) -> None:
        """Sail keeps each query until its client says so, which ours, that never reattaches, does not by itself."""
        client: Any = getattr(self.session, "client")  # noqa: B009
        with suppress(Exception):  # of a server that is gone, which the next query tells: what was done is done
            client.interrupt_all()

    @contextmanager
    def counted(self, rows: DataFrame, *figures: Column) -> Iterator[Counted]:
        """Written once: planning a filter on top of what parses and judges a row takes longer than many rows do."""
        folder = scratch("counted")
        try:
            files = [str(file) for file in written(rows, folder / "rows", _READ_ONCE)]
            there = read_files(self.session, rows.schema, files)
            found = there.agg(*figures).first().asDict()  # type: ignore[union-attr]
            yield Counted(there, there, lambda: found)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def grouping(self, events: Callable[[], int], what: str, *, at_most: int | None = None) -> int:
        """Its grouping does not spill, and each partition costs, whatever is in it."""
        is_little = at_most is not None and at_most * _GROUPED < min(_LITTLE, bytes_of_memory() * SHARE)
        found = at_most if at_most is not None and is_little else events()
        require_memory(found * _GROUPED, f"{what} has {found:,} events")
        return min(_MOST_PARTITIONS, 1 + found // _PARTITION)

    def ranged(self, rows: DataFrame, partitions: int, *by: str) -> DataFrame:
        """Sail has no ranges: its `repartitionByRange` puts any row into any file."""
        return rows.orderBy(*by)

    def files(self, path: str) -> list[str]:
        """Sail takes other files of a folder than Spark does."""
        return [file.uri for file in data_files(path)]

    def stored(self, paths: Sequence[str]) -> DataFrame:
        raise not_here(paths[0])

    def listed(self, files: Sequence[str]) -> DataFrame:
        paths = sorted({Path(shown(file)) for file in files})
        about = [
            (f"file:{path}", stat.st_size, stat.st_mtime_ns // 1_000_000) for path in paths if (stat := path.stat())
        ]
        rows = self.session.createDataFrame(about, "path string, length long, millis long")
        return rows.select("path", "length", F.timestamp_millis("millis").alias("modificationTime"))

    def text(self, column: Column, kind: T.DataType) -> Column:
        return written_as_spark(column, kind)

    def json(self, fields: Mapping[str, tuple[Column, T.DataType]]) -> Column:
        return json_as_spark(fields)

    def hashes(self, kind: T.DataType) -> bool:
        return has_json(kind)

    def hashable(self, column: Column, kind: T.DataType) -> Column:
        """Spark hashes decimals of more than 18 digits as Java's bytes of the whole number that they are."""
        return java_bytes(column, kind.scale) if isinstance(kind, T.DecimalType) and kind.precision > 18 else column

    def observed(self, rows: DataFrame, *figures: Column) -> tuple[DataFrame, Figures]:
        """Sail has no observations: whoever asks looks at what was written."""
        nothing: Mapping[str, Any] | None = None
        return rows, lambda: nothing


def read_files(session: SparkSession, schema: T.StructType, files: list[str]) -> DataFrame:
    """Rows of Parquet files; a column that a file lacks is null in its rows.

    Raises DeltaError for a file that is not there: Sail would pass over it without a word.
    """
    if lost := next((file for file in files if not Path(file.removeprefix("file://")).exists()), None):
        raise DeltaError(f"{lost} does not exist, and the table's log names it")
    # without comments: where two columns of a union differ in them, Sail refuses its own plan
    bare = T.StructType([T.StructField(field.name, field.dataType) for field in schema])
    if not files:
        return session.createDataFrame([], bare)
    groups: dict[tuple[bool, bool], list[str]] = {}
    for file in files:
        groups.setdefault(_form(file), []).append(file)
    parts = [session.read.schema(bare).parquet(*group) for group in groups.values()]
    for part in parts:
        part._cached_schema = bare  # type: ignore[attr-defined]  # or the client asks for what it has just said
    return reduce(DataFrame.unionAll, parts)


@lru_cache(4096)
def _form(file: str) -> tuple[bool, bool]:
    """What Sail cannot read beside files of another form: times as Spark writes them, texts as delta-rs merges them."""
    schema = pq.read_metadata(file.removeprefix("file://")).schema
    has_int96 = any(schema.column(place).physical_type == "INT96" for place in range(len(schema)))
    return has_int96, "string_view" in str(schema.to_arrow_schema())


def batches(rows: DataFrame) -> Iterator[pa.RecordBatch]:
    """The rows as they come, never all of them in memory: by files, as the wire takes four times the CPU seconds."""
    folder = scratch("batches")
    try:
        for file in written(rows, folder / "rows", _READ_ONCE):
            yield from pq.ParquetFile(file).iter_batches(65_536)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def written(rows: DataFrame, folder: Path, options: Mapping[str, str] = _KEPT) -> list[Path]:
    """The Parquet files that Sail makes of the rows in a folder of its own, in their order."""
    rows.write.mode("overwrite").options(**options).parquet(str(folder))
    return sorted(folder.glob("*.parquet"))


@cache
def embedded_session() -> SparkSession:
    """The session of this process's own server, started by whoever asks first."""
    for name, value in _server_settings().items():
        os.environ.setdefault(name, value)
    from pysail.spark import SparkConnectServer
    from pyspark.sql.connect.client.retries import DefaultPolicy

    server = SparkConnectServer(ip="127.0.0.1", port=0)
    server.start(background=True)
    _, port = server.listening_address
    session: SparkSession = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").getOrCreate()
    client: Any = getattr(session, "client")  # noqa: B009
    client.set_retry_policies([DefaultPolicy(max_retries=_RETRIES)])
    client.disable_reattachable_execute()  # for who comes back the server keeps a part of each answer, for ever
    warnings.filterwarnings("ignore", r"\[RETRIES_EXCEEDED\]")  # the error that follows tells it
    watch(client)
    session.conf.set("spark.python.sql.dataFrameDebugging.enabled", "false")  # or columns import IPython
    for key, value in RUNTIME.items():
        session.conf.set(key, value)
    _take_back_interrupts()
    session._scoreline_engine = SailEngine(session, server)  # type: ignore[attr-defined]
    return session


def _take_back_interrupts() -> None:
    """SIGINT is for this process, to stop at or to ignore: the server, which has answered by now, would end of it."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGINT))


def _server_settings() -> dict[str, str]:
    """What the server reads from the environment when it starts."""
    return {
        "SAIL_EXECUTION__BATCH_SIZE": str(_BATCH),
        # first come, first served: a fair share for each of 200 partitions is less than one batch
        "SAIL_RUNTIME__MEMORY_POOL__TYPE": "greedy",
        "SAIL_RUNTIME__MEMORY_POOL__GREEDY__MAX_SIZE": str(int(bytes_of_memory() * _POOL_SHARE)),
        # seconds; a file is read within one step
        "SAIL_PARQUET__FILE_METADATA_CACHE__TTL": "60",
        "SAIL_PARQUET__FILE_STATISTICS_CACHE__TTL": "60",
        "SAIL_RUNTIME__TEMPORARY_FILES__PATHS": json.dumps([str(_scratch_root())]),
        "MIMALLOC_ALLOW_THP": "0",  # huge pages: two fifths more memory, and a sixth more CPU (docs/engines.md)
        "RUST_LOG": "error",
    }


@cache
def _scratch_root() -> Path:
    import atexit

    root = Path(tempfile.mkdtemp(prefix="scoreline-"))
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def scratch(what: str) -> Path:
    """A folder of this process's own."""
    return Path(tempfile.mkdtemp(prefix=f"{what}-", dir=_scratch_root()))
