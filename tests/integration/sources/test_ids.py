"""Ids that no database has room for stay out of the histories."""

import json
from pathlib import Path
from typing import Any

import pytest

from builders import context
from scoreline.ingest.ingest import ingest_events

pytestmark = pytest.mark.both  # each engine reads in its own way


def test_ids_are_at_most_255_characters_without_control_characters(spark: Any, tmp_path: Path) -> None:
    columns = {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}
    ids = [("ä" * 255, "x"), ("a b", "é\u2028"), ("a\0b", "x"), ("b" * 6_000, "x"), ("c", "y" * 256), ("d", "x\u0085y")]
    rows = [json.dumps({"user": user, "item": item, "rating": 1, "at": 1_700_000_000}) for user, item in ids]
    (tmp_path / "events.json").write_text("\n".join(rows))
    events = {"columns": columns, "format": "json", "max_bad_share": 1.0}
    kinds = {"user_id": "string", "item_id": "string"}
    report = ingest_events(
        context(spark, tmp_path / "tables", keys=kinds, events=events), str(tmp_path / "events.json")
    )
    assert (report.rows_good, report.reasons) == (
        2,
        {
            "user_id has a control character": 1,
            "user_id is longer than 255 characters": 1,
            "item_id is longer than 255 characters": 1,
            "item_id has a control character": 1,
        },
    )
