"""What is known of cards and terminals tonight, as one immutable SQLite file that the server reads.

The nightly job writes a new file beside the old one and moves the name over (`publish`); a server that still has the
old file open goes on reading it, and takes the new one at its next look. Nothing is ever changed in place, so readers
need no locks (`immutable=1`).
"""

import logging
import os
import sqlite3
import threading
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Final

from scoreline_fraud.serving.errors import ServingError, told
from scoreline_fraud.serving.features import CARD_COLUMNS, TERMINAL_COLUMNS

__all__ = ["Snapshot", "SnapshotSource", "publish", "remove_old", "write_snapshot"]

_log = logging.getLogger(__name__)
FORMAT: Final = "scoreline-card-features-1"

Row = tuple[float, ...]


def write_snapshot(
    path: Path,
    *,
    as_of: datetime,
    cards: Iterable[tuple[str, Sequence[float]]],
    terminals: Iterable[tuple[str, Sequence[float]]],
) -> Path:
    """A new snapshot at `path`, complete or not there at all; `as_of` is the midnight up to which it counts."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.unlink(missing_ok=True)
    connection = sqlite3.connect(unfinished, isolation_level=None)
    try:
        connection.execute("PRAGMA journal_mode = OFF")
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        counts = [
            _write_table(connection, "card", CARD_COLUMNS, cards),
            _write_table(connection, "terminal", TERMINAL_COLUMNS, terminals),
        ]
        connection.execute("CREATE TABLE meta (format TEXT, as_of TEXT, cards INTEGER, terminals INTEGER)")
        connection.execute("INSERT INTO meta VALUES (?, ?, ?, ?)", (FORMAT, as_of.astimezone(UTC).isoformat(), *counts))
        connection.execute("COMMIT")
    except BaseException:
        connection.close()
        unfinished.unlink(missing_ok=True)
        raise
    connection.close()
    with unfinished.open("rb") as written:
        os.fsync(written.fileno())
    unfinished.chmod(0o444)
    unfinished.replace(path)
    return path


def publish(snapshot: Path, name: Path) -> None:
    """Let `name` (what the server's configuration says) mean `snapshot`, in one step."""
    name.parent.mkdir(parents=True, exist_ok=True)
    link = name.with_name(f".{name.name}.{os.getpid()}")
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(snapshot.resolve(), name.parent.resolve()))
    link.replace(name)


class Snapshot:
    """An open snapshot; each thread has its own connection."""

    def __init__(self, path: Path) -> None:
        self.uri = f"{path.resolve().as_uri()}?mode=ro&immutable=1"
        self._mine = threading.local()
        try:
            found, as_of = self._connection().execute("SELECT format, as_of FROM meta").fetchone()
            self._check(found)
        except (sqlite3.Error, TypeError) as error:
            raise ServingError(
                f"{path.name} is no feature snapshot ({told(error)}); write it by jobs/build_card_features.py"
            ) from None
        self.as_of = datetime.fromisoformat(as_of)
        self.as_of_text: str = as_of
        self.as_of_s = self.as_of.timestamp()

    def _check(self, found: str) -> None:
        if found != FORMAT:
            raise ServingError(
                f"the feature snapshot has format {found!r}, this server reads {FORMAT!r}; write it anew"
            )
        for table, columns in (("card", CARD_COLUMNS), ("terminal", TERMINAL_COLUMNS)):
            names = [row[1] for row in self._connection().execute(f"PRAGMA table_info({table})")]
            if names != ["id", *columns]:
                raise ServingError(f"table {table} of the feature snapshot has columns {names}; write it anew")

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._mine, "connection", None)
        if connection is None:
            connection = self._mine.connection = sqlite3.connect(self.uri, uri=True, isolation_level=None)
        return connection

    def card(self, card_id: str) -> Row | None:
        """`CARD_COLUMNS` of a card, None if it is unknown."""
        return self._one("SELECT * FROM card WHERE id = ?", card_id)

    def terminal(self, terminal_id: str) -> Row | None:
        """`TERMINAL_COLUMNS` of a terminal, None if it is unknown."""
        return self._one("SELECT * FROM terminal WHERE id = ?", terminal_id)

    def _one(self, query: str, key: str) -> Row | None:
        found = self._connection().execute(query, (key,)).fetchone()
        return None if found is None else found[1:]


class SnapshotSource:
    """The snapshot that a name stands for now; looks again at most every `recheck_s` seconds.

    A new file that cannot be read does not replace a good one, and is tried again at each look: its age then speaks for
    itself. One that counts up to an earlier moment does not either; who means to go back removes the name first.
    """

    def __init__(self, path: Path, *, recheck_s: float = 1.0) -> None:
        self.path = path
        self.recheck_s = recheck_s
        self._seen: tuple[int, int, int] | None = None
        self._said: tuple[int, int, int] | None = None
        self._snapshot: Snapshot | None = None
        self._next_look = 0.0
        self._lock = threading.Lock()

    def current(self) -> Snapshot | None:
        """The newest readable snapshot; None if there never was one or its file is gone."""
        if monotonic() >= self._next_look and self._lock.acquire(blocking=self._snapshot is None):
            try:
                self._look()
            finally:
                self._lock.release()
        return self._snapshot

    def _look(self) -> None:
        self._next_look = monotonic() + self.recheck_s
        try:
            stat = self.path.stat()
        except FileNotFoundError:
            if self._snapshot is not None or self._seen is None:
                _log.error("snapshot=%s missing", self.path)
            self._seen, self._snapshot = (0, 0, 0), None
            return
        except OSError as error:  # a handle that has gone stale, no more handles: it passes
            _log.error("snapshot=%s unreadable for now: %s", self.path.name, told(error))
            return
        seen = (stat.st_dev, stat.st_ino, stat.st_mtime_ns)
        if seen != self._seen:
            self._take(seen)

    def _take(self, seen: tuple[int, int, int]) -> None:
        try:
            found = Snapshot(self.path)
        except ServingError as error:
            self._say_once(seen, f"unreadable: {error}")
            return
        if self._snapshot is not None and found.as_of < self._snapshot.as_of:
            self._say_once(seen, f"as_of={found.as_of_text} is older than {self._snapshot.as_of_text}, which stays")
            return
        self._seen, self._snapshot = seen, found
        _log.info("snapshot=%s as_of=%s", self.path.name, found.as_of_text)

    def _say_once(self, seen: tuple[int, int, int], problem: str) -> None:
        if seen != self._said:
            self._said = seen
            _log.error("snapshot=%s %s", self.path.name, problem)


def remove_old(folder: Path, name: Path, *, keep: int) -> None:
    """Remove all but the `keep` newest snapshots of a folder, by their names' days; never what `name` stands for."""
    snapshots = sorted(folder.glob("features-*.sqlite"), key=lambda path: path.name)
    for old in snapshots[:-keep]:
        if old.resolve() != name.resolve():
            old.unlink(missing_ok=True)


def _write_table(
    connection: sqlite3.Connection, table: str, columns: tuple[str, ...], rows: Iterable[tuple[str, Sequence[float]]]
) -> int:
    definitions = ", ".join(f"{name} REAL NOT NULL" for name in columns)
    connection.execute(f"CREATE TABLE {table} (id TEXT PRIMARY KEY NOT NULL, {definitions}) WITHOUT ROWID")
    places = ", ".join("?" * (len(columns) + 1))
    cursor = connection.executemany(
        f"INSERT INTO {table} VALUES ({places})", ((key, *(float(value) for value in values)) for key, values in rows)
    )
    return cursor.rowcount
