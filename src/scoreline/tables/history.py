"""A table's commits as its log tells them, and which of them made the rows of a version. Decides, does no I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from scoreline.tables.commit_note import Ingested, Note, Publication, Rollback, Verified

HISTORY_LIMIT = 200  # so far back logs are read for news; what lies behind makes a run compare all keys
# Operations that leave the rows as they are, whoever did them.
NON_DATA_OPERATIONS = frozenset(
    {
        "ADD COLUMN", "ADD COLUMNS", "ADD CONSTRAINT", "CHANGE COLUMN", "CLUSTER BY", "DROP CONSTRAINT", "OPTIMIZE",
        "REORG", "SET TBLPROPERTIES", "UNSET TBLPROPERTIES", "UPGRADE PROTOCOL", "VACUUM END", "VACUUM START",
    }
)  # fmt: skip


@dataclass(frozen=True)
class Commit:
    """One entry of a table's log; `note` is what we wrote into its user metadata, None for a stranger's commit.

    `metrics`: Delta's own counts of what the operation did, as text. `parameters`: of the operation, as text.
    """

    version: int
    at: datetime
    operation: str
    note: Note | None
    metrics: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def kind(self) -> str | None:
        """What we did: publish, rollback, verified, ingest, repair, staged; None for a stranger's commit."""
        return self.note.kind if self.note else None

    @property
    def published(self) -> Publication | None:
        return self.note if isinstance(self.note, Publication) else None

    @property
    def attempt(self) -> str | None:
        """What tells this commit of ours from any other."""
        return self.note.attempt if isinstance(self.note, Publication | Rollback | Ingested) else None

    @property
    def sequence(self) -> int | None:
        """The number behind the fence of a publication or a rollback."""
        return self.note.sequence if isinstance(self.note, Publication | Rollback) else None

    @property
    def base_version(self) -> int | None:
        """The version of the table that a commit was decided on."""
        return self.note.base_version if isinstance(self.note, Publication | Rollback | Verified) else None


def find_attempt(commits: Sequence[Commit], attempt: str | None) -> Commit | None:
    """The commit whose note has this `attempt`; None if it was skipped, or lies further back."""
    return next((commit for commit in commits if commit.attempt and commit.attempt == attempt), None)


def origin(commits: Sequence[Commit], version: int) -> Commit | None:
    """The commit that made the rows of `version`; None where `commits` do not reach back far enough.

    What changes no row is passed over; a RESTORE, ours or anybody's, and a rollback lead to the version that they
    brought back. So two versions with one origin have the same rows, and a stranger's change is an origin of its own.
    """
    return _origins(commits).get(version)


def follows(commits: Sequence[Commit], commit: Commit) -> bool:
    """Whether the rows were still those that `commit` was decided on: nobody has changed any in between."""
    return _follows(_origins(commits), commit)


def _origins(commits: Sequence[Commit]) -> dict[int, Commit | None]:
    made: dict[int, Commit | None] = {}
    for commit in sorted(commits, key=lambda commit: commit.version):
        earlier = _rows_of(commit, made)
        made[commit.version] = commit if earlier is None else made.get(earlier)
    return made


def _rows_of(commit: Commit, made: Mapping[int, Commit | None]) -> int | None:
    """The earlier version whose rows a commit shows, None if it made rows of its own."""
    if commit.operation in NON_DATA_OPERATIONS or isinstance(commit.note, Verified):
        return commit.version - 1
    if isinstance(commit.note, Rollback) and _follows(made, commit):
        return commit.note.to_version
    if commit.operation == "RESTORE":
        return _whole(commit.parameters.get("version"))  # none of one by time: nobody can say which it was
    return None


def _follows(made: Mapping[int, Commit | None], commit: Commit) -> bool:
    base = commit.base_version
    if base is None or not 0 <= base < commit.version:
        return False
    return base == commit.version - 1 or (made.get(base) is not None and made.get(base) is made.get(commit.version - 1))


def _whole(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def published_commit(commits: Sequence[Commit]) -> Commit | None:
    """The publication whose rows readers see now, None if nothing is published. `commits` are newest first.

    What strangers have done to these rows since is passed over: `origin` of the newest version says whether they have.
    """
    made = _origins(commits)
    commit = made.get(commits[0].version) if commits else None
    while commit is not None and commit.published is None:
        earlier = commit.version - 1
        if isinstance(commit.note, Rollback):  # beside a stranger's change
            earlier = min(earlier, commit.note.to_version or 0)
        commit = made.get(earlier)
    return commit
