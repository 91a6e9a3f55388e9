"""For tests that go through every key of a configuration: which there are, and what each of them changes."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel

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


def leaves(model: type[BaseModel], at: tuple[str, ...] = ()) -> Iterator[str]:
    """Every key that holds no section, with the names of its sections before it."""
    for name, field in model.model_fields.items():
        sections = [kind for kind in _kinds(field.annotation) if issubclass(kind, BaseModel)]
        if sections:
            yield from leaves(sections[0], (*at, name))
        else:
            yield ".".join((*at, name))


def _kinds(annotation: Any) -> list[type]:
    inside = [kind for part in get_args(annotation) for kind in _kinds(part)]
    return [annotation, *inside] if isinstance(annotation, type) else inside


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
