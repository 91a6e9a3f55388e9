"""`scoreline init`: a configuration that fits files of this machine; what their first rows do not show is asked."""

import csv
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from scoreline.config.loading import load_settings
from scoreline.config.sources import require_encoding
from scoreline.errors import InputError, told
from scoreline.report import Report
from scoreline.sources.heads import Head, first_bytes, head_of, header, is_one_document
from scoreline.sources.values import ISO

__all__ = ["Found", "InitReport", "look", "write_for"]

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
_WHOLE = re.compile(r"(0|-?[1-9][0-9]{0,17})(\.0+)?")
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")


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


@dataclass(frozen=True)
class InitReport(Report):
    """The file that was written, and what was taken for what."""

    file: str
    columns: dict[str, str]

    def __str__(self) -> str:
        taken = ", ".join(f"{column} as {role}" for role, column in self.columns.items())
        return f"{self.file}: {taken}. Look it over, its comments say what was seen."


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


def configuration(
    name: str, root: str, events: Found, roles: dict[str, str], time: str, items: Found | None, of_items: dict[str, str]
) -> str:
    """The text of the file."""
    seen = f"seen in the first {max(map(len, events.columns.values()), default=0):,} rows of {events.file.name}"
    keys = {role: "long" if _whole(events.columns[roles[role]]) else "string" for role in ("user_id", "item_id")}
    lines = [
        f"# {name}: written by `scoreline init`. Every key: docs/configuration.md.",
        f"name: {_scalar(name)}",
        f"tables: {{root: {_scalar(root)}}}  # a folder or URI; or catalog: main.{_scalar(name)}",
        f"keys: {{user_id: {keys['user_id']}, item_id: {keys['item_id']}}}  # {seen}; string keeps letters and zeros",
        "events:",
        *_reading(events),
        f"  columns: {{{', '.join(f'{role}: {_scalar(column)}' for role, column in roles.items())}}}",
        f"  time: {_scalar(time)}  # or epoch_seconds, epoch_millis, iso, or a pattern such as yyyy-MM-dd HH:mm:ss",
        *_range(events, roles, seen),
    ]
    if items is not None:
        lines += ["items:  # titles, for `scoreline show`", *_reading(items)]
        lines += [f"  {role}: {_scalar(column)}" for role, column in of_items.items()]
    return "\n".join(
        [
            *lines,
            f"model: {{uri: {_scalar(f'models:/{name}@champion')}}}  # what `scoreline train` registers and promotes",
            "scoring: {k: 20}  # items per user; those already seen are left out",
            "# histories: {max_items: 1000}  # a model is shown the newest so many; what is older stays excluded",
            f"# export: {{url: sqlite:///{root}/serving.db}}  # your application's database; a password by ${{NAME}}",
            "",
        ]
    )


def _whole(values: Sequence[str]) -> bool:
    return bool(values) and all(_WHOLE.fullmatch(value) for value in values)


def _reading(found: Found) -> list[str]:
    lines = [f"  format: {found.format}"] if found.format != "csv" else []
    lines += [f"  separator: {json.dumps(found.separator)}"] if found.separator != "," else []
    return lines + ([f"  encoding: {found.encoding}"] if found.encoding != "UTF-8" else [])


def _range(events: Found, roles: dict[str, str], seen: str) -> list[str]:
    if "weight" not in roles:
        return []
    try:
        weights = [float(value) for value in events.columns[roles["weight"]]]
    except ValueError:
        return []
    if not weights or min(weights) == max(weights):
        return []
    return [f"  # weight_range: [{min(weights):g}, {max(weights):g}]  # {seen}; what is outside of it is quarantined"]


def _scalar(text: str) -> str:
    return text if _PLAIN.fullmatch(text) and isinstance(yaml.safe_load(text), str) else json.dumps(text)


def write_configuration(text: str, file: Path) -> None:
    """Write a file that is not there yet, if every command can read it; raises InputError or ConfigurationError."""
    if file.exists():
        raise InputError(f"{file} is there already, and was left as it is. Name another one: --output FILE.")
    load_settings(yaml.safe_load(text))
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text, encoding="utf-8")


def chosen(found: Found, role: str, given: str | None, *, ask: bool) -> str:
    """The column of a role: the one that was given, the only one called so, or one that is asked for."""
    listed = ", ".join(found.columns)
    if given is not None:
        if given not in found.columns:
            raise InputError(f"{found.file} has no column {given}; it has {listed}.")
        return given
    if len(named := found.named(role)) == 1:
        return named[0]
    if ask:
        word = click.prompt(f"Which column of {found.file.name} is the {role}", type=click.Choice(list(found.columns)))
        return str(word)
    why = f"columns {' and '.join(named)} may be" if named else "no column is called like"
    option = {"user_id": "--user", "item_id": "--item", "time": "--time"}.get(role, f"--{role}")
    raise InputError(f"{found.file}: {why} the {role}; it has {listed}. Say which: {option} COLUMN.")


def write_for(
    events: Path,
    items: Path | None,
    *,
    name: str | None,
    root: str | None,
    roles: dict[str, str | None],
    time_format: str | None,
    encoding: str,
    output: Path | None,
    ask: bool,
) -> InitReport:
    """Look at the files, choose the columns, and write the configuration. Raises InputError for what cannot be seen."""
    found = look(events, encoding=encoding)
    columns = {role: chosen(found, role, given, ask=ask) for role, given in roles.items()}
    if len(weights := found.named("weight")) == 1:
        columns["weight"] = weights[0]
    how = time_format or how_time(found, columns["time"])
    if how is None:
        example = next(iter(found.columns[columns["time"]]), "nothing")
        if not ask:
            raise InputError(
                f"{found.file}: {example!r} in column {columns['time']} is no time that can be seen without a pattern. "
                "Say how it is written: --time-format 'yyyy-MM-dd HH:mm:ss'."
            )
        how = str(click.prompt(f"How is the time {example!r} written, such as yyyy-MM-dd HH:mm:ss"))
    titles = None if items is None else look(items, encoding=encoding, least=2)
    of_items: dict[str, str] = {}
    if titles is not None:
        of_items = {role: chosen(titles, role, None, ask=ask) for role in ("item_id", "title")}
        of_items |= {"genres": genres[0]} if len(genres := titles.named("genres")) == 1 else {}
    name = name or re.sub(r"[^a-z0-9]+", "_", events.stem.lower()).strip("_") or "pipeline"
    output = output or Path("conf") / f"{name}.yaml"
    write_configuration(configuration(name, root or f"data/{name}", found, columns, how, titles, of_items), output)
    return InitReport(str(output), columns)
