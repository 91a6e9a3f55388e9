"""`scoreline init`: a configuration that fits files of this machine; what their first rows do not show is asked."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import yaml

from scoreline.cli.first_rows import Found, how_time, look
from scoreline.config.loading import load_settings
from scoreline.engine.installed import has_classic_spark
from scoreline.errors import InputError
from scoreline.report import Report

__all__ = ["InitReport", "write_for"]

_WHOLE = re.compile(r"(0|-?[1-9][0-9]{0,17})(\.0+)?")
_OPTIONS = {"user_id": "--user", "item_id": "--item", "time": "--time"}
_OF_ITEMS = {"item_id": "--items-item", "title": "--title"}
_FEW = 0.1  # of the rows that were looked at
_PLAIN = re.compile(r"[A-Za-z_][\w./-]*")


@dataclass(frozen=True)
class InitReport(Report):
    """The file that was written, what was taken for what, and what somebody may want otherwise."""

    file: str
    columns: dict[str, str]
    noticed: tuple[str, ...] = ()

    def __str__(self) -> str:
        taken = ", ".join(f"{column} as {role}" for role, column in self.columns.items())
        said = " ".join(f"{sentence}." for sentence in self.noticed)
        return f"{self.file}: {taken}. {said}{' ' * bool(said)}Look it over, its comments say what was seen."


def configuration(
    name: str, root: str, events: Found, roles: dict[str, str], time: str, items: Found | None, of_items: dict[str, str]
) -> str:
    """The text of the file."""
    seen = f"seen in the first {max(map(len, events.columns.values()), default=0):,} rows of {events.file.name}"
    keys = {role: "long" if _whole(events.columns[roles[role]]) else "string" for role in ("user_id", "item_id")}
    lines = [
        f"# {name}: written by `scoreline init`. Every key: docs/configuration.md.",
        f"name: {_scalar(name)}",
        *([] if has_classic_spark() else ["engine: embedded  # without Java, the one that is installed here"]),
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


def _noticed(events: Found, columns: dict[str, str]) -> tuple[str, ...]:
    """A key that a few values keep from being a whole number; columns that are not used."""
    found = []
    for role in ("user_id", "item_id"):
        values = events.columns[columns[role]]
        others = [value for value in values if not _WHOLE.fullmatch(value)]
        if 0 < len(others) <= len(values) * _FEW:
            found.append(
                f"{role} is string because of {others[0]!r}: with long in its place such rows are quarantined, and all "
                "others have whole numbers"
            )
    if unused := [column for column in events.columns if column not in columns.values()]:
        weight = "" if "weight" in columns else " (what an event counts: --weight COLUMN)"
        found.append(f"Not used: {', '.join(unused)}{weight}")
    return tuple(found)


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


def chosen(found: Found, role: str, given: str | None, option: str, *, ask: bool) -> str:
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
    raise InputError(f"{found.file}: {why} the {role}; it has {listed}. Say which: {option} COLUMN.")


def write_for(
    events: Path,
    items: Path | None,
    *,
    name: str | None,
    root: str | None,
    roles: dict[str, str | None],
    of_items: dict[str, str | None],
    time_format: str | None,
    encoding: str,
    output: Path | None,
    ask: bool,
) -> InitReport:
    """Look at the files, choose the columns, and write the configuration. Raises InputError for what cannot be seen."""
    found = look(events, encoding=encoding)
    weight = roles.get("weight")
    columns = {
        role: chosen(found, role, roles[role], _OPTIONS[role], ask=ask) for role in ("user_id", "item_id", "time")
    }
    if weight is not None or len(found.named("weight")) == 1:
        columns["weight"] = chosen(found, "weight", weight, "--weight", ask=ask)
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
    described: dict[str, str] = {}
    if titles is not None:
        described = {role: chosen(titles, role, of_items[role], option, ask=ask) for role, option in _OF_ITEMS.items()}
        described |= {"genres": genres[0]} if len(genres := titles.named("genres")) == 1 else {}
    name = name or re.sub(r"[^a-z0-9]+", "_", events.stem.lower()).strip("_") or "pipeline"
    output = output or Path("conf") / f"{name}.yaml"
    write_configuration(configuration(name, root or f"data/{name}", found, columns, how, titles, described), output)
    return InitReport(str(output), columns, _noticed(found, columns))
