"""Which files a log has added rows by."""

import json
from typing import Any

import pytest

from scoreline.tables.appended import AddedFile, NotOnlyAppended, appended


def add(path: str, *, changes: bool = True, **more: Any) -> dict[str, Any]:
    return {"add": {"path": path, "partitionValues": {}, "dataChange": changes, **more}}


def remove(path: str, *, changes: bool = True) -> dict[str, Any]:
    return {"remove": {"path": path, "dataChange": changes}}


def commit(*actions: dict[str, Any]) -> bytes:
    return "\n".join(map(json.dumps, [{"commitInfo": {"operation": "WRITE"}}, *actions])).encode()


def test_files_of_appends_with_the_values_of_their_partitions() -> None:
    day = {"day": "2026-07-01", "shop": "", "kind": None}
    found = appended(
        [commit(add("a%20b"), {"txn": {"appId": "x", "version": 1}}), commit(add("c", partitionValues=day))]
    )
    assert found == [AddedFile("a%20b", {}), AddedFile("c", {"day": "2026-07-01", "shop": None, "kind": None})]


def test_a_compaction_adds_no_row_and_its_files_stay_for_a_while() -> None:
    compaction = commit(remove("a", changes=False), remove("old", changes=False), add("ab", changes=False))
    assert appended([commit(add("a")), compaction, commit(add("b"))]) == [
        AddedFile("a", {}, is_compacted=True),
        AddedFile("b", {}),
    ]
    assert appended([compaction]) == []


@pytest.mark.parametrize(
    ("action", "why"),
    [
        (remove("old"), "rows were deleted or replaced"),
        (add("a", deletionVector={"storageType": "u"}), "rows were deleted or replaced"),
        (add("s3a://other/a"), "its files are not in its own folder"),
        ({"metaData": {"id": "x"}}, "its columns or properties were changed"),
        ({"news": {}}, "its log has news"),
    ],
)
def test_what_is_no_append_is_said(action: dict[str, Any], why: str) -> None:
    with pytest.raises(NotOnlyAppended, match=why):
        appended([commit(add("a")), commit(action)])
