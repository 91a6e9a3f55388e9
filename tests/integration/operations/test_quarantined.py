"""The rows that broke a rule, as one looks at them."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import NOW, context, write_events
from scoreline.errors import InputError
from scoreline.ingest.ingest import ingest_events
from scoreline.operations.quarantined import read_quarantine
from scoreline.tables.reading import Readers, open_readers

HOUR = timedelta(hours=1)
GOOD = [(user, 2, 3, 1_700_000_000) for user in range(1, 7)]


@pytest.fixture
def readers(spark: Any, tmp_path: Path) -> Readers:
    """Two ingests an hour apart: of the first one row twice and one with two faults, of the second one."""
    rules = {"columns": {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}, "max_bad_share": 0.5}
    first, second = [(1, 2, "x", 17), (1, 2, "x", 17), ("", 3, 4, "never")], [(9, 9, "y", 17)]
    for hour, bad in enumerate((first, second)):
        made = context(spark, tmp_path / "tables", now=NOW + hour * HOUR, events=rules)
        ingest_events(made, write_events(tmp_path / f"{hour}.csv", [*GOOD, *bad]))
    return open_readers(made.settings)


def test_they_are_listed_newest_first_with_all_rules_that_they_broke(readers: Readers, tmp_path: Path) -> None:
    found = read_quarantine(readers)
    assert [(row["ingested_at"], row["reasons"], row["row_count"], row["raw_row"]) for row in found.bad[:1]] == [
        (NOW + HOUR, ["weight is not a number"], 1, "9,9,y,17")
    ]
    assert sorted((row["ingested_at"], row["reasons"], row["row_count"], row["raw_row"]) for row in found.bad[1:]) == [
        (NOW, ["user_id is missing", "time is not readable"], 1, ",3,4,never"),
        (NOW, ["weight is not a number"], 2, "1,2,x,17"),
    ]
    assert all(row["source_file"].endswith(f"{tmp_path}/{n}.csv") for row, n in zip(found.bad, (1, 0, 0), strict=True))
    assert (found.found, found.reasons) == (
        3,
        {"weight is not a number": 3, "time is not readable": 1, "user_id is missing": 1},
    )
    assert str(found).splitlines()[:2] == [
        f"2026-07-01 04:00:00 UTC  {found.bad[0]['source_file']}: weight is not a number",
        "    9,9,y,17",
    ]
    assert str(found).splitlines()[6:] == [
        "3 of 3 shown, equal rows once. In the sources:",
        "  3 rows: weight is not a number",
        "  1 rows: time is not readable",
        "  1 rows: user_id is missing",
    ]


def test_they_are_chosen_by_reason_time_and_number(readers: Readers) -> None:
    def raw(**asked: Any) -> list[str]:
        return [row["raw_row"] for row in read_quarantine(readers, now=NOW + HOUR, **asked).bad]

    assert raw(reason="TIME is") == [",3,4,never"]
    assert raw(reason="weight") == ["9,9,y,17", "1,2,x,17"]
    assert raw(reason="weight", last=1) == ["9,9,y,17"]
    assert raw(since="30m") == ["9,9,y,17"]
    assert raw(since="30m", reason="time") == []
    assert str(read_quarantine(readers, reason="zzz", now=NOW + HOUR)).splitlines()[:2] == [
        "0 of 0 with 'zzz' in a reason shown, equal rows once. In the sources, for any reason:",
        "  3 rows: weight is not a number",
    ]
    with pytest.raises(InputError, match="--since is a duration such as 12h"):
        raw(since="yesterday")


def test_before_the_first_bad_row_there_is_none(spark: Any, tmp_path: Path) -> None:
    made = context(spark, tmp_path / "tables")
    assert str(read_quarantine(open_readers(made.settings))) == "No row is in quarantine."
    ingest_events(made, write_events(tmp_path / "good.csv", GOOD))
    assert str(read_quarantine(open_readers(made.settings))) == "No row is in quarantine."
