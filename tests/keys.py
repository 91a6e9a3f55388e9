"""For tests that go through every key of a configuration: which there are, and what each of them changes."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS, SOURCE = Path(__file__).parent, Path(__file__).parents[1] / "src"


@dataclass(frozen=True)
class Differs:
    """Another value, and what is different with it."""

    value: Any
    seen: Callable[[Any], Any]


@dataclass(frozen=True)
class Shown:
    """Where the key is read, and the test that shows what it changes (by the name it has there)."""

    module: str
    test: str
    word: str | None = None


def set_in(tree: dict[str, Any], key: str, value: Any) -> None:
    """Set a dotted key; sections that are not there are made, a list's section is its first."""
    node: Any = tree
    *sections, last = key.split(".")
    for section in sections:
        node = node.setdefault(section, {})
        node = node[0] if isinstance(node, list) else node
    node[last] = value


def not_shown(keys: Mapping[str, Any]) -> list[str]:
    """Keys that the code or the test does not name that their entry names."""
    wrong = []
    for key, entry in keys.items():
        if isinstance(entry, Shown):
            name = key.rsplit(".", maxsplit=1)[-1]
            code, test = (SOURCE / f"{entry.module}.py").read_text(), (TESTS / entry.test).read_text()
            if name not in code or (entry.word or name) not in test:
                wrong.append(key)
    return wrong
