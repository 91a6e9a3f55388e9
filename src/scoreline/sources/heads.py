"""What a file is by its first bytes, whatever its name says: looked at before Spark reads a row of it."""

import codecs
import csv
import io
import json
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import SparkSession

from scoreline.engine import filesystem
from scoreline.engine.listing import Place, addresses_at
from scoreline.errors import InputError, told

_BYTES = 1 << 16
_AT_ONCE = 16
FILES_LOOKED_AT = 200  # files of a folder; what is wrong in others is told when their rows are read

_PACKED = {b"\x1f\x8b": ("gzip", ".gz"), b"BZh": ("bz2", ".bz2"), b"\x28\xb5\x2f\xfd": ("zstd", ".zst")}
_OTHERS = {
    b"PAR1": "a Parquet file: say format: parquet",
    b"PK\x03\x04": "a ZIP archive, which an Excel workbook is, too: unpack it, or save the sheet as CSV",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook: save the sheet as CSV",
    b"\xfd7zXZ": "packed by xz, which Spark cannot unpack: unpack it",
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it",
    b"Rar!": "a RAR archive: unpack it",
    b"ORC": "an ORC file: write it as Parquet",
    b"Obj\x01": "an Avro file: write it as Parquet",
    b"ARROW1": "an Arrow file: write it as Parquet",
    b"SQLite format 3": "a SQLite database: name it by sqlite:///FILE, with events.query",
    b"%PDF": "a PDF",
    b"\x89HDF": "an HDF5 file: write it as Parquet",
}
_MARKS = {
    codecs.BOM_UTF8: "UTF-8",
    codecs.BOM_UTF32_LE: "UTF-32",
    codecs.BOM_UTF32_BE: "UTF-32",
    codecs.BOM_UTF16_LE: "UTF-16",
    codecs.BOM_UTF16_BE: "UTF-16",
}
_TABLES = {
    "_delta_log": ("[0-9]*", "Delta", "say format: delta"),
    "metadata": ("*.metadata.json", "Iceberg", "name it as catalog.schema.table"),
    ".hoodie": ("hoodie.properties", "Hudi", "name it as catalog.schema.table"),
}


@dataclass(frozen=True)
class Head:
    """The first 64 KiB of a file, unpacked; `whole` if that is all of it."""

    file: str
    data: bytes
    whole: bool

    def lines(self, encoding: str) -> list[str]:
        """The complete lines in it."""
        text = codecs.getincrementaldecoder(encoding)("replace").decode(self.data).removeprefix("\ufeff")
        found = re.split("\r\n|\n|\r", text)
        return found if self.whole or len(found) < 2 else found[:-1]


def looked_at(spark: SparkSession, path: Place, kind: str, encoding: str = "UTF-8") -> list[Head]:
    """The heads of the files that Spark reads there; raises InputError for one that is not what it is read as."""
    if isinstance(path, str):
        require_no_table(spark, path)
    files = addresses_at(spark, path)
    if not files:
        raise InputError(f"{path}: there is no file in it.")
    found = _beginnings(spark, files[:FILES_LOOKED_AT] if isinstance(path, str) else files)
    heads = []
    for file, raw in zip(files, found, strict=False):
        if kind == "parquet":
            _require_parquet(filesystem.shown(file), raw)
        elif raw:
            heads.append(head_of(filesystem.shown(file), raw, kind, encoding))
    if kind != "parquet" and not heads:
        raise InputError(f"{path}: its files are empty; expected at least a row.")
    return heads


def unreadable(spark: SparkSession, files: Sequence[str], kind: str, encoding: str) -> dict[str, str]:
    """Of some files, by their addresses, those that are not what they are read as, and why."""

    def reason(file: str) -> str | None:
        try:
            raw = filesystem.first_bytes(spark, file, _BYTES)
            if kind == "parquet":
                _require_parquet(filesystem.shown(file), raw)
            else:
                head_of(filesystem.shown(file), raw, kind, encoding)
        except InputError as error:
            return str(error)
        except OSError as error:
            return f"it could not be opened: {error.strerror}"
        return None

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        reasons = zip(files, pool.map(reason, files), strict=True)
        return {file: why for file, why in reasons if why}


def _beginnings(spark: SparkSession, files: Sequence[str]) -> list[bytes]:
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        return list(pool.map(lambda file: filesystem.first_bytes(spark, file, _BYTES), files))


def head_of(file: str, raw: bytes, kind: str, encoding: str = "UTF-8") -> Head:
    """What `raw`, the first bytes of a CSV or JSON file, says; raises InputError if it is not what it is read as."""
    head = Head(file, *_unpacked(file, raw))
    _require_text(head, kind, encoding)
    return head


def first_bytes(file: Path) -> bytes:
    """The bytes of a file of this machine that `head_of` looks at."""
    with file.open("rb") as opened:
        return opened.read(_BYTES)


def require_no_table(spark: SparkSession, path: str) -> None:
    """A table's files are more than its rows: among them are those that were deleted or replaced."""
    if any(sign in path for sign in "*?[{"):
        return
    for folder, (pattern, name, remedy) in _TABLES.items():
        if filesystem.has(spark, f"{path.rstrip('/')}/{folder}", pattern):
            raise InputError(f"{path} is a {name} table, whose files hold deleted rows, too: {remedy}.")


def _known(raw: bytes) -> str | None:
    return next((name for sign, name in _OTHERS.items() if raw.startswith(sign)), None)


def _require_parquet(file: str, raw: bytes) -> None:
    if raw.startswith((b"PAR1", b"PARE")):
        return
    packed = next((f"packed by {name}: unpack it" for sign, (name, _) in _PACKED.items() if raw.startswith(sign)), None)
    found = _known(raw) or packed or ("empty" if not raw else f"something else, beginning with {_shown(raw)}")
    raise InputError(f"{file} could not be read as Parquet: it is {found}.")


def _unpacked(file: str, raw: bytes) -> tuple[bytes, bool]:
    packed = next((how for sign, how in _PACKED.items() if raw.startswith(sign)), None)
    named = next((how for how in _PACKED.values() if file.lower().endswith(how[1])), None)
    if packed != named and raw:
        packing = f"is packed by {packed[0]}" if packed else "is not packed"
        name = f"end in {packed[1]}" if packed else f"not end in {named[1] if named else ''}"
        raise InputError(f"{file} {packing}; expected its name to {name}, by which Spark knows it. Rename it.")
    if packed is None:
        return raw, len(raw) < _BYTES
    try:
        with pa.CompressedInputStream(pa.BufferReader(raw), packed[0]) as stream:
            data = stream.read(_BYTES)
    except OSError as error:
        raise InputError(f"{file} could not be unpacked by {packed[0]}: it is damaged. {told(error)}") from None
    return data, len(data) < _BYTES and len(raw) < _BYTES


def _require_text(head: Head, kind: str, encoding: str) -> None:
    data, wide = head.data, codecs.lookup(encoding).name.startswith(("utf-16", "utf-32"))
    if found := _known(data):
        raise InputError(f"{head.file} is {found}; expected columns as {kind}.")
    mark = next((name for sign, name in _MARKS.items() if data.startswith(sign)), None)
    if mark and not codecs.lookup(encoding).name.startswith(mark.lower()):
        raise _encoded(head.file, encoding, f"begins with the mark of {mark}", mark)
    if not wide and b"\0" in data[:4096]:
        odd, even = data[1:4096:2].count(0), data[0:4096:2].count(0)
        if max(odd, even) * 4 > len(data[:4096]):
            guess = "UTF-16LE" if odd > even else "UTF-16BE"
            raise _encoded(head.file, encoding, "has a zero byte beside most characters", guess)
        raise InputError(f"{head.file} is no text, it has zero bytes; expected columns as {kind}.")
    try:
        codecs.getincrementaldecoder(encoding)("strict").decode(data, head.whole)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        said = f"has the byte 0x{data[error.start]:02X} in line {line}, which is not {encoding}"
        raise _encoded(head.file, encoding, said, "windows-1252") from None
    start = data.lstrip()[:200].lower()
    if start.startswith((b"<!doctype html", b"<html")):
        raise InputError(f"{head.file} is a web page, perhaps an error's in place of a download; expected columns.")
    if start.startswith(b"<?xml"):
        raise InputError(f"{head.file} is XML; expected columns as {kind}.")
    if kind == "csv" and start.startswith((b'{"', b"[{")):
        raise InputError(f"{head.file} is JSON; expected columns as csv. Say format: json.")


def _encoded(file: str, encoding: str, said: str, guess: str) -> InputError:
    return InputError(
        f"{file} {said}: it is not in the encoding {encoding}, but perhaps in {guess}. Say so (encoding, for csv), or "
        f"convert it: iconv -f {guess} -t UTF-8."
    )


def _shown(raw: bytes) -> str:
    """The first bytes for people: what is no printable character as a question mark."""
    return repr("".join(c if c.isprintable() else "?" for c in raw[:40].decode("utf-8", "replace")))


def header(head: Head, *, separator: str, quote: str, encoding: str) -> list[str]:
    """The names in the first line of a CSV file."""
    line = next(iter(head.lines(encoding)), "")
    if len(separator) > 1:
        return [name.strip(quote) if quote else name for name in line.split(separator)]
    rule: dict[str, Any] = {"quotechar": quote} if quote else {"quoting": csv.QUOTE_NONE}
    return next(csv.reader(io.StringIO(line), delimiter=separator, **rule), [])


def is_one_document(head: Head) -> bool:
    """Whether a JSON file is one array or object over several lines, and not an object on each line.

    Raises InputError for what is neither.
    """
    lines = [line for line in head.lines("UTF-8") if line.strip()]
    if not lines:
        return False
    first = lines[0].lstrip()
    if not first.startswith(("{", "[")) and not any(line.lstrip().startswith("{") for line in lines):
        raise InputError(f"{head.file} is no JSON, it begins with {_shown(first.encode())}; expected an object a line.")
    if any(_is_followed(line) for line in lines[:100]):
        raise InputError(f"{head.file} has several JSON objects in one line; {ONE_A_LINE}")
    if any(_is_object(line) for line in lines[: 2 if first.startswith("{") else 1]):
        return False
    return len(lines) > 1 or not head.whole or first.startswith("[")


ONE_A_LINE = "expected one array, or an object on each line. To write it so: jq -c . FILE > lines.json"


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict | list)
    except ValueError:
        return False


def _is_followed(line: str) -> bool:
    try:
        _, end = json.JSONDecoder().raw_decode(line.strip())
    except ValueError:
        return False
    return line.strip()[end:].lstrip().startswith(("{", "["))
