"""What a database cannot hold is left out by row, and counted."""

from typing import Any

import pyarrow as pa
import pytest

from scoreline.export.destinations.rows import GONE, Limits, Sent, fitted

ITEM = pa.struct([("item_id", pa.string()), ("score", pa.float32())])
ROWS = pa.schema([("user_id", pa.string()), ("recommendations", pa.list_(ITEM)), ("source", pa.string())])


def batch(rows: dict[Any, list[tuple[Any, Any]] | None]) -> pa.RecordBatch:
    """A row per user; None for one who has gone."""
    said = [
        {
            "user_id": user,
            "recommendations": None if items is None else [{"item_id": i, "score": s} for i, s in items],
            "source": GONE if items is None else "model",
        }
        for user, items in rows.items()
    ]
    return pa.RecordBatch.from_pylist(said, schema=ROWS)


@pytest.mark.parametrize(
    ("limits", "user", "items", "reason", "keeps_id"),
    [
        (Limits(), "a\0", [("x", 1.0)], "user id has a NUL character", False),
        (Limits(), "ä" * 256, [("x", 1.0)], "user id is longer than 255 characters", False),
        (Limits(), "b", [("x", 1.0), ("y\0", 0.5)], "item id has a NUL character", True),
        (Limits(), "b", [("x", float("nan"))], "list has an item without an id or a finite score", True),
        (Limits(), "b", [("x", None)], "list has an item without an id or a finite score", True),
        (Limits(), "b", [(None, 1.0)], "list has an item without an id or a finite score", True),
        (Limits(pads=True), "b ", [("x", 1.0)], "user id ends with a space, which this database does not tell", False),
        (Limits(empty_user=False), "", [("x", 1.0)], "user id is empty", False),
        (Limits(row_bytes=1024), "b", [("x" * 200, 1.0)] * 5, "list is larger than 1 KB", True),
    ],
)
def test_one_row_is_left_out_and_an_older_list_of_the_user_goes(
    limits: Limits, user: str, items: list[tuple[Any, Any]], reason: str, keeps_id: bool
) -> None:
    rest: dict[Any, list[tuple[Any, Any]] | None] = {
        "ä" * 255: [("y" * 255, 0.5)],
        "c": [],
        "d": None,
        "e\n": [("", 0)],
    }
    kept, sent = fitted(batch({user: items, **rest}), limits)
    assert sorted(kept.to_pylist(), key=str) == sorted(
        batch({**rest, user: None} if keeps_id else rest).to_pylist(), key=str
    )
    (found, count), *others = sent.left_out.items()
    assert (found.startswith(reason), count, others) == (True, 1, [])
    assert (sent.replaced, sent.removed) == (3, 1)


def test_who_has_gone_is_no_row_left_out() -> None:
    kept, sent = fitted(batch({"a\0": None, "b": None}), Limits())
    assert (kept.column("user_id").to_pylist(), sent) == (["b"], Sent(removed=1))


def test_what_can_be_held_is_passed_on_as_it_is_though_it_is_a_part_of_a_batch() -> None:
    whole = batch({"a": [("x", 1.0)], "b": [("y", float("inf"))], "c": [("z", 1.0), ("x", 0.5)]})
    part = whole.slice(2)
    assert fitted(part, Limits()) == (part, Sent(replaced=1))
    assert fitted(whole.slice(1), Limits())[1].left_out == {"list has an item without an id or a finite score": 1}


def test_counts_of_workers_are_added() -> None:
    one, two = Sent(1, 2, 3, {"a": 1}), Sent(10, 20, 30, {"a": 1, "b": 2})
    assert one + two == Sent(11, 22, 33, {"a": 2, "b": 2})
