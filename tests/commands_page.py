"""docs/commands.md, from the command line itself: every command with its arguments, options and defaults.

python tests/commands_page.py    # writes it anew
"""

import re
from collections.abc import Iterator
from inspect import cleandoc
from pathlib import Path

import click

from scoreline.cli.main import DAY, main

PAGE = Path(__file__).parents[1] / "docs" / "commands.md"
HEAD = """# Commands

Written by `python tests/commands_page.py` from the command line itself; a test compares the two. `scoreline COMMAND
--help` prints the same. The order is that of a day, as in `scoreline --help`. Exit codes: [codes](codes.md#exit-codes).
"""
_COLUMNS = ["| option | default | meaning |", "| --- | --- | --- |"]


def page() -> str:
    # what every command of a pipeline has stands once
    shared = [row(option) for option in options(main.commands["export"])]
    lines = [HEAD, "## Options of every command with `--config FILE`", "", *_COLUMNS, *shared, ""]
    for title, names in groups():
        lines += [f"## {title}", ""]
        for name in names:
            lines += [*section(name, command(name), shared), ""]
    return "\n".join(lines).rstrip() + "\n"


def groups() -> Iterator[tuple[str, tuple[str, ...]]]:
    """The commands as the help groups them, those of other packages last."""
    named = {title: tuple(str(command.name) for command in commands) for title, commands in DAY.items()}
    yield from named.items()
    ours = {name for names in named.values() for name in names}
    yield "Of other packages", tuple(name for name in main.list_commands(click.Context(main)) if name not in ours)


def command(name: str) -> click.Command:
    found = main.get_command(click.Context(main), name)
    assert found is not None, name
    return found


def section(name: str, told: click.Command, shared: list[str]) -> list[str]:
    rows = [row(option) for option in options(told)]
    config = ["--config FILE"] if set(shared) <= set(rows) else []
    own = [line for line in rows if not (config and line in shared)]
    usage = " ".join(["scoreline", name, *arguments(told), *config, "[OPTIONS]"])
    return [f"### {name}", "", *text(told), "", "```text", usage, "```", *(["", *_COLUMNS, *own] if own else [])]


def text(told: click.Command) -> list[str]:
    """The help, its examples (a block that click is told not to wrap) as a block."""
    said, _, examples = cleandoc(told.help or "").partition("\n\n\b\n")
    block = ["", "```sh", *examples.strip().splitlines(), "```"] if examples else []
    return [" ".join(said.split()).replace("<", "&lt;"), *block]


def options(told: click.Command) -> list[click.Option]:
    return [parameter for parameter in told.params if isinstance(parameter, click.Option)]


def arguments(told: click.Command) -> list[str]:
    context = click.Context(told)
    return [p.make_metavar(context) for p in told.params if isinstance(p, click.Argument) and p.name != "options"]


def row(option: click.Option) -> str:
    names, _, said = (option.get_help_record(click.Context(click.Command(""))) or ("", "", ""))[0].partition(" ")
    names, said = f"{names} {said}".strip(), option.help or ""
    default = re.search(r"\[default: ([^\]]*)\]", said)
    shown = default[1] if default else shown_default(option)
    said = re.sub(r" ?\[default: [^\]]*\]", "", said)
    return f"| `{names.replace('|', ' or ')}` | {shown} | {said} |"


def shown_default(option: click.Option) -> str:
    if option.required:
        return "required"
    if isinstance(option.show_default, str):
        return f"`{option.show_default}`"
    if option.is_flag or option.multiple or not isinstance(option.default, str | int | float | Path):
        return ""
    return f"`{option.default}`"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
