"""CSV files for an engine that refuses a file for one line: read by Arrow, every field as text, misfits kept whole."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pc
from pyspark.sql import DataFrame, SparkSession

from scoreline.engine.embedded.files import DataFile
from scoreline.engine.embedded.spool import spooled
from scoreline.engine.listing import Place, local_files
from scoreline.engine.memory import SHARE, bytes_of_memory
from scoreline.errors import InputError, told
from scoreline.tables.names import MALFORMED, SOURCE

if TYPE_CHECKING:
    from scoreline.sources.text_files import Layout

_GROUPED = 18  # bytes of memory for a byte of text: docs/engines.md
_UNPACKED = 5  # bytes of text in a byte of a packed file, at most of the usual
_PACKED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}


def read_lines(spark: SparkSession, path: Place, layout: "Layout", names: Sequence[str], *, checked: bool) -> DataFrame:
    """The columns `names`, SOURCE, MALFORMED (the line, if it has too few fields or too many), and those of folders.

    Raises InputError for what Arrow cannot read, and where not every header was looked at (`checked`).
    """
    if not checked:
        raise InputError(
            f"{path}: there are more files than headers are looked at, and the embedded engine would take all of them "
            "in the order of the first. Name the columns (events.fields), or say engine: spark."
        )
    files = local_files(path)
    _require_memory(path, [file.path for file in files])
    numbered = [f"c{place}" for place in range(len(names))]

    def batches() -> Iterator[pa.RecordBatch]:
        for file in files:
            try:
                for batch in _batches(file.path, layout, numbered):
                    yield _with_source(batch, names, file)
            except (pa.ArrowException, UnicodeError) as error:
                raise InputError(
                    f"{file.path} could not be read as {layout.encoding}: {told(error)}. Correct the file or its "
                    "encoding, or say engine: spark, which reads around such a place."
                ) from None

    return spooled(spark, batches(), pa.schema([(name, pa.string()) for name in (*names, SOURCE, MALFORMED)]))


def _require_memory(path: Place, files: Sequence[Path]) -> None:
    """Raise InputError, before a line is read, for files whose events could not be grouped in this machine's memory."""
    size = sum(file.stat().st_size * (_UNPACKED if file.suffix.lower() in _PACKED else 1) for file in files)
    memory = bytes_of_memory()
    if size * _GROUPED > memory * SHARE:
        raise InputError(
            f"{path} has about {size / 2**20:,.0f} MiB of text. To group it the embedded engine would take some "
            f"{size * _GROUPED / 2**30:,.1f} GiB of memory, and expects at most {SHARE:.0%} of "
            f"the {memory / 2**30:,.1f} GiB there are. Ingest it in smaller files, or say engine: spark, "
            "which spills to disk."
        )


def _batches(file: Path, layout: "Layout", numbered: Sequence[str]) -> Iterator[pa.RecordBatch]:
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
    with unpacked(file) as raw:
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
    return pa.RecordBatch.from_arrays([*nothing, pa.array(lines, pa.string())], names=[*numbered, MALFORMED])


def _with_source(batch: pa.RecordBatch, names: Sequence[str], file: DataFile) -> pa.RecordBatch:
    found = dict(zip([*names, MALFORMED], batch.columns, strict=False))
    found.setdefault(MALFORMED, pa.nulls(batch.num_rows, pa.string()))
    return pa.RecordBatch.from_pydict(found | of_file(file, batch.num_rows))


def of_file(file: DataFile, rows: int) -> dict[str, pa.Array]:
    """What each row of a file has by the file's place: the columns of its folders, and SOURCE."""
    said = {**file.folders, SOURCE: file.uri}
    return {name: pa.repeat(pa.scalar(value, pa.string()), rows) for name, value in said.items()}


def unpacked(file: Path) -> pa.NativeFile:
    """The bytes of a file, unpacked if its name says that they are packed."""
    packed = next((how for end, how in _PACKED.items() if file.name.lower().endswith(end)), None)
    return pa.input_stream(str(file), compression=packed)
