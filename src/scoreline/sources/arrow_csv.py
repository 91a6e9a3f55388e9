"""CSV files for an engine that refuses a file for one line: read by Arrow, every field as text, misfits kept whole.

Written to Parquet on the way, a block at a time: what is larger than memory passes through as well.
"""

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.engine.embedded.sail import read_files, scratch
from scoreline.engine.filesystem import shown
from scoreline.errors import InputError, told
from scoreline.tables.schema import MALFORMED, SOURCE

if TYPE_CHECKING:
    from scoreline.sources.text_files import Layout

_PACKED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


def read_lines(spark: SparkSession, path: str, layout: "Layout", names: Sequence[str], *, checked: bool) -> DataFrame:
    """The columns `names`, SOURCE and MALFORMED (the line, where it has too few fields or too many).

    Raises InputError for what Arrow cannot read, and where not every header was looked at (`checked`).
    """
    if not checked:
        raise InputError(
            f"{path}: there are more files than headers are looked at, and the embedded engine would take all of them "
            "in the order of the first. Name the columns (events.fields), or say engine: spark."
        )
    files = sorted(spark.read.schema("_ string").text(path).inputFiles())
    numbered = [f"c{place}" for place in range(len(names))]
    fields = [pa.field(name, pa.string()) for name in (*numbered, "source", "malformed")]
    schema = pa.schema(fields)
    folder = scratch("csv")
    with pq.ParquetWriter(folder / "lines.parquet", schema, compression="lz4", use_dictionary=["source"]) as writer:
        for file in files:
            try:
                for batch in _batches(file, layout, numbered):
                    writer.write_batch(_with_source(batch, schema, file))
            except (pa.ArrowException, UnicodeError) as error:
                raise InputError(
                    f"{shown(file)} could not be read as {layout.encoding}: {told(error)}. Correct the file or its "
                    "encoding, or say engine: spark, which reads around such a place."
                ) from None
    kinds = T.StructType([T.StructField(field.name, T.StringType()) for field in schema])
    rows = read_files(spark, kinds, [str(folder / "lines.parquet")])
    columns = [F.col(number).alias(name) for number, name in zip(numbered, names, strict=True)]
    return rows.select(*columns, F.col("malformed").alias(MALFORMED), F.col("source").alias(SOURCE))


def _batches(file: str, layout: "Layout", numbered: Sequence[str]) -> Iterator[pa.RecordBatch]:
    misfits: list[str] = []

    def keep(row: Any) -> str:
        misfits.append(row.text)
        return "skip"

    reading = pc.ReadOptions(
        column_names=list(numbered),
        skip_rows=0 if layout.fields else 1,
        encoding=layout.encoding,
        block_size=8 << 20,
        use_threads=False,  # a misfit is told of by the block it is in
    )
    parsing = pc.ParseOptions(
        delimiter=layout.separator,
        quote_char=layout.quote or False,
        double_quote=True,
        newlines_in_values=False,
        invalid_row_handler=keep,
    )
    text = pc.ConvertOptions(
        column_types=dict.fromkeys(numbered, pa.string()),
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=[""],
    )
    local = shown(file)
    packed = next((how for end, how in _PACKED.items() if local.lower().endswith(end)), None)
    with pa.input_stream(local, compression=packed) as raw:
        try:
            opened = pc.open_csv(raw, read_options=reading, parse_options=parsing, convert_options=text)
        except pa.ArrowInvalid as error:
            if "Empty CSV file" in str(error):
                return
            raise
        for batch in opened:
            yield batch
            if misfits:
                yield _misfits(misfits, numbered)
                misfits.clear()
        if misfits:
            yield _misfits(misfits, numbered)


def _misfits(lines: list[str], numbered: Sequence[str]) -> pa.RecordBatch:
    nothing = [pa.nulls(len(lines), pa.string()) for _ in numbered]
    return pa.RecordBatch.from_arrays([*nothing, pa.array(lines, pa.string())], names=[*numbered, "malformed"])


def _with_source(batch: pa.RecordBatch, schema: pa.Schema, file: str) -> pa.RecordBatch:
    source = pa.repeat(pa.scalar(_as_spark_says(file), pa.string()), batch.num_rows)
    found = dict(zip(batch.schema.names, batch.columns, strict=True)) | {"source": source}
    found.setdefault("malformed", pa.nulls(batch.num_rows, pa.string()))
    return pa.RecordBatch.from_arrays([found[name] for name in schema.names], schema=schema)


def _as_spark_says(file: str) -> str:
    """The address of a file as Spark writes it: `file:/path`, what no URI may have as %XX, and letters as they are."""
    return "file:" + re.sub(r'[\x00-\x20"#%<>?\[\\\]^`{|}\x7f]', lambda found: f"%{ord(found[0]):02X}", shown(file))
