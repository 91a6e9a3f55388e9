"""Titles and genres of the items that are named; all genres counted."""

from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from scoreline.operations.report.catalogue import Catalogue, read_catalogue


@dataclass
class Items:
    """What is read of a table of items."""

    rows: list[tuple[Any, str | None, str | None]] | None

    def exists(self) -> bool:
        return self.rows is not None

    def batches(self, columns: list[str]) -> list[pa.RecordBatch]:
        assert columns == ["item_id", "title", "genres"]
        return pa.table(dict(zip(columns, zip(*(self.rows or []), strict=True), strict=True))).to_batches(2)


def test_titles_are_kept_of_the_items_that_are_wanted() -> None:
    items = Items([(1, "Alien", "Horror|Drama"), (2, None, "Drama, War"), (3, "Big", None)])

    assert read_catalogue(items, {1, 2}) == Catalogue(  # type: ignore[arg-type]
        titles={1: "Alien"}, genres={1: ("Horror", "Drama"), 2: ("Drama", "War")},
        genre_sizes={"Horror": 1, "Drama": 2, "War": 1},
    )  # fmt: skip


def test_without_a_catalogue_there_are_no_titles() -> None:
    assert read_catalogue(Items(None), {1}) == Catalogue()  # type: ignore[arg-type]
