"""What items are called, and their genres: read as a stream, kept for the items that are named."""

import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from scoreline.tables.reading import TableReader

_BETWEEN = re.compile(r"[|,;]")
_NONE = "(no genres listed)"  # as MovieLens says it


@dataclass(frozen=True)
class Catalogue:
    """Titles and genres of some items, and how many items of all have each genre. Empty where there is no table."""

    titles: Mapping[Any, str] = field(default_factory=dict)
    genres: Mapping[Any, tuple[str, ...]] = field(default_factory=dict)
    genre_sizes: Mapping[str, int] = field(default_factory=dict)


def read_catalogue(items: TableReader, wanted: Collection[Any]) -> Catalogue:
    """The catalogue, with titles and genres of the `wanted` items."""
    titles: dict[Any, str] = {}
    genres: dict[Any, tuple[str, ...]] = {}
    sizes: Counter[str] = Counter()
    for batch in items.batches(["item_id", "title", "genres"]) if items.exists() else ():
        for item, title, text in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            names = genres_of(text)
            sizes.update(names)
            if item in wanted:
                genres[item] = names
                if title:
                    titles[item] = title
    return Catalogue(titles, genres, sizes)


def genres_of(text: str | None) -> tuple[str, ...]:
    """The kinds that a source names, each once.

    >>> genres_of("Drama|Comedy|Drama"), genres_of(None), genres_of("(no genres listed)")
    (('Drama', 'Comedy'), (), ())
    """
    names = (name.strip() for name in _BETWEEN.split(text or ""))
    return tuple(dict.fromkeys(name for name in names if name and name != _NONE))
