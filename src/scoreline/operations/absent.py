"""Why a user has no list: what the histories, the errors, the quarantine and earlier publications say."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow.compute as pc

from scoreline.config.settings import Settings
from scoreline.errors import InputError, RunFailed
from scoreline.operations.explanation import Absence
from scoreline.sources.whole_numbers import whole
from scoreline.tables.commit_note import Ingested
from scoreline.tables.history import Commit
from scoreline.tables.names import ADDED_AT, BUCKET, SCORED_AT, USER_ID
from scoreline.tables.reading import Readers, TableReader, records
from scoreline.typed import typed

__all__ = ["absence_of", "failure_of"]

_PUBLICATIONS = 50  # so many earlier ones are looked at for a list that was there


def absence_of(
    readers: Readers, user_id: Any, target: TableReader, commits: Sequence[Commit], shown: Commit, *, version: int
) -> Absence:
    """Why `user_id` is not in `version` of the published table, whose rows the publication `shown` has made.

    commits: of the table, newest first.
    """
    made = shown.published
    assert made is not None
    then = _history(readers, user_id, made.input_version)
    now = _history(readers, user_id, None)
    if then is None and now is None:
        return _without_history(readers, user_id, target, commits, version)
    if (failed := failure_of(readers, user_id)) is not None and (then is None or failed["run_id"] == made.run_id):
        said = f"run {failed['run_id']} tried and failed with {failed['code']}: {failed['message']}"
        return Absence("failed", said, code=failed["code"])
    if then is None and now is not None and made.input_version is not None:
        said = (
            f"the history is new (since {now[ADDED_AT]:%Y-%m-%d %H:%M} UTC), and run {made.run_id} had read version "
            f"{made.input_version} of user_history. The user is due: {typed('run')}."
        )
        return Absence("waiting", said)
    bucket = (then or now or {})[BUCKET]
    scored = target.rows(["run_id", SCORED_AT], where={BUCKET: [bucket]}, version=version)
    if made.run_id in scored["run_id"].to_pylist():
        said = f"run {made.run_id} has scored others of its bucket {bucket}; somebody else has removed the row since."
        return Absence("removed", f"{said} The user is due: {typed('run --verify')}.")
    last = max((row[SCORED_AT] for row in records(scored)), default=None)
    since = "nobody of it has been scored yet" if last is None else f"last scored {last:%Y-%m-%d %H:%M} UTC"
    said = (
        f"due, and not in the part of the users that run {made.run_id} took. Bucket {bucket} waits ({since}); the next "
        "run takes those that have waited longest."
    )
    return Absence("waiting", said)


def failure_of(readers: Readers, user_id: Any) -> dict[str, Any] | None:
    """The newest row of `scoring_errors` about a user."""
    table = readers.table("scoring_errors")
    rows = records(table.rows(where={USER_ID: [user_id]})) if table.exists() else []
    return max(rows, key=lambda row: row["failed_at"], default=None)


def _history(readers: Readers, user_id: Any, version: int | None) -> dict[str, Any] | None:
    table = readers.table("user_history")
    if not table.exists():
        return None
    try:
        return next(iter(records(table.rows([USER_ID, BUCKET, ADDED_AT], {USER_ID: [user_id]}, version))), None)
    except (InputError, RunFailed):  # a version whose files are gone
        return None


def _without_history(
    readers: Readers, user_id: Any, target: TableReader, commits: Sequence[Commit], version: int
) -> Absence:
    found = _quarantined(readers, user_id)
    listed = ", ".join(f"{reason} ({count:,})" for reason, count in found.items())
    also = f" Rows with this id are in quarantine: {listed}." if found else ""
    earlier = [commit for commit in commits if commit.published is not None and commit.version < version]
    for commit in earlier[:_PUBLICATIONS]:
        try:
            was = target.rows([USER_ID], {USER_ID: [user_id]}, commit.version).num_rows
        except (InputError, RunFailed):  # its files are gone, and those of all before it
            break
        if was:
            run_id = commit.published.run_id if commit.published else None
            said = f"there is no history any more, and the list, there after run {run_id}, was removed with it."
            return Absence("left", said + also, quarantined=found or None)
    if found:
        return Absence("quarantined", f"no good event; all rows with this id are in quarantine: {listed}.", None, found)
    return Absence("never", "no event of this id has ever come, good or bad. Is the id right?")


def _quarantined(readers: Readers, user_id: Any) -> dict[str, int]:
    """How many quarantined rows of a user broke each rule, most first.

    A quarantined row is text. Where the user stands in it the columns say that an ingest wrote down, or the file's own
    `events.fields`; a row of a source whose columns nobody knows is not looked at.
    """
    table, settings = readers.table("quarantine"), readers.settings
    if settings.events is None or not table.exists():
        return {}
    separator = settings.events.separator if settings.events.format == "csv" else ","
    places = set(_places(readers, settings))
    found: Counter[str] = Counter()
    for batch in table.batches(["raw_row", "reasons", "row_count"]):
        near = batch.filter(pc.fill_null(pc.match_substring(batch.column("raw_row"), str(user_id)), False))
        for row in near.to_pylist():
            parts = row["raw_row"].split(separator)
            if any(_is(user_id, parts, place) for place in places):
                found.update(dict.fromkeys(row["reasons"], row["row_count"]))
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))


def _places(readers: Readers, settings: Settings) -> Iterator[tuple[int, int]]:
    """Where the user's column stands in a row, and of how many."""
    assert settings.events is not None
    history = readers.table("user_history")
    notes = [commit.note for commit in history.commits()] if history.exists() else []
    known = [note.columns for note in notes if isinstance(note, Ingested) and note.columns]
    for columns in [*known, settings.events.fields or []]:
        if (name := settings.events.columns.user_id) in columns:
            yield list(columns).index(name), len(columns)


def _is(user_id: Any, parts: Sequence[str], place: tuple[int, int]) -> bool:
    """Whether the user's field says this id; another field with a separator in it may have moved it to the right."""
    at, width = place
    said = {parts[where].strip() for where in (at, at + len(parts) - width) if 0 <= where < len(parts)}
    return str(user_id) in said or any(whole(text) == user_id for text in said)
