"""A table's commits as its log tells them, and which of them readers see. Decides, does no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

LOOKED_AT = 200  # so far back logs are read for news; what lies behind makes a run compare all keys
# Operations that leave the rows as they are.
HARMLESS = frozenset({"OPTIMIZE", "VACUUM START", "VACUUM END", "SET TBLPROPERTIES", "UPGRADE PROTOCOL", "REORG"})


@dataclass(frozen=True)
class Commit:
    """One entry of a table's log; `note` is what we wrote into its user metadata, {} for a stranger's commit.

    `metrics`: Delta's own counts of what the operation did, as text.
    """

    version: int
    at: datetime
    operation: str
    note: Mapping[str, Any]
    metrics: Mapping[str, str] = field(default_factory=dict)


def made_by(commits: Sequence[Commit], attempt: str) -> Commit | None:
    """The commit whose note has this `attempt`; None if it was skipped, or lies further back."""
    return next((commit for commit in commits if commit.note.get("attempt") == attempt), None)


def shown(commits: Sequence[Commit]) -> Commit | None:
    """The commit of the run whose rows readers see now, None if nothing is published. `commits` are newest first.

    A rollback shows an older one, once its RESTORE has followed: one that was killed between the two has changed
    nothing yet.
    """
    restored = False
    for commit in commits:
        if commit.note.get("kind") == "publish":
            return commit
        if commit.note.get("kind") == "rollback" and restored:
            return next((c for c in commits if c.version == int(commit.note["to_version"])), None)
        restored = restored or commit.operation == "RESTORE"
    return None


def unfinished_rollback(commits: Sequence[Commit]) -> int | None:
    """The version that a rollback was to restore and did not, since it was killed; None if there is none."""
    for commit in commits:
        if commit.operation == "RESTORE" or commit.note.get("kind") == "publish":
            return None
        if commit.note.get("kind") == "rollback":
            return int(commit.note["to_version"])
    return None


def untouched(commits: Sequence[Commit]) -> bool:
    """Whether the rows are as we left them: nobody else has committed since our last publication or rollback."""
    restored = False
    for commit in commits:
        if commit.note.get("kind") == "rollback":
            return True
        if commit.note.get("kind") == "publish":
            return not restored  # a RESTORE without our fence before it is a stranger's
        if commit.operation not in HARMLESS | {"RESTORE"}:
            return False
        restored = restored or commit.operation == "RESTORE"
    return False
