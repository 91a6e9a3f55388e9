"""What can have become due since the last publication, told by the tables' own logs. Decides, does no I/O.

A run after which nobody was due any more says so in its commit (`complete`), with the version of the input it had seen
and the version of the table it was decided on. Where nobody has changed a row of the table in between, or since, only a
commit to the input, another model, other rules or age can make a user due. Then the keys of both tables need not be
compared: a run's cost follows who is due, not the table.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from scoreline.tables.commit_note import Ingested, Publication, Verified
from scoreline.tables.history import NON_DATA_OPERATIONS, Commit, follows, origin


@dataclass(frozen=True)
class Changes:
    """All that has happened since the publication whose note is `state`, when it left nobody due.

    `since`: rows whose `updated_at` is not before it have changed since; None if none has. `verified_at`: when the keys
    of both tables were last compared, None if that is not known.
    """

    since: datetime | None
    state: Publication
    verified_at: datetime | None = None

    def unverified_for(self, longest: timedelta | None, now: datetime) -> bool:
        """Whether the last comparison is so long ago that it is time for another one."""
        return longest is not None and (self.verified_at is None or now - self.verified_at >= longest)


def read_changes(
    target: Sequence[Commit], inputs: Sequence[Commit], *, input_name: str, too_old: datetime | None
) -> Changes | None:
    """The news, None where the logs do not prove it and the keys have to be compared.

    `target` and `inputs` are the newest commits of both tables, newest first. `too_old`: rows scored before that are
    due by age. Not proven: a change of rows that is not ours, a publication that was decided on other rows than it
    changed or that left somebody due, an ingest with the clock of an earlier one, a log that does not reach back, or
    rows that may be too old.
    """
    made = origin(target, target[0].version) if target else None
    if made is None or (state := made.published) is None or not follows(target, made):
        return None
    if state.input_version is None or not _is_complete(state, input_name, too_old):
        return None
    seen = [c for c in inputs if c.version <= state.input_version]
    if not seen or milliseconds(seen[0].at) != state.input_at:
        return None
    later = [c for c in inputs if c.version > seen[0].version and c.operation not in NON_DATA_OPERATIONS]
    stamps = [stamp for c in later if (stamp := _stamp(c))]
    if len(stamps) < len(later):
        return None
    # with a clock that stood still or went back, rows of an ingest that was seen would count as changed
    clock = max((stamp for c in seen if (stamp := _stamp(c))), default=None)
    if stamps and clock is not None and min(stamps) <= clock:
        return None
    return Changes(min(stamps, default=None), state, _verified_at(target, made) or state.verified_at)


def _verified_at(target: Sequence[Commit], made: Commit) -> datetime | None:
    """When a later run that found nobody due has compared the rows that `made` published."""
    for commit in target:
        note = commit.note
        if isinstance(note, Verified) and follows(target, commit) and origin(target, commit.version) is made:
            return note.verified_at
    return None


@dataclass(frozen=True)
class ForNextRun:
    """What a publication tells the next run, so that it need not compare all keys; see `commit_note.Publication`."""

    complete: bool = False
    input_at: int | None = None
    oldest: datetime | None = None
    verified_at: datetime | None = None


def for_next_run(
    inputs: Sequence[Commit],
    *,
    input_version: int | None,
    began: datetime,
    complete: bool,
    compared: bool,
    whole_table: bool,
    known: Changes | None,
) -> ForNextRun:
    """What a run that began then may say, if nobody fails. `known`: what it was told itself by the publication before.

    `complete`: whoever is due is in it; `compared`: it has compared the keys of both tables.
    """
    seen = next((c for c in inputs if c.version == input_version), None)
    return ForNextRun(
        complete=complete and seen is not None,
        input_at=milliseconds(seen.at) if seen else None,
        oldest=oldest_row(known, whole_table=whole_table, began=began),
        verified_at=began if compared else known.verified_at if known else None,
    )


def oldest_row(news: Changes | None, *, whole_table: bool, began: datetime) -> datetime | None:
    """A lower bound of `scored_at` after a publication that began then; None if it is not known."""
    if whole_table:
        return began
    known = news.state.oldest if news else None
    return min(known, began) if known else None  # a clock that was set back makes rows that are older


def _is_complete(state: Publication, input_name: str, too_old: datetime | None) -> bool:
    if not state.complete or state.input != input_name:
        return False
    if None in (state.model, state.model_version, state.rules_hash):
        return False  # written by another version of ours
    return too_old is None or (state.oldest is not None and state.oldest > too_old)


def milliseconds(moment: datetime) -> int:
    """A moment of a table's log by its own clock: a table made anew has other moments at the same versions."""
    return int(moment.timestamp() * 1000)


def _stamp(commit: Commit) -> datetime | None:
    """What an ingest has stamped its rows with; None for whatever is no ingest of ours."""
    return commit.note.updated_at if isinstance(commit.note, Ingested) else None
