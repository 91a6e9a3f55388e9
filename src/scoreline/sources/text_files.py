"""CSV files in any encoding, and JSON: every field as text, every line that does not fit whole.

What Spark reads natively it reads natively. Other encodings are read byte by byte, as ISO-8859-1 shows them, and each
field is decoded: in all of them a separator, a quote or a line's end is no part of another character.
"""

import codecs
from collections.abc import Sequence
from typing import Protocol

from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.engine.engine import engine_of
from scoreline.engine.filesystem import is_remote, shown
from scoreline.engine.listing import Place, base_path, spark_paths
from scoreline.engine.session_settings import session_settings
from scoreline.engine.sql import quoted
from scoreline.errors import InputError
from scoreline.sources.heads import FILES_LOOKED_AT, ONE_A_LINE, Head, header, is_one_document
from scoreline.sources.parquet import with_folders
from scoreline.sources.values import require_kinds
from scoreline.tables.names import MALFORMED, SOURCE


class Layout(Protocol):
    """The part of the settings that says how a file looks; events and items both have it."""

    @property
    def format(self) -> str: ...
    @property
    def separator(self) -> str: ...
    @property
    def quote(self) -> str: ...
    @property
    def encoding(self) -> str: ...
    @property
    def fields(self) -> list[str] | None: ...


_NATIVE = {
    "utf-8": "UTF-8",
    "utf-8-sig": "UTF-8",
    "ascii": "US-ASCII",
    "iso8859-1": "ISO-8859-1",
    "utf-16": "UTF-16",
    "utf-16-le": "UTF-16LE",
    "utf-16-be": "UTF-16BE",
    "utf-32": "UTF-32",
}

_ANY_CHARSET = {"spark.sql.legacy.javaCharsets": "true", "spark.sql.legacy.codingErrorAction": "true"}


def read_csv(
    spark: SparkSession, path: Place, layout: Layout, heads: Sequence[Head], wanted: Sequence[str]
) -> DataFrame:
    """Every field as text; MALFORMED is the line where it has too few or too many. Raises InputError by the header."""
    native = _NATIVE.get(codecs.lookup(layout.encoding).name)
    names, checked = (layout.fields, True) if layout.fields else _names(path, layout, heads, wanted)
    text = T.StructType([T.StructField(name, T.StringType()) for name in [*names, MALFORMED]])
    options = {
        "sep": layout.separator,
        "quote": layout.quote,
        "escape": layout.quote,
        "encoding": native or "ISO-8859-1",
        "header": str(layout.fields is None).lower(),
        # a file that we have not looked at and whose header has another order: an error, not shifted values
        "enforceSchema": str(checked).lower(),
        "mode": "PERMISSIVE",
        "columnNameOfCorruptRecord": MALFORMED,
        "columnPruning": "false",
        # else lines are cut at the byte of a line feed, which in these is only a half or a quarter of one
        "multiLine": str((native or "").startswith(("UTF-16", "UTF-32"))).lower(),
        **base_path(path),
    }
    if engine_of(spark).name == "embedded":
        from scoreline.sources.arrow_csv import read_lines

        return read_lines(spark, path, layout, [*names], checked=checked)
    rows = with_folders(lambda schema: spark.read.schema(schema).options(**options).csv(spark_paths(path)), text)
    rows = rows.withColumn(SOURCE, F.col("_metadata.file_path"))
    return rows if native else _decoded(spark, rows, layout.encoding)


def read_json(spark: SparkSession, path: Place, heads: Sequence[Head], wanted: Sequence[str]) -> DataFrame:
    """Every value as text; MALFORMED is the line that is none of an object. Raises InputError by the first bytes."""
    documents = True in [is_one_document(head) for head in heads]
    if engine_of(spark).name == "embedded":
        from scoreline.sources.local_json import read_objects

        rows, kinds = read_objects(spark, path, documents=documents)
        _require_scalars(kinds, wanted, path)
        return rows
    if documents:
        _require_one_document(spark, path)
    paths = spark_paths(path)
    given = spark.read.options(**base_path(path)).option("multiLine", str(documents).lower())
    found = given.option("primitivesAsString", "true").json(paths).schema
    if documents and "_corrupt_record" in found.names:
        raise InputError(f"{path} is no complete JSON document; {ONE_A_LINE}")
    _require_scalars(found, wanted, path)
    names = [*(name for name in found.names if name != "_corrupt_record"), MALFORMED]
    text = T.StructType([T.StructField(name, T.StringType()) for name in names])
    reader = given.schema(text).option("mode", "PERMISSIVE").option("columnNameOfCorruptRecord", MALFORMED)
    return reader.json(paths).withColumn(SOURCE, F.col("_metadata.file_path"))


def _require_scalars(found: T.StructType, wanted: Sequence[str], path: Place) -> None:
    require_kinds(found, {name: name for name in wanted if name in found.names}, str(path))


def _require_one_document(spark: SparkSession, path: Place) -> None:
    """Raise InputError where a file has more than one: Spark would read the first and say nothing of the rest."""
    strings, ends = r'"[^"\\]*+(?:\\.[^"\\]*+)*+"', r"[\]}]\s*[\[{]"
    bare = F.regexp_replace("value", strings, "")
    several = (
        spark.read.text(spark_paths(path), wholetext=True)
        .where(bare.rlike(ends))
        .select(F.col("_metadata.file_path"))
        .first()
    )
    if several is not None:
        raise InputError(f"{shown(several[0])} has several JSON documents one after the other; {ONE_A_LINE}")


def _names(path: Place, layout: Layout, heads: Sequence[Head], wanted: Sequence[str]) -> tuple[list[str], bool]:
    """The columns by the headers, and whether all of the headers have been seen to be the same."""
    rule = {"separator": layout.separator, "quote": layout.quote, "encoding": layout.encoding}
    found = [(head, header(head, **rule)) for head in heads]
    first, names = found[0]
    for head, others in found[1:]:
        if others != names:
            raise InputError(
                f"{head.file} has the header {', '.join(others)}, and {first.file} has {', '.join(names)}; expected "
                "the same columns in the same order in all files. Ingest them one by one."
            )
    folded = [name.lower() for name in names]
    if twice := [name for name in names if folded.count(name.lower()) > 1 and name in wanted]:
        raise InputError(f"{path}: the header names a column twice, whatever the case: {twice[0]}. Rename one of them.")
    # what nobody asks for may have no name, as the index that pandas writes, or the same one twice
    told = [name if name and folded.count(name.lower()) == 1 else f"{name}_{at}" for at, name in enumerate(names)]
    return told, not isinstance(path, str) or len(heads) < FILES_LOOKED_AT


def _decoded(spark: SparkSession, rows: DataFrame, encoding: str) -> DataFrame:
    if is_remote(spark):
        raise InputError(f"Spark Connect reads no text in {encoding}. Convert it: iconv -f {encoding} -t UTF-8.")

    def text(name: str) -> Column:
        return F.decode(F.encode(F.col(quoted(name)), "ISO-8859-1"), encoding).alias(name)

    # an expression remembers what the session said when it was made; Spark 4 knows of other charsets only then
    with session_settings(spark, _ANY_CHARSET):
        return rows.select(*[text(name) for name in rows.columns if name != SOURCE], SOURCE)
