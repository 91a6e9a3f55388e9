"""CSV files for an engine that refuses a file for one line: read by Arrow, every field as text, misfits kept whole."""

import codecs
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.csv as pc
from pyarrow import compute
from pyspark.sql import DataFrame, SparkSession

from scoreline.engine.embedded.files import DataFile
from scoreline.engine.embedded.spool import spooled
from scoreline.engine.listing import Place, local_files
from scoreline.engine.memory import require_memory
from scoreline.errors import InputError, told
from scoreline.tables.names import MALFORMED, SOURCE

if TYPE_CHECKING:
    from scoreline.sources.text_files import Layout

_GROUPED = 18  # bytes of memory for a byte of text: docs/engines.md
_UNPACKED = 5  # bytes of text in a byte of a packed file, at most of the usual
_PACKED = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}
_REPLACED = "scoreline.replaced"
_HALF = re.compile(rb"\xed[\xa0-\xbf][\x80-\xbf]")
_STAND_IN = "\x1f"  # for a separator of several characters, which Arrow has not


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
            except pa.ArrowException as error:
                raise InputError(
                    f"{file.path} could not be read as csv: {told(error)}. Correct the file, or say engine: spark, "
                    "which reads around such a place."
                ) from None

    return spooled(spark, batches(), pa.schema([(name, pa.string()) for name in (*names, SOURCE, MALFORMED)]))


def _require_memory(path: Place, files: Sequence[Path]) -> None:
    """Raise BeyondMemory, before a line is read, for files whose events could not be grouped in memory."""
    size = sum(file.stat().st_size * (_UNPACKED if file.suffix.lower() in _PACKED else 1) for file in files)
    require_memory(size * _GROUPED, f"{path} has about {size / 2**20:,.0f} MiB of text")


def _batches(file: Path, layout: "Layout", numbered: Sequence[str]) -> Iterator[pa.RecordBatch]:
    misfits: list[str] = []
    text = _Text(file, layout)

    def keep(row: Any) -> str:
        misfits.append(text.restored(row.text))
        return "skip"

    reading = pc.ReadOptions(
        column_names=list(numbered),
        skip_rows=0 if layout.fields else 1,
        block_size=8 << 20,
        use_threads=False,  # a misfit is told of by the block it is in
    )
    parsing = pc.ParseOptions(
        delimiter=text.separator,
        quote_char=layout.quote or False,
        double_quote=True,
        newlines_in_values=False,
        invalid_row_handler=keep,
    )
    as_text = pc.ConvertOptions(
        column_types=dict.fromkeys(numbered, pa.string()),
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        null_values=[""],
    )
    with unpacked(file) as raw:
        try:
            decoded = pa.TransformInputStream(raw, text)
            opened = pc.open_csv(decoded, read_options=reading, parse_options=parsing, convert_options=as_text)
        except pa.ArrowInvalid as error:
            if "Empty CSV file" in str(error):
                return
            raise
        for batch in opened:
            _require_closed(file, batch)
            yield text.restored_in(batch)
            if misfits:
                yield _misfits(file, misfits, numbered)
                misfits.clear()
        if misfits:
            yield _misfits(file, misfits, numbered)


def _require_closed(file: Path, batch: pa.RecordBatch) -> None:
    """Raise InputError for a value with a line's end in it: its quote was not closed, and Arrow read on."""
    for column in batch.columns:
        if compute.any(compute.match_substring(column, "\n")).as_py():
            [value] = column.filter(compute.match_substring(column, "\n"))[:1].to_pylist()
            raise InputError(
                f"{file} has a quote that is not closed on its line, before {value.splitlines()[0][:80]!r}. Correct "
                "the file, say what quotes (events.quote), or say engine: spark, which reads each line by itself."
            )


def _replaced(error: UnicodeError) -> tuple[str, int]:
    """U+FFFD, one for what Java takes for one: half a pair of UTF-16 that is written in UTF-8 counts as one, too."""
    if not isinstance(error, UnicodeDecodeError):
        raise error
    half = _HALF.match(error.object, error.start)
    return "\ufffd", half.end() if half and error.encoding == "utf-8" else error.end


codecs.register_error(_REPLACED, _replaced)


class _Text:
    """The bytes of a file as UTF-8, block by block, with one character for the separator.

    What is no text in the file's encoding becomes U+FFFD, as by Spark.
    """

    def __init__(self, file: Path, layout: "Layout") -> None:
        self._file, self._separator, self._quoted = file, layout.separator, bool(layout.quote)
        self._decoder = codecs.getincrementaldecoder(layout.encoding)(_REPLACED)
        self._rest = ""
        self.separator = _STAND_IN if len(layout.separator) > 1 else layout.separator

    def __call__(self, block: pa.Buffer) -> bytes:
        text = self._rest + self._decoder.decode(bytes(block), final=not len(block))
        self._rest = ""
        if self.separator == self._separator:
            return text.encode()
        if _STAND_IN in text:
            raise InputError(
                f"{self._file} has the character U+001F, which the embedded engine needs for the separator "
                f"{self._separator!r}. Remove it, or say engine: spark."
            )
        *whole, last = text.split(self._separator)
        if len(block):  # the begin of a separator whose end is in the next block
            begins = [n for n in range(1, len(self._separator)) if last.endswith(self._separator[:n])]
            cut = len(last) - max(begins, default=0)
            last, self._rest = last[:cut], last[cut:]
        return _STAND_IN.join([*whole, last]).encode()

    def restored(self, text: str) -> str:
        return text if self.separator == self._separator else text.replace(_STAND_IN, self._separator)

    def restored_in(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """Separators that stand inside of quotes are a part of the value."""
        if self.separator == self._separator or not self._quoted:
            return batch
        columns = [compute.replace_substring(column, _STAND_IN, self._separator) for column in batch.columns]
        return pa.RecordBatch.from_arrays(columns, names=batch.schema.names)


def _misfits(file: Path, lines: list[str], numbered: Sequence[str]) -> pa.RecordBatch:
    nothing = [pa.nulls(len(lines), pa.string()) for _ in numbered]
    batch = pa.RecordBatch.from_arrays([*nothing, pa.array(lines, pa.string())], names=[*numbered, MALFORMED])
    _require_closed(file, batch)
    return batch


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
