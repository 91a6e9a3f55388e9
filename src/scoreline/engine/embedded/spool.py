"""Rows that are read here, on their way to Sail: as Parquet files of this process's own, never all in memory."""

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.pandas.types import from_arrow_schema

from scoreline.engine.embedded.sail import read_files, scratch

__all__ = ["parquet_batches", "spooled"]

_ROWS = 65_536


def spooled(spark: SparkSession, batches: Iterable[pa.RecordBatch], schema: pa.Schema) -> DataFrame:
    """The rows of batches; one may bring a column that those before, and `schema`, lack: it is null in theirs.

    In the files columns go by number, so that a name may be anything.
    """
    places = {field.name: field for field in schema}
    folder = scratch("rows")
    files: list[str] = []
    writer: pq.ParquetWriter | None = None
    try:
        for batch in batches:
            places |= {field.name: field for field in batch.schema if field.name not in places}
            numbers = {name: f"c{place}" for place, name in enumerate(places)}
            numbered = batch.rename_columns([numbers[name] for name in batch.schema.names])
            if writer is None or not writer.schema.equals(numbered.schema):
                if writer is not None:
                    writer.close()
                files.append(str(folder / f"{len(files):06}.parquet"))
                writer = pq.ParquetWriter(
                    files[-1], numbered.schema, compression="lz4", use_dictionary=_repeating(numbered.schema)
                )
            writer.write_batch(numbered)
    finally:
        if writer is not None:
            writer.close()
    fields = [field.with_name(f"c{place}") for place, field in enumerate(places.values())]
    rows = read_files(spark, from_arrow_schema(pa.schema(fields), prefer_timestamp_ntz=True), files)
    return rows.select(*[F.col(f"c{place}").alias(name) for place, name in enumerate(places)])


def _repeating(schema: pa.Schema) -> list[str]:
    """The columns worth a dictionary: of floating point numbers it costs twice what all the rest of writing does."""
    return [
        field.name for field in schema if not pa.types.is_floating(field.type) and not pa.types.is_nested(field.type)
    ]


def parquet_batches(
    file: Path,
    schema: pa.Schema,
    given: Mapping[str, str | None],
    keep: pa.Array | None = None,
) -> Iterator[pa.RecordBatch]:
    """A file's rows as Spark would have them under `schema`: what it lacks is `given` (as text), or null.

    `keep`: which of its rows are still there; rows beyond it are.
    """
    with pq.ParquetFile(file, coerce_int96_timestamp_unit="us") as opened:
        there = set(opened.schema_arrow.names)
        wanted = [name for name in schema.names if name in there and name not in given]
        begin = 0
        for found in opened.iter_batches(_ROWS, columns=wanted):
            rows = found.num_rows
            batch = found if keep is None else found.filter(_padded(keep[begin : begin + rows], rows))
            begin += rows
            columns = {name: batch.column(batch.schema.get_field_index(name)) for name in wanted}
            yield pa.RecordBatch.from_arrays(
                [
                    _as_spark(columns[field.name], field.type)
                    if field.name in columns
                    else pa.repeat(pa.scalar(given.get(field.name)), batch.num_rows).cast(field.type)
                    for field in schema
                ],
                schema=schema,
            )


def _padded(keep: pa.Array, rows: int) -> pa.Array:
    return pa.concat_arrays([keep, pa.repeat(pa.scalar(True), rows - len(keep))]) if len(keep) < rows else keep


def _as_spark(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_timestamp(column.type) and column.type.unit == "ns" and pa.types.is_timestamp(kind):
        # the rest is cut off, downwards also before 1970
        nanos = np.floor_divide(column.cast(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False), 1000)
        column = pa.array(nanos, pa.int64(), mask=column.is_null().to_numpy(zero_copy_only=False))
    found = column if column.type.equals(kind) else column.cast(kind)
    if pa.types.is_string(kind):
        try:
            found.validate(full=True)
        except pa.ArrowInvalid:  # bytes that are not UTF-8, which Sail would refuse
            raw = found.cast(pa.binary()).to_pylist()
            return pa.array([None if one is None else one.decode("utf-8", "replace") for one in raw], kind)
    return found
