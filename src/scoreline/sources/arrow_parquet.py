"""Parquet files without a JVM: their footers and rows by Arrow, in Spark's types."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

from scoreline.engine.embedded.spool import parquet_batches, spooled
from scoreline.engine.filesystem import shown
from scoreline.engine.listing import Place, local_files
from scoreline.errors import InputError, told
from scoreline.sources.parquet import SPARK_SCHEMA, Footer, spark_schema

__all__ = ["footer", "rows"]

_SIMPLE: dict[Any, T.DataType] = {
    pa.bool_(): T.BooleanType(), pa.int8(): T.ByteType(), pa.int16(): T.ShortType(), pa.int32(): T.IntegerType(),
    pa.int64(): T.LongType(), pa.uint8(): T.ShortType(), pa.uint16(): T.IntegerType(), pa.uint32(): T.LongType(),
    pa.uint64(): T.DecimalType(20, 0), pa.float32(): T.FloatType(), pa.float64(): T.DoubleType(),
    pa.date32(): T.DateType(), pa.string(): T.StringType(), pa.large_string(): T.StringType(),
    pa.binary(): T.BinaryType(), pa.large_binary(): T.BinaryType(), pa.null(): T.IntegerType(),
}  # fmt: skip


def footer(file: str) -> Footer:
    """What a file, named by its address, says of its columns; raises InputError for a damaged one."""
    name = shown(file)
    try:
        with pq.ParquetFile(name) as opened:
            schema, about, parquet = opened.schema_arrow, opened.metadata.metadata or {}, opened.schema
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{name} could not be read as Parquet: {told(error)}") from None
    leaves = [parquet.column(place) for place in range(len(parquet.names))]
    instants = {leaf.path for leaf in leaves if leaf.physical_type == "INT96"}
    noted = about.get(SPARK_SCHEMA.encode())
    known = spark_schema(noted.decode() if noted else None)
    kinds = {
        field.name: known.get(field.name) or (T.TimestampType() if field.name in instants else _kind(field.type))
        for field in schema
    }
    return Footer(name, {field.name: _written(field.type) for field in schema}, kinds)


def _written(kind: pa.DataType) -> str:
    """A type as Parquet writes it, by which a file of text is told from one of bytes."""
    return "binary (STRING)" if pa.types.is_string(kind) or pa.types.is_large_string(kind) else str(kind)


def _kind(kind: pa.DataType, *, inside: bool = False) -> T.DataType | None:
    """Spark's type for Arrow's, None where it has none; nanoseconds are times, but inside of other values."""
    found = _SIMPLE.get(kind)
    if pa.types.is_timestamp(kind) and not (inside and kind.unit == "ns"):
        found = T.TimestampType() if kind.tz else T.TimestampNTZType()
    elif pa.types.is_dictionary(kind):
        found = _kind(kind.value_type)
    elif pa.types.is_duration(kind):
        found = T.LongType()
    elif pa.types.is_fixed_size_binary(kind):
        found = T.BinaryType()
    elif pa.types.is_decimal(kind) and kind.precision <= 38:
        found = T.DecimalType(kind.precision, kind.scale)
    elif pa.types.is_nested(kind):
        found = _nested(kind)
    return found


def _nested(kind: pa.DataType) -> T.DataType | None:
    if pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        element = _kind(kind.value_type, inside=True)
        return element and T.ArrayType(element)
    if pa.types.is_map(kind):
        key, item = _kind(kind.key_type, inside=True), _kind(kind.item_type, inside=True)
        return key and item and T.MapType(key, item)
    if pa.types.is_struct(kind):
        parts = [(field.name, _kind(field.type, inside=True)) for field in kind]
        fields = [T.StructField(name, part) for name, part in parts if part is not None]
        return T.StructType(fields) if len(fields) == len(parts) else None
    return None


def rows(spark: SparkSession, path: Place, schema: T.StructType, file: str | None) -> DataFrame:
    """The rows of all files, columns of folders as text, and in the column `file` which file a row is in."""
    found = local_files(path)
    given = {name: pa.string() for each in found for name in each.folders}
    named = {file: pa.string()} if file else {}
    kinds = {field.name: field.type for field in to_arrow_schema(schema)} | given | named
    wanted = pa.schema(list(kinds.items()))

    def batches() -> Iterator[pa.RecordBatch]:
        for each in found:
            more = {file: each.uri} if file else {}
            yield from parquet_batches(Path(each.path), wanted, {**each.folders, **more})

    return spooled(spark, batches(), wanted)
