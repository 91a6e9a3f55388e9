"""The data files of this machine under a path, by the rules by which Spark lists them."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from urllib.parse import unquote

from scoreline.engine.filesystem import shown
from scoreline.errors import InputError

__all__ = ["DataFile", "chosen_files", "data_files", "not_here", "uri"]

_NOTHING = "__HIVE_DEFAULT_PARTITION__"


@dataclass(frozen=True)
class DataFile:
    """A file, and the columns that its folders give (`shop=007`), as text; None where the name says null."""

    path: Path
    folders: Mapping[str, str | None]

    @property
    def uri(self) -> str:
        return uri(self.path)


def data_files(path: str) -> list[DataFile]:
    """The files of a file, a folder or a pattern, in the order of their names; hidden ones are none.

    Folders without `=` in their name count only beside others that have it. Raises InputError for a place that is not
    on this machine, and where folders disagree about the columns that they give.
    """
    local = shown(path)
    if "://" in local:
        raise not_here(path)
    found, flat = [], []
    for root in _matching(local):
        for file in [root] if root.is_file() else _inside(root):
            if _is_hidden(file.name):
                continue
            parts = file.relative_to(root).parts[:-1]
            found.append(DataFile(file.absolute(), dict(_column(part) for part in parts if "=" in part)))
            if not parts:
                flat.append(found[-1])
    if given := [file for file in found if file.folders]:
        _require_same_columns(given)
        found = given
    else:
        found = flat
    return sorted(found, key=lambda file: file.uri)


def not_here(path: str) -> InputError:
    """The error of a place that is on no disk of this machine."""
    return InputError(f"{path} is not on this machine, and the embedded engine reads no other. Say engine: spark.")


def chosen_files(place: str, addresses: Iterable[str]) -> list[DataFile]:
    """Some files of a place, which need not be listed for that; a folder's own columns are those of its folders."""
    paths = [Path(shown(address)) for address in addresses]
    root = Path(shown(place)).absolute()
    files = [DataFile(path, _folders(path, root)) for path in paths]
    if files:
        _require_same_columns(files)
    return files


def _folders(file: Path, root: Path) -> dict[str, str | None]:
    parts = file.relative_to(root).parts[:-1] if file.is_relative_to(root) else ()
    return dict(_column(part) for part in parts if "=" in part)


def _require_same_columns(files: list[DataFile]) -> None:
    first = files[0]
    for file in files:
        if list(file.folders) != list(first.folders):
            raise InputError(
                f"{first.path} is in folders that give the columns {', '.join(first.folders)}, and {file.path} in some "
                f"that give {', '.join(file.folders)}; expected the same in all. Ingest them one by one."
            )


def _matching(path: str) -> list[Path]:
    """The path itself, or what a pattern stands for: as a shell's, with {a,b} for alternatives."""
    if not any(sign in path for sign in "*?[{"):
        return [Path(path)]
    found: dict[Path, None] = {}
    for pattern in _alternatives(path):
        whole = Path(pattern).absolute()
        there = [Path(whole.anchor)]
        for part in whole.parts[1:]:
            there = [one for folder in there for one in _children(folder, part)]
        found |= dict.fromkeys(there)
    return sorted(found)


def _children(folder: Path, part: str) -> list[Path]:
    if not any(sign in part for sign in "*?["):
        return [folder / part] if (folder / part).exists() else []
    return [one for one in sorted(folder.glob(part)) if one.name == part or not _is_hidden(one.name)]


def _alternatives(path: str) -> list[str]:
    """
    >>> _alternatives("/d/{a,b}.{csv,gz}")
    ['/d/a.csv', '/d/a.gz', '/d/b.csv', '/d/b.gz']
    """
    parts = re.split(r"\{([^{}]*)\}", path)
    choices = [part.split(",") if place % 2 else [part] for place, part in enumerate(parts)]
    return reduce(lambda before, now: [left + right for left in before for right in now], choices, [""])


def _inside(folder: Path) -> Iterator[Path]:
    for one in sorted(folder.iterdir()):
        if one.is_dir() and not _is_hidden(one.name):
            yield from _inside(one)
        elif one.is_file():
            yield one


def _is_hidden(name: str) -> bool:
    return (name.startswith("_") and "=" not in name) or name.startswith(".") or name.endswith("._COPYING_")


def _column(folder: str) -> tuple[str, str | None]:
    name, _, value = folder.partition("=")
    return unquote(name), None if value == _NOTHING else unquote(value)


def uri(path: Path) -> str:
    """The address of a file as Spark writes it: `file:/path`, what no URI may have as %XX, and letters as they are.

    >>> uri(Path("/d/a b ü.csv"))
    'file:/d/a%20b%20ü.csv'
    """
    return "file:" + re.sub(r'[\x00-\x20"#%<>?\[\\\]^`{|}\x7f]', lambda found: f"%{ord(found[0]):02X}", str(path))
