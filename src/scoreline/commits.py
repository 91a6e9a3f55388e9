"""A table's commits as its log tells them, and which of them readers see. Decides, does no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

# Operations that leave the rows as they are.
HARMLESS = frozenset({"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "UPGRADE PROTOCOL", "REORG"})


@dataclass(frozen=True)
class Commit:
    """One entry of a table's log; `note` is what we wrote into its user metadata, {} for a stranger's commit."""

    version: int
    at: datetime
    operation: str
    note: Mapping[str, Any]


def shown(commits: Sequence[Commit]) -> Commit | None:
    """The commit of the run whose rows readers see now, None if nothing is published. `commits` are newest first.

    A rollback shows an older one.
    """
    for commit in commits:
        if commit.note.get("kind") == "publish":
            return commit
        if commit.note.get("kind") == "rollback":
            return next((c for c in commits if c.version == int(commit.note["to_version"])), None)
    return None


def untouched(commits: Sequence[Commit]) -> bool:
    """Whether the rows are as we left them: nobody else has committed since our last publication or rollback."""
    for commit in commits:
        if commit.note.get("kind") in ("publish", "rollback"):
            return True
        if commit.operation not in HARMLESS | {"RESTORE"}:
            return False
    return False
