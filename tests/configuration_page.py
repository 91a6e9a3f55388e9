"""docs/configuration.md, from the settings: every key with its type, its default and what it is for.

python tests/configuration_page.py    # writes it anew
"""

import re
import types
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from scoreline.config.keys import section_in
from scoreline.config.settings import Settings

PAGE = Path(__file__).parents[1] / "docs" / "configuration.md"
HEAD = """# Every key of a pipeline's file

Written by `python tests/configuration_page.py` from `src/scoreline/config`; a test compares the two. An
unknown key is an error that names the nearest one. `${NAME}` and `${NAME:-default}` are replaced from the environment;
inside of `{ }` they stand in quotes. Which keys `--set` may change: [threats.md](threats.md). `scoreline init` writes a
file that fits yours.
"""
_PLAIN = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    timedelta: "duration",
    SecretStr: "text",
}

_COLUMNS = ["| key | may be | default | meaning |", "| --- | --- | --- | --- |"]


def page() -> str:
    lines = [HEAD]
    for name, section, text in sections(Settings):
        rows = [row(key, field) for key, field in section.model_fields.items() if not section_in(field.annotation)]
        lines += [f"## {name or 'At the top'}", "", text, "", *_COLUMNS, *rows, ""]
    return "\n".join(lines).rstrip() + "\n"


def sections(model: type[BaseModel], at: str = "") -> Iterator[tuple[str, type[BaseModel], str]]:
    yield at, model, " ".join((model.__doc__ or "").split())
    for name, field in model.model_fields.items():
        if (inside := section_in(field.annotation)) is not None:
            yield from sections(inside, f"{at}.{name}".lstrip("."))


def row(key: str, field: FieldInfo) -> str:
    default = "required" if field.is_required() else f"`{shown(field.get_default(call_default_factory=True))}`"
    return f"| `{key}` | {kind(field)} | {default} | {field.description} |"


def shown(value: Any) -> str:
    if isinstance(value, timedelta):
        seconds = value.total_seconds()
        unit, long = next(one for one in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)) if seconds % one[1] == 0)
        return f"{seconds / long:g}{unit}"
    if isinstance(value, tuple | list):
        return f"[{', '.join(map(shown, value))}]"
    if isinstance(value, bool) or value is None:
        return str(value).lower().replace("none", "null")
    return f"{value:.10g}" if isinstance(value, float) else "{}" if value == {} else str(value)


def kind(field: FieldInfo) -> str:
    said = _named(field.annotation)
    bounds = " ".join(str(m) for m in [*field.metadata, *_inner(field.annotation)])
    low, high = re.search(r"\bG[et]\(g[et]=([\w.]+)\)", bounds), re.search(r"\bL[et]\(l[et]=([\w.]+)\)", bounds)
    limits = [f"from {low[1]}" if low else "", f"to {high[1]}" if high else ""]
    return " ".join([said, *filter(None, limits)])


def _inner(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        _, *metadata = get_args(annotation)
        return [m for data in metadata for m in (data.metadata if isinstance(data, FieldInfo) else [data])]
    return [m for part in get_args(annotation) for m in _inner(part)]


def _named(annotation: Any) -> str:
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _named(parts[0])
    if origin in (Union, types.UnionType):
        return ", ".join("null" if part is type(None) else _named(part) for part in parts)
    if origin is Literal:
        return ", ".join(f"`{part}`" for part in parts)
    if origin in (list, tuple):
        return f"list of {_named(parts[0])}"
    if origin is dict:
        return "names with values"
    return _PLAIN.get(annotation, "any")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
