"""Replace rows of `recommendations` in one commit, fenced by a sequence number; and take it back.

Each commit carries `txnAppId = scoreline/publish` with the run's sequence as `txnVersion`. Delta skips a commit whose
version is not above the last one, silently: so a run that is older than what was published can't overwrite it, and
after publishing we look whether the commit is ours.
"""

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import uuid4

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame

from scoreline.commits import Commit, made_by, shown
from scoreline.errors import InputError, Superseded
from scoreline.schema import USER_ID
from scoreline.tables import Table, commit_settings, quoted

log = logging.getLogger(__name__)

APP = "scoreline/publish"
_CONFLICT = ("DELTA_CONCURRENT", "ConcurrentModification", "DELTA_PROTOCOL_CHANGED", "DELTA_METADATA_CHANGED")
_ATTEMPTS = 4


def next_sequence(table: Table, now: datetime) -> int:
    """Milliseconds since 1970, but above the last published number should the clock have gone back.

    To be taken when a run begins, not when it publishes: a run that was overtaken must not number itself anew.
    """
    return sequence_after(table.commits(limit=50), now)


def sequence_after(commits: Sequence[Commit], now: datetime) -> int:
    """`next_sequence` from commits that have been read already."""
    last = max((int(c.note["sequence"]) for c in commits if "sequence" in c.note), default=0)
    return max(int(now.timestamp() * 1000), last + 1)


def replace_all(table: Table, rows: DataFrame, *, sequence: int, note: Mapping[str, Any]) -> int:
    """Make `rows` the whole table; returns the version written, raises Superseded if a newer run has published."""
    stamped = _stamped(note, sequence)
    options = {"txnAppId": APP, "txnVersion": str(sequence), "userMetadata": json.dumps(stamped)}
    return _published(table, stamped, lambda: table.write(rows, "overwrite", options))


def replace_some(table: Table, rows: DataFrame, *, sequence: int, note: Mapping[str, Any]) -> int:
    """Replace or add the users of `rows`, and remove those whose `_left` is true; as `replace_all` otherwise."""
    stamped = _stamped(note, sequence)
    columns = [quoted(c) for c in rows.columns if c != "_left"]
    values = [f"new.{c}" for c in columns]
    assignments = ", ".join(f"{column} = {value}" for column, value in zip(columns, values, strict=True))

    def merge() -> None:
        with commit_settings(table.spark, note=stamped, transaction=(APP, sequence)):
            table.merge(
                rows,
                f"old.{USER_ID} = new.{USER_ID}",
                "WHEN MATCHED AND new._left THEN DELETE",
                f"WHEN MATCHED THEN UPDATE SET {assignments}",
                f"WHEN NOT MATCHED AND NOT new._left THEN INSERT ({', '.join(columns)}) VALUES ({', '.join(values)})",
            )

    return _published(table, stamped, merge)


def _stamped(note: Mapping[str, Any], sequence: int) -> dict[str, Any]:
    # two runs may begin in the same millisecond: the attempt tells whose commit it is
    return {**note, "sequence": sequence, "attempt": uuid4().hex}


def _published(table: Table, note: Mapping[str, Any], commit: Callable[[], None]) -> int:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            commit()
            break
        except (PySparkException, Py4JJavaError) as error:  # a MERGE says it in Java's words
            # of two racing publishers one gets a conflict, often the newer: it tries again, and the fence decides
            if attempt == _ATTEMPTS or not any(sign in str(error) for sign in _CONFLICT):
                raise
            log.warning("publish conflict, attempt=%d", attempt)
            time.sleep(0.2 * attempt)
    ours = made_by(table.commits(limit=50), note["attempt"])
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
    return any(int(c.note.get("sequence", -1)) >= sequence for c in table.commits(limit=50))


def rollback(table: Table, *, now: datetime, run_id: str | None = None) -> tuple[Commit, int]:
    """Bring the table back to the state after an earlier run (default: the one before the current).

    First an empty commit raises the fence, so that a run which began earlier can't publish afterwards; then the table
    is restored. Returns the commit restored and the new version. Raises InputError if there is nothing to go back to.
    """
    target = _rollback_target(table, run_id)
    sequence = next_sequence(table, now)
    note = {
        "kind": "rollback",
        "to_version": target.version,
        "to_run": target.note.get("run_id"),
        "sequence": sequence,
    }
    options = {"txnAppId": APP, "txnVersion": str(sequence), "userMetadata": json.dumps(note)}
    table.write(table.read().limit(0), "append", options)
    table.restore(target.version)
    return target, table.version()


def _rollback_target(table: Table, run_id: str | None) -> Commit:
    commits = table.commits()
    runs = [c for c in commits if c.note.get("kind") == "publish"]
    listed = ", ".join(str(c.note.get("run_id")) for c in runs[:10]) or "none"
    if run_id is not None:
        found = [c for c in runs if c.note.get("run_id") == run_id]
        if not found:
            raise InputError(
                f"No run {run_id} was published to {table.location}. Published runs, newest first: {listed}."
            )
        return found[0]
    current = shown(commits)
    earlier = [c for c in runs if current is not None and c.version < current.version]
    if not earlier:
        raise InputError(f"{table.location} has no run before the current one. Published runs: {listed}.")
    return earlier[0]
