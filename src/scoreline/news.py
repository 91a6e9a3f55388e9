"""What can have become due since the last publication, told by the tables' own logs. Decides, does no I/O.

A run after which nobody was due any more says so in its commit (`complete`), with the version of the input it had seen.
From there on only a commit to the input, another model, other rules or age can make a user due. Where the logs prove
which rows changed since, the keys of both tables need not be compared: a run's cost follows who is due, not the table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scoreline.commits import HARMLESS, Commit, shown, untouched


@dataclass(frozen=True)
class News:
    """All that has happened since the publication whose note is `state`, when it left nobody due.

    `since`: rows whose `updated_at` is not before it have changed since; None if none has.
    """

    since: datetime | None
    state: Mapping[str, Any]


def read_news(
    target: Sequence[Commit], inputs: Sequence[Commit], *, input_name: str, too_old: datetime | None
) -> News | None:
    """The news, None where the logs do not prove it and the keys have to be compared.

    `target` and `inputs` are the newest commits of both tables, newest first. `too_old`: rows scored before that are
    due by age. Not proven: a commit that is not ours, an ingest with the clock of an earlier one, a log that does not
    reach back, a publication that left somebody due, or rows that may be too old.
    """
    found = shown(target)
    if found is None or not untouched(target) or not _is_complete(found.note, input_name, too_old):
        return None
    seen = [c for c in inputs if c.version <= found.note["input_version"]]
    if not seen or _moment(seen[0]) != found.note["input_at"]:
        return None
    later = [c for c in inputs if c.version > seen[0].version and c.operation not in HARMLESS]
    if any(c.note.get("kind") != "ingest" for c in later):
        return None
    stamps = [_stamp(c) for c in later]
    before = next((_stamp(c) for c in seen if c.note.get("kind") == "ingest"), None)
    if stamps and before is not None and min(stamps) <= before:
        return None
    return News(min(stamps, default=None), found.note)


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


def oldest_row(news: News | None, *, whole_table: bool, began: datetime) -> datetime | None:
    """A lower bound of `scored_at` after a publication that began then; None if it is not known."""
    if whole_table:
        return began
    known = news.state.get("oldest") if news else None
    return datetime.fromisoformat(known) if known else None


def _is_complete(state: Mapping[str, Any], input_name: str, too_old: datetime | None) -> bool:
    if not state.get("complete") or state.get("input") != input_name:
        return False
    oldest = state.get("oldest")
    return too_old is None or (oldest is not None and datetime.fromisoformat(oldest) > too_old)


def _moment(commit: Commit) -> int:
    # the log's own clock in milliseconds: a table made anew has other moments at the same versions
    return int(commit.at.timestamp() * 1000)


def _stamp(commit: Commit) -> datetime:
    return datetime.fromisoformat(commit.note["updated_at"])
