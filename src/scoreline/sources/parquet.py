"""Parquet files by the schemas in their footers: nothing is guessed, and what does not fit is known by its name.

Left to itself Spark makes numbers of folder names, refuses a whole file for one column in nanoseconds that nobody asked
for, and fills with nulls what one of the files lacks.
"""

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

from pyspark.sql import Column, DataFrame, DataFrameReader, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.engine.engine import engine_of
from scoreline.engine.failures import explained
from scoreline.engine.filesystem import hadoop_path, is_remote, shown
from scoreline.engine.listing import Place, addresses_at, base_path, spark_paths
from scoreline.engine.session_settings import session_settings
from scoreline.engine.sql import quoted
from scoreline.engine.thrown import engine_errors
from scoreline.errors import InputError

_NANOS = "spark.sql.legacy.parquet.nanosAsLong"
_FOLDERS = "spark.sql.sources.partitionColumnTypeInference.enabled"
SPARK_SCHEMA = "org.apache.spark.sql.parquet.row.metadata"
_AT_ONCE = 16  # footers; on a store each is a request or two


@dataclass(frozen=True)
class Parquet:
    """The rows, and for some columns why they may not be asked for.

    Those that Spark has no type for, or that it cannot tell from another by its name, are not among the rows.
    """

    rows: DataFrame
    problems: Mapping[str, str]
    files: Sequence[str]

    def require(self, columns: Sequence[str], source: str) -> None:
        """Raise InputError if one of the columns may not be asked for."""
        for name in columns:
            if name in self.problems:
                raise InputError(f"{source}: {self.problems[name]}")


@dataclass(frozen=True)
class Footer:
    """What one file says of its columns: the type as Parquet writes it; and Spark's, None where it has none."""

    file: str
    written: Mapping[str, str]
    kinds: Mapping[str, T.DataType | None]


def read_parquet(spark: SparkSession, path: Place, *, file: str | None = None) -> Parquet:
    """Read Parquet files; columns that their folders give (`shop=007`) are text, times in nanoseconds are times.

    `file`: a column more, which file a row is in. Raises InputError if there is no file, or if two of them disagree
    about a column's type.
    """
    engine = engine_of(spark)
    files = addresses_at(spark, path)
    if not files:
        raise InputError(f"{path}: there is no Parquet file in it.")
    if engine.name == "embedded":
        from scoreline.sources import arrow_parquet

        schema, problems = _schema(path, files, arrow_parquet.footer)[:2]
        return Parquet(arrow_parquet.rows(spark, path, schema, file), problems, files)
    paths = spark_paths(path)

    def reader() -> DataFrameReader:
        return spark.read.options(**base_path(path))

    if is_remote(spark):  # no JVM here that reads footers
        with session_settings(spark, {_FOLDERS: "false", _NANOS: "true"}):
            found = reader().option("mergeSchema", "true").parquet(*paths).schema
        return Parquet(_with_file(reader().schema(found).parquet(*paths), file), {}, files)
    schema, problems, footers = _schema(path, files, partial(_footer, spark))
    rows = with_folders(lambda wanted: reader().schema(wanted).parquet(*paths), schema)
    return Parquet(_with_times(_with_file(rows, file), footers), problems, files)


def _schema(
    path: Place, files: Sequence[str], look: Callable[[str], Footer]
) -> tuple[T.StructType, Mapping[str, str], Sequence[Footer]]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        footers = list(pool.map(look, files))
    problems = _problems(footers)
    for name, problem in problems.items():
        logging.getLogger(__name__).info("column=%s %s", name, problem)
    kinds = _kinds(path, footers)
    return T.StructType([T.StructField(name, kind) for name, kind in kinds.items()]), problems, footers


def _with_file(rows: DataFrame, file: str | None) -> DataFrame:
    return rows.withColumn(file, F.col("_metadata.file_path")) if file else rows


def with_folders(read: Any, schema: T.StructType) -> DataFrame:
    """What `read` makes of files of this schema, with the columns that folders give as text, as they are written."""
    found: DataFrame = read(schema)
    folders = [name for name in found.columns if name not in schema.names]
    if not folders:
        return found
    written: DataFrame = read(T.StructType([*schema, *(T.StructField(name, T.StringType()) for name in folders)]))
    return written


def _footer(spark: SparkSession, file: str) -> Footer:
    jvm: Any = spark._jvm
    hadoop = spark._jsparkSession.sessionState().newHadoopConf()
    name = shown(file)
    with explained(f"{name} could not be read as Parquet", otherwise=InputError):
        where = jvm.org.apache.parquet.hadoop.util.HadoopInputFile.fromPath(hadoop_path(spark, file), hadoop)
        reader = jvm.org.apache.parquet.hadoop.ParquetFileReader.open(where)
        try:
            about = reader.getFooter().getFileMetaData()
        finally:
            reader.close()
    fields = {field.getName(): field for field in about.getSchema().getFields()}
    written = {column: _written(column, field.toString()) for column, field in fields.items()}
    known = spark_schema(about.getKeyValueMetaData().get(SPARK_SCHEMA))
    kinds = {column: known.get(column) or _kind(spark, field, written[column]) for column, field in fields.items()}
    return Footer(name, written, kinds)


def _written(name: str, declared: str) -> str:
    """The type of a field as Parquet declares it, without name and repetition.

    >>> _written("at", "optional int64 at (TIMESTAMP(NANOS,true))")
    'int64 (TIMESTAMP(NANOS,true))'
    """
    return " ".join(" ".join(declared.split()[1:]).replace(f" {name}", "", 1).split())


def spark_schema(noted: str | None) -> dict[str, T.DataType]:
    """The types that Spark itself has noted in a file, such as an interval, which Parquet has as a number."""
    if noted is None or '"udt"' in noted:
        return {}
    return {field.name: field.dataType for field in T.StructType.fromJson(json.loads(noted))}


def _kind(spark: SparkSession, field: Any, written: str) -> T.DataType | None:
    jvm: Any = spark._jvm
    if "NANOS" in written and written.startswith("group"):
        return None  # times inside of lists and records would come as bare numbers
    settings = spark._jsparkSession.sessionState().conf().clone()
    settings.setConfString(_NANOS, "true")
    one = jvm.java.util.ArrayList()
    one.add(field)
    schema = jvm.org.apache.parquet.schema.MessageType("one", one)
    converter = jvm.org.apache.spark.sql.execution.datasources.parquet.ParquetToSparkSchemaConverter(settings)
    try:
        kind = T.StructType.fromJson(json.loads(converter.convert(schema).json()))[0].dataType
    except engine_errors():
        return None
    return None if _text(kind).startswith("time(") else kind  # Spark 4.1 knows of a time of day, and reads none


def _kinds(path: Place, footers: Sequence[Footer]) -> dict[str, T.DataType]:
    """One type per column that can be read; raises InputError where two files disagree."""
    first: dict[str, Footer] = {}
    for footer in footers:
        for name, kind in footer.kinds.items():
            before = first.setdefault(name, footer)
            if _text(before.kinds[name]) != _text(kind):
                raise InputError(
                    f"{path} could not be read: column {name} is {before.written[name]} in {before.file} and "
                    f"{footer.written[name]} in {footer.file}; expected one type in all files. Write one of them anew, "
                    "or ingest them one by one."
                )
    folded = [name.lower() for name in first]
    found = {name: footer.kinds[name] for name, footer in first.items() if folded.count(name.lower()) == 1}
    return {name: kind for name, kind in found.items() if kind is not None}


def _text(kind: T.DataType | None) -> str:
    return kind.simpleString() if kind else ""


def _problems(footers: Sequence[Footer]) -> dict[str, str]:
    """Why columns may not be asked for: no type, a name twice, not in every file."""
    found: dict[str, str] = {}
    everywhere = {name: footer for footer in footers for name in footer.kinds}
    for name, footer in everywhere.items():
        same = sorted(other for other in everywhere if other.lower() == name.lower())
        lacking = next((other.file for other in footers if name not in other.kinds), None)
        if len(same) > 1:
            found[name] = (
                f"there are columns {' and '.join(same)}, which differ only in case, and Spark cannot tell them apart. "
                "Rename one of them."
            )
        elif footer.kinds[name] is None:
            found[name] = (
                f"column {name} is {footer.written[name]} in Parquet, for which Spark has no type. Write it as text, "
                "a number or a timestamp."
            )
        elif lacking:
            found[name] = (
                f"{lacking} has no column {name}, which {footer.file} has; expected it in every file. Write the file "
                "with the column, or leave it out."
            )
    return found


def _with_times(rows: DataFrame, footers: Sequence[Footer]) -> DataFrame:
    """Columns in nanoseconds, which were read as numbers, as Spark's times: in microseconds, the rest cut off."""
    written = {name: text for footer in footers for name, text in footer.written.items()}
    times = {name: _time(name, "true" in text) for name, text in written.items() if "(TIMESTAMP(NANOS" in text}
    return rows.withColumns({name: time for name, time in times.items() if name in rows.columns})


def _time(name: str, zoned: bool) -> Column:
    value = quoted(name)
    micros = f"({value} - pmod({value}, 1000L)) DIV 1000L"
    if zoned:
        return F.expr(f"timestamp_micros({micros})")
    # not timestampadd, whose numbers are 32 bits wide in Spark 3.5
    return F.expr(f"TIMESTAMP_NTZ'1970-01-01 00:00:00' + INTERVAL '0.000001' SECOND * ({micros})")
