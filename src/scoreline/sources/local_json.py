"""JSON files for an engine that refuses a file for one line: every value as text, misfits kept whole."""

import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.engine.embedded.files import DataFile
from scoreline.engine.embedded.spool import spooled
from scoreline.engine.listing import Place, local_files
from scoreline.engine.sql import quoted
from scoreline.errors import InputError
from scoreline.sources.arrow_csv import of_file, unpacked
from scoreline.sources.heads import ONE_A_LINE
from scoreline.sources.json_text import Misfit, Nested, Record, objects
from scoreline.tables.names import MALFORMED, SOURCE

_ROWS = 50_000
_TEXT = T.StringType()


def read_objects(spark: SparkSession, path: Place, *, documents: bool) -> tuple[DataFrame, T.StructType]:
    """All that the objects name as text, SOURCE, MALFORMED (the line), columns of folders; and what the values are.

    `documents`: a file is one object or array of objects; otherwise a line is. Raises InputError for a document that is
    none, or is followed by another.
    """
    kinds: dict[str, set[str]] = defaultdict(set)

    def batches() -> Iterator[pa.RecordBatch]:
        for file in local_files(path):
            records = _of_document(file) if documents else _of_lines(file)
            while part := list(islice(records, _ROWS)):
                for name in {name: None for record in part for name in record}:
                    kinds[name] |= {_kind(said) for record in part if (said := record.get(name)) is not None}
                columns = {name: pa.array([record.get(name) for record in part], pa.string()) for name in kinds}
                yield pa.RecordBatch.from_pydict(columns | of_file(file, len(part)))

    text = pa.schema([(SOURCE, pa.string()), (MALFORMED, pa.string())])
    rows = spooled(spark, batches(), text)
    folded = [name.lower() for name in kinds]
    if twice := sorted(name for name in kinds if folded.count(name.lower()) > 1):
        raise InputError(f"{path}: there are columns {' and '.join(twice)}, which differ only in case. Rename one.")
    names = sorted(name for name in kinds if name != MALFORMED)
    found = T.StructType([T.StructField(name, _sql(kinds[name])) for name in names])
    folders = [name for name in rows.columns if name not in kinds and name not in (SOURCE, MALFORMED)]
    return rows.select(*[F.col(quoted(name)) for name in (*names, *folders)], MALFORMED, SOURCE), found


def _kind(value: str) -> str:
    return value[0] if isinstance(value, Nested) else "a scalar"


def _sql(kinds: set[str]) -> T.DataType:
    """Text, as Spark has it, wherever there is a scalar or different things."""
    return {"[": T.ArrayType(_TEXT), "{": T.StructType()}.get("".join(kinds), _TEXT)


def _of_lines(file: DataFile) -> Iterator[Record]:
    for raw in _lines(file):
        try:
            yield from list(objects(raw.decode("utf-8", "surrogateescape")))
        except Misfit:
            yield {MALFORMED: raw.decode("utf-8", "replace")}


def _lines(file: DataFile) -> Iterator[bytes]:
    """Lines that end in LF, CR or both, as Hadoop cuts them."""
    rest, first = b"", True
    with unpacked(file.path) as opened:
        while block := opened.read(1 << 20):
            whole = rest + block
            if first:
                whole, first = whole.removeprefix(b"\xef\xbb\xbf"), False
            # the last may go on, and a CR at its end may be the half of an end
            *lines, rest = re.split(rb"\r\n|\n|\r(?!\Z)", whole)
            yield from lines
    yield from re.split(rb"\r\n?|\n", rest)


def _of_document(file: DataFile) -> Iterator[Record]:
    with unpacked(file.path) as opened:
        text = opened.read().decode("utf-8", "surrogateescape").removeprefix("\ufeff")
    if re.search(r"[\]}]\s*[\[{]", re.sub(r'"[^"\\]*(?:\\.[^"\\]*)*"', "", text)):
        raise InputError(f"{file.path} has several JSON documents one after the other; {ONE_A_LINE}")
    try:
        yield from objects(text)
    except Misfit:
        raise InputError(f"{file.path} is no complete JSON document; {ONE_A_LINE}") from None
