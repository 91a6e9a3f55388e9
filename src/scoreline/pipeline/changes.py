"""What can have become due since the last publication, told by the tables' own logs. Decides, does no I/O.

A run after which nobody was due any more says so in its commit (`complete`), with the version of the input it had seen
and the version of the table it was decided on. Where nobody has changed a row of the table in between, or since, only a
commit to the input, another model, other rules or age can make a user due. Then the keys of both tables need not be
compared: a run's cost follows who is due, not the table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from scoreline.tables.history import NON_DATA_OPERATIONS, Commit, follows, origin


@dataclass(frozen=True)
class Changes:
    """All that has happened since the publication whose note is `state`, when it left nobody due.

    `since`: rows whose `updated_at` is not before it have changed since; None if none has. `verified_at`: when the keys
    of both tables were last compared, None if that is not known.
    """

    since: datetime | None
    state: Mapping[str, Any]
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
    if made is None or made.kind != "publish" or not follows(target, made):
        return None
    if not _is_complete(made.note, input_name, too_old):
        return None
    seen = [c for c in inputs if c.version <= made.note["input_version"]]
    if not seen or _moment(seen[0]) != made.note.get("input_at"):
        return None
    later = [c for c in inputs if c.version > seen[0].version and c.operation not in NON_DATA_OPERATIONS]
    stamps = [stamp for c in later if (stamp := _stamp(c))]
    if len(stamps) < len(later):
        return None
    # with a clock that stood still or went back, rows of an ingest that was seen would count as changed
    clock = max((stamp for c in seen if (stamp := _stamp(c))), default=None)
    if stamps and clock is not None and min(stamps) <= clock:
        return None
    return Changes(min(stamps, default=None), made.note, _verified_at(target, made))


def _verified_at(target: Sequence[Commit], made: Commit) -> datetime | None:
    """When the rows that `made` published were compared: by its own run, or by a later one that found nobody due."""
    later = (c for c in target if c.kind == "verified" and follows(target, c) and origin(target, c.version) is made)
    return _moment_of(next(later, made).note, "verified_at")


def complete_note(
    inputs: Sequence[Commit], *, version: int | None, complete: bool, oldest: datetime | None
) -> dict[str, Any]:
    """What a publishing commit says for the next `read_news`; `oldest` is a bound of the rows' `scored_at`."""
    seen = next((c for c in inputs if c.version == version), None)
    return {
        "complete": complete and seen is not None,
        "input_at": _moment(seen) if seen else None,
        "oldest": oldest.isoformat() if oldest else None,
    }


def oldest_row(news: Changes | None, *, whole_table: bool, began: datetime) -> datetime | None:
    """A lower bound of `scored_at` after a publication that began then; None if it is not known."""
    if whole_table:
        return began
    known = _moment_of(news.state, "oldest") if news else None
    return min(known, began) if known else None  # a clock that was set back makes rows that are older


def _is_complete(state: Mapping[str, Any], input_name: str, too_old: datetime | None) -> bool:
    if not state.get("complete") or state.get("input") != input_name:
        return False
    if not all(isinstance(state.get(key), kind) for key, kind in _NEEDED.items()):
        return False  # written by another version of ours
    oldest = _moment_of(state, "oldest")
    return too_old is None or (oldest is not None and oldest > too_old)


_NEEDED = {"input_version": int, "model": str, "model_version": str, "rules_hash": str}


def _moment(commit: Commit) -> int:
    # the log's own clock in milliseconds: a table made anew has other moments at the same versions
    return int(commit.at.timestamp() * 1000)


def _stamp(commit: Commit) -> datetime | None:
    """What an ingest has stamped its rows with; None for whatever is no ingest of ours."""
    return _moment_of(commit.note, "updated_at") if commit.kind == "ingest" else None


def _moment_of(note: Mapping[str, Any], key: str) -> datetime | None:
    try:
        return datetime.fromisoformat(note[key])
    except (KeyError, TypeError, ValueError):
        return None
