"""What the first rows of a CSV, JSON or Parquet file show: its columns, their separator, how times are written."""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from scoreline.config.sources import require_encoding
from scoreline.errors import InputError, told
from scoreline.sources.heads import Head, first_bytes, head_of, header, is_one_document
from scoreline.sources.values import ISO

__all__ = ["Found", "how_time", "look"]

_ROWS = 1_000
_SEPARATORS = (",", ";", "\t", "|")
# what columns are called in public data sets and in shops' exports, without case and punctuation
_CALLED = {
    "user_id": "user userid uid customer customerid client clientid member memberid account accountid visitor "
    "visitorid reviewerid person personid",
    "item_id": "item itemid movie movieid film filmid product productid article articleid sku stockcode book bookid "
    "isbn song songid track trackid content contentid asin venue venueid",
    "time": "time timestamp datetime date at ts eventtime createdat occurredat invoicedate unixtime",
    "weight": "rating weight score stars quantity",
    "title": "title name description",
    "genres": "genres genre categories category",
}


@dataclass(frozen=True)
class Found:
    """What the first rows of a file show: its format, the columns, and of each the values as text, without nulls."""

    file: Path
    format: str
    separator: str = ","
    encoding: str = "UTF-8"
    columns: dict[str, list[str]] = field(default_factory=dict)
    times: frozenset[str] = frozenset()

    def named(self, role: str) -> list[str]:
        """The columns that are called what a role is called."""
        known = _CALLED[role].split()
        return [name for name in self.columns if re.sub(r"[^a-z]", "", name.lower()) in known]


def look(file: Path, *, encoding: str = "UTF-8", least: int = 3) -> Found:
    """The first rows of a CSV, JSON or Parquet file of this machine; InputError for what is none of them."""
    if not file.is_file():
        raise InputError(f"{file}: no such file; expected one of this machine, such as one of a folder.")
    try:
        require_encoding(encoding)
    except ValueError as error:
        raise InputError(f"--encoding: {told(error)}") from None
    raw = first_bytes(file)
    if raw.startswith(b"PAR1"):
        return _parquet(file)
    kind = "json" if raw.lstrip()[:2] in (b'{"', b"[{", b"[\n") else "csv"
    head = head_of(str(file), raw, kind, encoding)
    return _json(file, head) if kind == "json" else _csv(file, head, encoding, least)


def _parquet(file: Path) -> Found:
    import pyarrow.types as kinds

    try:
        opened = pq.ParquetFile(file)
        rows = next(opened.iter_batches(_ROWS), None)
    except pa.ArrowException as error:
        raise InputError(f"{file} could not be read as Parquet, it is damaged: {told(error)}") from None
    names = opened.schema_arrow.names
    columns = {name: [] if rows is None else _texts(rows.column(name).to_pylist()) for name in names}
    times = {f.name for f in opened.schema_arrow if kinds.is_timestamp(f.type) or kinds.is_date(f.type)}
    return Found(file, "parquet", columns=columns, times=frozenset(times))


def _json(file: Path, head: Head) -> Found:
    if is_one_document(head):
        try:
            rows = json.loads(file.read_text(encoding="utf-8-sig"))
        except ValueError as error:
            raise InputError(f"{file} is no JSON: {told(error)}") from None
        rows = rows if isinstance(rows, list) else [rows]
    else:
        rows = [row for number, line in enumerate(head.lines("UTF-8")[:_ROWS], 1) for row in _rows(file, number, line)]
    rows = [row for row in rows[:_ROWS] if isinstance(row, dict)]
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Found(file, "json", columns={name: _texts([row.get(name) for row in rows]) for name in names})


def _rows(file: Path, number: int, line: str) -> list[object]:
    if not line.strip():
        return []
    try:
        read = json.loads(line)
    except ValueError as error:
        raise InputError(f"{file}: line {number} is no JSON: {told(error)}") from None
    return read if isinstance(read, list) else [read]


def _csv(file: Path, head: Head, encoding: str, least: int) -> Found:
    headers = {s: header(head, separator=s, quote='"', encoding=encoding) for s in _SEPARATORS}
    separator, names = max(headers.items(), key=lambda found: len(found[1]))
    if len(names) < least:
        raise InputError(
            f"{file}: its first line has {len(names)} column(s) by comma, semicolon, tab or bar; expected names "
            f"of {least} or more. Write the configuration by hand: conf/movietweetings.yaml shows "
            "other separators, and files without a header."
        )
    rows = list(islice(csv.DictReader(head.lines(encoding), delimiter=separator), _ROWS))
    columns = {name: _texts([row.get(name) for row in rows]) for name in names}
    return Found(file, "csv", separator, encoding, columns)


def _texts(values: Sequence[object]) -> list[str]:
    return [str(value).strip() for value in values if value is not None and str(value).strip()]


def how_time(found: Found, column: str) -> str | None:
    """How the values of a column say a time, None if that cannot be seen."""
    values = found.columns[column]
    if column in found.times or (values and all(re.fullmatch(ISO, value) for value in values)):
        return "iso"
    if values and all(value.isdigit() for value in values):
        digits = {len(value) for value in values}
        return "epoch_seconds" if digits <= {9, 10} else "epoch_millis" if digits <= {12, 13} else None
    return None
