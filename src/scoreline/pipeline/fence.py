"""Replace rows of `recommendations` in one commit, fenced by a sequence number; and take it back.

Each commit carries `txnAppId = scoreline/publish` with the run's sequence as `txnVersion`. Delta skips a commit whose
version is not above the last one, silently: so a run that is older than what was published can't overwrite it, and
after publishing we look whether the commit is ours. The sequence is drawn from the table's own log: no clock decides.
"""

import logging
from collections.abc import Callable, Sequence
from datetime import datetime

from pyspark.sql import DataFrame

from scoreline.engine.filesystem import folders
from scoreline.errors import InputError, Superseded
from scoreline.pipeline.published import run_of
from scoreline.tables.commit_note import Publication, Rollback, Verified
from scoreline.tables.delta import Table, committed
from scoreline.tables.history import HISTORY_LIMIT, Commit, find_attempt, published_commit
from scoreline.tables.names import USER_ID

log = logging.getLogger(__name__)

APP = "scoreline/publish"


def newest_commits(table: Table) -> list[Commit]:
    """The newest commits of the table, back to the last numbered one at least, newest first."""
    commits = table.commits(limit=HISTORY_LIMIT)
    if any(c.sequence is not None for c in commits) or not commits or commits[-1].version == 0:
        return commits
    return table.commits()


def next_sequence(commits: Sequence[Commit]) -> int:
    """The number of a run, or a rollback, that opens the table with these commits (see `newest_commits`).

    One above the last number in the log: of all who begin before the next publication only the first may publish. To
    be drawn when a run begins, not when it publishes: a run that was overtaken must not number itself anew.
    """
    return 1 + max((number for c in commits if (number := c.sequence) is not None), default=0)


def replace_all(table: Table, rows: DataFrame, note: Publication | Rollback) -> int:
    """Make `rows` the whole table; returns the version written, raises Superseded if a newer run has published."""
    options = {"txnAppId": APP, "txnVersion": str(note.sequence), "userMetadata": note.text()}
    return _published(table, note, lambda: table.write(rows, "overwrite", options))


def replace_some(table: Table, rows: DataFrame, note: Publication) -> int:
    """Replace or add the users of `rows`, and remove those whose `_left` is true; as `replace_all` otherwise."""
    options = {"txnAppId": APP, "txnVersion": str(note.sequence), "userMetadata": note.text()}
    return _published(table, note, lambda: table.change(rows, USER_ID, options))


def _published(table: Table, note: Publication | Rollback, commit: Callable[[], None]) -> int:
    # of two racing publishers one gets a conflict, often the newer: it tries again, and the fence decides
    committed(commit)
    ours = find_attempt(table.commits(limit=HISTORY_LIMIT), note.attempt)
    if ours is None:
        raise superseded(table)
    return ours.version


def superseded(table: Table) -> Superseded:
    """The error of a run that was overtaken."""
    return Superseded(
        f"{table.location}: a newer run or rollback has published since this run began; its rows stay, this run's "
        "were not published. Run again to score whoever is still due."
    )


def overtaken(table: Table, sequence: int) -> bool:
    """Whether a run or rollback numbered `sequence` or higher has published."""
    numbers = (c.sequence for c in table.commits(limit=HISTORY_LIMIT))
    return any(number >= sequence for number in numbers if number is not None)


def note_verified(table: Table, *, base_version: int, at: datetime) -> None:
    """Write down, in a commit that changes no row, that the keys were compared and nobody was due."""
    note = Verified(base_version=base_version, verified_at=at)
    # Delta makes no commit of nothing, but of a transaction's number
    options = {"txnAppId": "scoreline/verified", "txnVersion": str(base_version), "userMetadata": note.text()}
    table.write(table.read().limit(0), "append", options)


def rollback(table: Table, *, run_id: str | None = None) -> tuple[Publication, int, int, int]:
    """Bring the table back to the state after an earlier run (default: the one before the current).

    One fenced commit, like a publication's: killed before it nothing has happened, readers see all of it or nothing,
    and a run which began earlier can't publish afterwards. Returns the publication that readers see again, its version,
    the one that they saw before, and the new one. Raises InputError if there is nothing to go back to, Superseded if a
    run has published meanwhile.
    """
    commits = table.commits()
    target, publication = _rollback_target(table, commits, run_id)
    note = Rollback(
        sequence=next_sequence(commits),
        base_version=commits[0].version,
        to_version=target.version,
        to_run=publication.run_id,
    )
    _require_files(table, target)
    version = replace_all(table, table.read(target.version), note)
    return publication, target.version, commits[0].version, version


def _require_files(table: Table, target: Commit) -> None:
    """Raise InputError unless the files of an older version are there."""
    place = table.detail()["location"].rstrip("/")
    needed = {file.rsplit("/", 1)[-1] for file in table.files(target.version)}
    if missing := needed - set(folders(table.spark, place)):
        raise InputError(
            f"{len(missing)} of the {len(needed)} files that version {target.version} of {table.location} needs "
            f"(run {run_of(target)}) are not there any more; scoreline vacuum removes those that no version "
            "of the last week needs. The table stays as it is. Go back to a later run, or run again."
        )


def _rollback_target(table: Table, commits: Sequence[Commit], run_id: str | None) -> tuple[Commit, Publication]:
    runs = [(c, note) for c in commits if (note := c.published) is not None]
    listed = ", ".join(str(note.run_id) for _, note in runs[:10]) or "none"
    if run_id is not None:
        named = [(c, note) for c, note in runs if note.run_id == run_id]
        if not named:
            raise InputError(
                f"No run {run_id} was published to {table.location}. Published runs, newest first: {listed}."
            )
        return named[0]
    current = published_commit(commits)
    # what readers saw before it: not the run below it in the log, which may have been taken back
    before = published_commit([c for c in commits if current is not None and c.version < current.version])
    if before is None or before.published is None:
        raise InputError(f"{table.location} has no run before the current one. Published runs: {listed}.")
    return before, before.published
