"""Read rows from files, tables and databases as they are: nothing parsed, nothing dropped.

Each reader gives the source's columns plus SOURCE (where the row came from), RAW (the row as text) and MALFORMED (true
for a line that does not fit the format).
"""

import errno
import re
from pathlib import Path

import pyarrow as pa
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.engine.engine import engine_of
from scoreline.engine.failures import explained
from scoreline.engine.listing import Files, Place
from scoreline.engine.sql import quoted, quoted_name
from scoreline.errors import InputError, told
from scoreline.redaction import without_credentials
from scoreline.sources.database import Database, read_database
from scoreline.sources.heads import looked_at
from scoreline.sources.parquet import read_parquet
from scoreline.sources.text_files import Layout, read_csv, read_json
from scoreline.sources.values import valid_text
from scoreline.tables.delta import table_at
from scoreline.tables.names import MALFORMED, RAW, SOURCE

_URL = re.compile(r"^[a-z][a-z0-9+]*://", re.IGNORECASE)
_STORAGE = ("file", "hdfs", "s3", "s3a", "gs", "abfs", "abfss", "wasbs", "dbfs", "viewfs")


def read_source(
    spark: SparkSession, source: Place, layout: Layout, wanted: list[str], *, database: Database | None = None
) -> DataFrame:
    """Read a file, folder or glob, a `catalog.schema.table`, or a database URL (SQLAlchemy's or `jdbc:`).

    `Files` are some of a folder or glob. `wanted` are the columns that have to be there. Raises InputError for a
    missing source or column, an empty file or a separator that does not fit.
    """
    if isinstance(source, Files):
        rows = _rows_of_files(spark, source, layout, wanted)
    else:
        require_reader(spark, source)
        rows = _rows_of(spark, source, layout, wanted, database)
    return as_read(rows, without_credentials(str(source)), layout, wanted)


def _rows_of(
    spark: SparkSession, source: str, layout: Layout, wanted: list[str], database: Database | None
) -> DataFrame:
    if is_database(source):
        require_database(source)
        return read_database(spark, source, database, wanted)
    if is_table(source):
        with explained(f"Table {source} could not be read"):
            return spark.read.table(quoted_name(source)).withColumn(SOURCE, F.lit(source))
    return _read_files(spark, source, layout, wanted)


def require_reader(spark: SparkSession, source: str) -> None:
    """Raise InputError for what this session's engine has no reader of."""
    by_java = "JDBC" if source.startswith("jdbc:") else "Kafka's client for Java" if is_kafka(source) else None
    if engine_of(spark).name == "embedded" and (by_java or is_table(source)):
        what = f"is read by {by_java}" if by_java else "is no file here, but may be a table of a catalogue"
        raise InputError(
            f"{without_credentials(source)} {what}, and the embedded engine reads files of this machine, and databases "
            "by SQLAlchemy's URL (postgresql://, sqlite:///). Say engine: spark."
        )


def as_read(rows: DataFrame, name: str, layout: Layout, wanted: list[str]) -> DataFrame:
    """Rows that have SOURCE already, as `read_source` gives them; raises InputError for a column that is not there."""
    _require_columns(rows, wanted, name, layout)
    return _with_raw(rows, layout)


def is_file(source: Place) -> bool:
    """Whether it is a file, a folder, a glob or some files."""
    return isinstance(source, Files) or not (is_database(source) or is_kafka(source) or is_table(source))


def is_database(source: str) -> bool:
    """Whether it is the URL of a database."""
    return source.startswith("jdbc:") or (bool(_URL.match(source)) and source.split(":", 1)[0].lower() not in _STORAGE)


def is_kafka(source: str) -> bool:
    """Whether it is the address of a topic."""
    return source.startswith("kafka://")


def is_table(source: str) -> bool:
    """Whether it is the name of a table in a catalogue."""
    return (
        bool(re.fullmatch(r"\w+(\.\w+){1,2}", source))
        and not Path(source).exists()
        and "/" not in source
        and (
            source.rsplit(".", 1)[1].lower()
            not in (
                "csv",
                "dat",
                "txt",
                "tsv",
                "json",
                "jsonl",
                "ndjson",
                "parquet",
                "gz",
                "bz2",
                "zst",
                "zip",
                "xlsx",
                "xls",
            )
        )
    )


def _read_files(spark: SparkSession, path: str, layout: Layout, wanted: list[str]) -> DataFrame:
    require_file(path)
    if layout.format == "delta":
        with explained(f"{path} could not be read as {layout.format}", otherwise=InputError):
            table = table_at(spark, path, path, in_catalog=False)
            if not table.exists():
                raise InputError(f"{path}: there is no Delta table here.")
            return table.read_from(SOURCE)
    return _rows_of_files(spark, path, layout, wanted)


def _rows_of_files(spark: SparkSession, path: Place, layout: Layout, wanted: list[str]) -> DataFrame:
    try:
        with explained(f"{path} could not be read as {layout.format}", otherwise=InputError):
            return _opened(spark, path, layout, wanted)
    except (pa.ArrowException, OSError) as error:  # in the middle of a file, where no engine of Spark's reads it
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise InputError(f"{path} could not be read as {layout.format}: {told(error)}") from None


def _opened(spark: SparkSession, path: Place, layout: Layout, wanted: list[str]) -> DataFrame:
    heads = looked_at(spark, path, layout.format, layout.encoding if layout.format == "csv" else "UTF-8")
    if layout.format == "csv":
        return read_csv(spark, path, layout, heads, wanted)
    if layout.format == "json":
        return read_json(spark, path, heads, wanted)
    found = read_parquet(spark, path, file=SOURCE)
    found.require(wanted, str(path))
    return found.rows


def require_file(path: str) -> None:
    """Raise InputError if nothing is there; of a pattern or a store that is not known yet."""
    if "://" in path:
        return
    parent = Path(path).parent
    if any(sign in path for sign in "*?[{"):
        return
    if not Path(path).exists():
        there = sorted(p.name for p in parent.iterdir() if not p.name.startswith("."))[:8] if parent.is_dir() else []
        hint = f" {parent} has: {', '.join(there)}." if there else ""
        raise InputError(f"{path}: no such file or folder.{hint}")
    if Path(path).is_file() and Path(path).stat().st_size == 0:
        raise InputError(f"{path}: the file is empty; expected at least a row.")


def require_database(url: str) -> None:
    """Raise InputError if SQLite's file is not there: it would be made, empty."""
    if not url.startswith("sqlite"):
        return
    import sqlalchemy

    file = sqlalchemy.make_url(url).database or ":memory:"
    if not file.startswith((":", "file:")):
        require_file(file)


def _require_columns(rows: DataFrame, wanted: list[str], source: str, layout: Layout) -> None:
    found = [c for c in rows.columns if c not in (SOURCE, MALFORMED)]
    missing = [c for c in wanted if c not in found]
    if not missing:
        return
    hint = f" Is {layout.separator!r} the right separator?" if layout.format == "csv" and len(found) == 1 else ""
    raise InputError(
        f"{source}: expected column{'s' * (len(missing) > 1)} {', '.join(missing)}, found {', '.join(found) or 'none'}."
        f"{hint} The configuration maps the columns of the source."
    )


def _written(rows: DataFrame, name: str) -> Column:
    """A value as the quarantine keeps it; bytes are no text, and are written as hexadecimal digits."""
    column, kind = F.col(quoted(name)), rows.schema[name].dataType
    text = F.hex(column) if isinstance(kind, T.BinaryType) else engine_of(rows.sparkSession).text(column, kind)
    return F.coalesce(text, F.lit(""))


def _with_raw(rows: DataFrame, layout: Layout) -> DataFrame:
    fields = [c for c in rows.columns if c not in (SOURCE, MALFORMED)]
    separator = layout.separator if layout.format == "csv" else ","
    joined = F.concat_ws(separator, *[_written(rows, c) for c in fields])
    malformed = F.col(MALFORMED) if MALFORMED in rows.columns else F.lit(None).cast("string")
    return rows.select(
        *[F.col(quoted(c)) for c in fields],
        F.col(SOURCE),
        valid_text(F.coalesce(malformed, joined)).alias(RAW),
        malformed.isNotNull().alias(MALFORMED),
    )
