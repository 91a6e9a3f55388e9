"""Which rows a table has got, by the commits of its log: the files that were added. Decides, reads nothing.

https://github.com/delta-io/delta/blob/master/PROTOCOL.md#actions
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["AddedFile", "NotOnlyAppended", "appended"]

# say nothing about rows
_PASSED_OVER = frozenset({"commitInfo", "txn", "protocol", "cdc", "domainMetadata"})


@dataclass(frozen=True)
class AddedFile:
    """A file by its path as the log has it, encoded, and the values of the columns it lacks: those of its partition.

    `is_compacted`: its rows are in another file by now, and it is there until a VACUUM.
    """

    path: str
    partition: Mapping[str, str | None]
    is_compacted: bool = False


class NotOnlyAppended(Exception):
    """Something else was done to the table: `why`, for people."""

    def __init__(self, why: str) -> None:
        super().__init__(why)
        self.why = why


def appended(commits: Iterable[bytes]) -> list[AddedFile]:
    """The files that these commits, in their order, have added rows by; raises NotOnlyAppended.

    A compaction adds and removes files, and no row.
    """
    added: dict[str, AddedFile] = {}
    for commit in commits:
        for line in commit.splitlines():
            for kind, action in json.loads(line).items():
                _take(kind, action, added)
    return list(added.values())


def _take(kind: str, action: Mapping[str, Any], added: dict[str, AddedFile]) -> None:
    if kind in _PASSED_OVER:
        return
    if kind not in ("add", "remove"):
        raise NotOnlyAppended("its columns or properties were changed" if kind == "metaData" else f"its log has {kind}")
    path, changes_rows = action["path"], action["dataChange"]
    if kind == "remove":
        if changes_rows:
            raise NotOnlyAppended("rows were deleted or replaced")
        if path in added:
            added[path] = AddedFile(path, added[path].partition, is_compacted=True)
    elif changes_rows:
        if ":/" in path:
            raise NotOnlyAppended("its files are not in its own folder")
        if action.get("deletionVector"):
            raise NotOnlyAppended("rows were deleted or replaced")
        added[path] = AddedFile(path, {name: value or None for name, value in action["partitionValues"].items()})
