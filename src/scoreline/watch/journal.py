"""What is to be started, on disk before anybody is told that it is accepted: a SQLite file beside the tables.

A start is queued until a chain of steps answers it. Who is killed in between leaves it `running`; the next process
queues it again. Steps are idempotent, so what was done twice changes nothing.
"""

import json
import math
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from uuid import uuid4

from scoreline.errors import RunFailed, told
from scoreline.hashing import fingerprint

__all__ = ["Ask", "Chain", "Journal", "JournalFailed", "Start"]

_KEPT = 7 * 86_400  # seconds: how long a start can be asked for after its end
_TABLES = """
CREATE TABLE IF NOT EXISTS starts (
  id TEXT PRIMARY KEY, trigger TEXT NOT NULL, users TEXT, everyone INTEGER NOT NULL, key TEXT, asked TEXT NOT NULL,
  accepted_at REAL NOT NULL, due_at REAL NOT NULL, state TEXT NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
  first_tried_at REAL, ended_at REAL, outcome TEXT NOT NULL DEFAULT '{}', UNIQUE (trigger, key)
);
CREATE INDEX IF NOT EXISTS open_starts ON starts (state, due_at);
CREATE INDEX IF NOT EXISTS ended_starts ON starts (ended_at);
CREATE TABLE IF NOT EXISTS marks (trigger TEXT PRIMARY KEY, mark TEXT NOT NULL);
"""


class JournalFailed(RunFailed):
    """The file cannot be read or written now: a full disk, another program that holds it."""


@dataclass(frozen=True)
class Ask:
    """What somebody asks for. users: of whom; None: of all. everyone: also those of them who are up to date."""

    users: tuple[str | int, ...] | None = None
    everyone: bool = False


@dataclass(frozen=True)
class Start:
    """One start as the journal has it; times in seconds since 1970. outcome: what is known of its end."""

    id: str
    trigger: str
    state: str
    accepted_at: float
    attempts: int
    ended_at: float | None
    outcome: Mapping[str, Any]


@dataclass(frozen=True)
class Chain:
    """Starts of one trigger that one chain of steps answers. attempt: which this is; 1 is the first.

    outcome: `run_id` and `version` of what an attempt before has published for all of them, if one has.
    """

    trigger: str
    ids: tuple[str, ...]
    ask: Ask
    attempt: int
    first_tried_at: float
    outcome: Mapping[str, Any] = field(default_factory=dict)


class Journal:
    """Starts and marks of one pipeline. Its methods may be called from any thread; each is a transaction.

    All of them raise JournalFailed where the file cannot be read or written; then nothing is changed.
    """

    def __init__(self, file: Path) -> None:
        self._file, self._lock = file, threading.Lock()
        file.parent.mkdir(parents=True, exist_ok=True)
        with self._explained():
            self._connection = sqlite3.connect(file, isolation_level=None, check_same_thread=False, timeout=30)
            self._connection.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;" + _TABLES)

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise JournalFailed(f"the journal {self._file} cannot be used: {told(error)}") from None

    @contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, self._explained():
            yield self._connection

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as sql:
            sql.execute("BEGIN IMMEDIATE")
            try:
                yield sql
                sql.execute("COMMIT")
            finally:
                if sql.in_transaction:  # also if there was no room for its end
                    sql.execute("ROLLBACK")

    def accept(self, trigger: str, ask: Ask, *, now: float, due_at: float, key: str | None = None) -> Start | None:
        """Write a start down. With a key that was there before: that start; None if it asked for something else."""
        asked = fingerprint([list(ask.users) if ask.users is not None else None, ask.everyone])
        with self._transaction() as sql:
            if key is not None:
                row = sql.execute(
                    "SELECT id, asked FROM starts WHERE trigger = ? AND key = ?", (trigger, key)
                ).fetchone()
                if row is not None:
                    return self._start(sql, row[0]) if row[1] == asked else None
            return self._start(sql, _queue(sql, trigger, ask, asked, key=key, now=now, due_at=due_at))

    def fire(self, trigger: str, mark: str, *, now: float, key: str | None = None) -> bool:
        """Move a trigger's mark and queue one start of it, unless one waits already; whether it was queued.

        key: names the start, as `accept` has it.
        """
        with self._transaction() as sql:
            self._mark(sql, trigger, mark)
            waiting = sql.execute("SELECT 1 FROM starts WHERE trigger = ? AND state = 'queued'", (trigger,)).fetchone()
            if waiting:
                return False
            _queue(sql, trigger, Ask(), "", key=key, now=now, due_at=now)
            return True

    def has(self, trigger: str, key: str) -> bool:
        """Whether a start of this key was queued within the last week."""
        with self._reading() as sql:
            asked = "SELECT 1 FROM starts WHERE trigger = ? AND key = ?"
            return sql.execute(asked, (trigger, key)).fetchone() is not None

    def mark(self, trigger: str) -> str | None:
        """How far a trigger has come: its last time, or what it saw last."""
        with self._reading() as sql:
            row = sql.execute("SELECT mark FROM marks WHERE trigger = ?", (trigger,)).fetchone()
        return None if row is None else str(row[0])

    def set_mark(self, trigger: str, mark: str) -> None:
        """Move a trigger's mark without a start."""
        with self._transaction() as sql:
            self._mark(sql, trigger, mark)

    def _mark(self, sql: sqlite3.Connection, trigger: str, mark: str) -> None:
        sql.execute("INSERT OR REPLACE INTO marks (trigger, mark) VALUES (?, ?)", (trigger, mark))

    def take(self, triggers: Sequence[str], *, now: float, longest: float = math.inf) -> Chain | None:
        """The next chain: the start that waits longest, and all of its trigger that the same steps answer.

        longest: seconds that a start can have to wait; one that would wait longer is of before the clock was set back.
        """
        with self._transaction() as sql:
            first = sql.execute(
                "SELECT trigger, users IS NULL, everyone FROM starts WHERE state = 'queued' "
                f"AND (due_at <= ? OR due_at > ?) AND trigger IN ({_places(triggers)}) "
                "ORDER BY due_at, accepted_at LIMIT 1",
                (now, now + longest, *triggers),
            ).fetchone()
            if first is None:
                return None
            rows = sql.execute(
                "SELECT id, users, attempts, first_tried_at, outcome FROM starts "
                "WHERE state = 'queued' AND trigger = ? AND (users IS NULL) = ? AND everyone = ? ORDER BY accepted_at",
                first,
            ).fetchall()
            ids = tuple(row[0] for row in rows)
            first_tried = min([now, *(row[3] for row in rows if row[3] is not None)])
            sql.executemany(
                "UPDATE starts SET state = 'running', attempts = attempts + 1, first_tried_at = ? WHERE id = ?",
                [(first_tried, one) for one in ids],
            )
        trigger, for_all, everyone = first
        users = None if for_all else tuple(dict.fromkeys(user for row in rows for user in json.loads(row[1])))
        outcomes = [json.loads(row[4]) for row in rows]
        same = {key: value for key, value in outcomes[0].items() if key in ("run_id", "version")}
        is_all = all(outcome.items() >= same.items() for outcome in outcomes)
        attempt = 1 + max(row[2] for row in rows)
        return Chain(trigger, ids, Ask(users, bool(everyone)), attempt, first_tried, same if is_all else {})

    def end(self, chain: Chain, state: str, outcome: Mapping[str, Any], *, now: float) -> None:
        """Say how a chain has ended."""
        with self._transaction() as sql:
            sql.executemany(
                "UPDATE starts SET state = ?, outcome = ?, ended_at = ? WHERE id = ?",
                [(state, json.dumps(outcome), now, one) for one in chain.ids],
            )
            sql.execute("DELETE FROM starts WHERE ended_at < ?", (now - _KEPT,))

    def put_back(
        self, chain: Chain, *, due_at: float, outcome: Mapping[str, Any], counts: bool = True, begun: bool = False
    ) -> None:
        """Queue a chain again.

        counts: whether this was an attempt, as opposed to a wait for somebody else. begun: steps of it were done before
        that wait, so that the next attempt is not the first.
        """
        with self._transaction() as sql:
            sql.executemany(
                "UPDATE starts SET state = 'queued', due_at = ?, outcome = ?, attempts = max(attempts - ?, ?), "
                "first_tried_at = CASE WHEN ? THEN first_tried_at END WHERE id = ?",
                [(due_at, json.dumps(outcome), not counts, begun, counts, one) for one in chain.ids],
            )

    def recover(self, *, now: float) -> int:
        """Queue again what a process that is gone had begun; how many starts."""
        with self._transaction() as sql:
            return sql.execute(
                "UPDATE starts SET state = 'queued', due_at = ?, first_tried_at = NULL WHERE state = 'running'", (now,)
            ).rowcount

    def get(self, one: str) -> Start | None:
        """A start by its id; None if there is none, or it ended more than a week ago."""
        with self._reading() as sql:
            return self._start(sql, one)

    def next_due(self, triggers: Sequence[str]) -> float | None:
        """When the next queued start of these triggers may begin; None if none waits."""
        asked = f"SELECT min(due_at) FROM starts WHERE state = 'queued' AND trigger IN ({_places(triggers)})"
        with self._reading() as sql:
            row = sql.execute(asked, tuple(triggers)).fetchone()
        return None if row is None else row[0]

    def waiting(self) -> dict[str, int]:
        """Queued and running starts of each trigger that has any."""
        with self._reading() as sql:
            rows = sql.execute(
                "SELECT trigger, count(*) FROM starts WHERE state IN ('queued', 'running') GROUP BY trigger"
            ).fetchall()
        return dict(rows)

    def _start(self, sql: sqlite3.Connection, one: str) -> Start | None:
        row = sql.execute(
            "SELECT id, trigger, state, accepted_at, attempts, ended_at, outcome FROM starts WHERE id = ?", (one,)
        ).fetchone()
        if row is None:
            return None
        known = dict(zip(("id", "trigger", "state", "accepted_at", "attempts", "ended_at"), row, strict=False))
        return Start(**known, outcome=json.loads(row[6]))


def _queue(
    sql: sqlite3.Connection, trigger: str, ask: Ask, asked: str, *, key: str | None, now: float, due_at: float
) -> str:
    """Write a start down; its id."""
    fresh, users = uuid4().hex, None if ask.users is None else json.dumps(ask.users)
    sql.execute(
        "INSERT INTO starts (id, trigger, users, everyone, key, asked, accepted_at, due_at, state) "
        "VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'queued')",
        (fresh, trigger, users, ask.everyone, key, asked, now, due_at),
    )
    return fresh


def _places(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))
