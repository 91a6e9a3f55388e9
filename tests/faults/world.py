"""The two tables and their logs as Delta keeps them, in memory: what a run may decide on, thousands of steps a minute.

Rows change as the product's commits change them; whatever is decided is decided by the product's own code from these
logs. `spark_world` does the same steps on real tables, and one test holds both to each other.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from logs import publication
from scoreline.pipeline.changes import Changes, for_next_run, read_changes
from scoreline.pipeline.fence import next_sequence
from scoreline.tables.commit_note import Ingested, Note, Rollback
from scoreline.tables.history import Commit

T0 = datetime(2026, 7, 1, tzinfo=UTC)
BUCKETS = 4
INPUT = "user_history"


@dataclass(frozen=True, order=True)
class History:
    """A row of `user_history`: what it says, and the clock of the ingest that changed it."""

    content: int
    updated_at: datetime


@dataclass(frozen=True, order=True)
class Row:
    """A row of `recommendations`."""

    user: int
    content: int
    model: str
    scored_at: datetime
    run: str


@dataclass
class Log:
    """A table: its commits, oldest first, and the rows of each version."""

    commits: list[Commit]
    versions: list[Any]
    at: datetime = T0

    @property
    def version(self) -> int:
        return len(self.commits) - 1

    @property
    def rows(self) -> Any:
        return self.versions[-1]

    def commit(self, operation: str, rows: Any, note: Note | None = None, **parameters: Any) -> None:
        self.at += timedelta(milliseconds=7)  # the log's own clock, which Delta keeps in order
        said = {key: None if value is None else str(value) for key, value in parameters.items()}
        self.commits.append(Commit(len(self.commits), self.at, operation, note, {}, said))
        self.versions.append(rows)

    def newest(self, most: int) -> list[Commit]:
        return self.commits[::-1][:most]


@dataclass(frozen=True)
class Begun:
    """A run between its opening and its publication."""

    name: str
    base: int
    input_version: int
    sequence: int
    news: Changes | None
    inputs: tuple[Commit, ...]
    histories: dict[int, History]
    due: dict[int, str]
    chosen: frozenset[int]
    model: str
    now: datetime
    selected: bool = False  # for some users only

    @property
    def to_score(self) -> list[int]:
        return sorted(user for user in self.chosen if self.due[user] != "left")


@dataclass
class World:
    """Both tables. `window`: so many commits are looked at. `max_age`: older rows are due."""

    window: int = 200
    max_age: timedelta | None = None
    history: Log = field(default_factory=lambda: Log([Commit(0, T0, "CREATE TABLE", None)], [{}]))
    target: Log = field(default_factory=lambda: Log([Commit(0, T0, "CREATE TABLE", None)], [()]))
    fence: int = -1
    runs: int = 0

    # what we do

    def ingest(self, users: Sequence[int], now: datetime) -> None:
        """Each of these users gets an event."""
        rows = dict(self.history.rows)
        for user in users:
            rows[user] = History(rows[user].content + 1 if user in rows else 1, now)
        operation = "MERGE" if self.history.version else "WRITE"
        self.history.commit(operation, rows, Ingested(columns=None, updated_at=now))

    def begin(
        self,
        now: datetime,
        *,
        model: str,
        quarter: bool = False,
        verify: bool = False,
        users: frozenset[int] | None = None,
    ) -> Begun:
        """Open a run and find who is due, by the logs where they prove it; of `users` only, if there are any."""
        inputs = self.history.newest(self.window)
        news = self.news(now)
        due = self.due_by_keys(now, model) if news is None or verify or users else self.due_by_logs(news, model)
        if users:
            due = {user: reason for user, reason in due.items() if user in users}
        buckets = sorted({user % BUCKETS for user in due})
        chosen = frozenset(user for user in due if not quarter or user % BUCKETS == buckets[0])
        self.runs += 1
        return Begun(
            f"run {self.runs}",
            self.target.version,
            self.history.version,
            next_sequence(self.target.newest(10**6)),
            news,
            tuple(inputs),
            dict(self.history.rows),
            due,
            chosen,
            model,
            now,
            bool(users),
        )

    def finish(self, run: Begun, failed: frozenset[int] = frozenset(), slipped_in: Row | None = None) -> bool:
        """Publish; False if there was nothing to publish, or another run was faster.

        `slipped_in`: what a stranger appends while the files are written. Delta lets an append pass an overwrite.
        """
        scored = [user for user in run.to_score if user not in failed]
        left = {user for user in run.chosen if run.due[user] == "left"}
        if (not scored and not left) or run.sequence <= self.fence:
            return False
        extra = self._slip_in(slipped_in)
        new = [Row(u, run.histories[u].content, run.model, run.now, run.name) for u in scored]
        whole = len(run.to_score) == len(run.histories) and not run.selected
        lost = set(run.to_score) - set(scored)
        base = self.target.versions[run.base]
        if whole:
            rows, operation = [*new, *extra, *(row for row in base if row.user in lost)], "WRITE"
        elif "doubled" in {run.due[user] for user in run.chosen}:
            done = {*scored, *left}
            others = {row.user: row for row in base if row.user not in done}
            rows, operation = [*new, *extra, *others.values()], "WRITE"
        else:
            rows, operation = self._merged(new, left), "MERGE"
        complete = not lost and run.chosen == frozenset(run.due) and not run.selected
        told = for_next_run(
            run.inputs,
            input_version=run.input_version,
            began=run.now,
            complete=complete,
            compared=False,
            whole_table=whole,
            known=run.news,
        )
        note = publication(
            run_id=run.name,
            base_version=run.base,
            input=INPUT,
            input_version=run.input_version,
            model="films",
            model_version=run.model,
            rules_hash="rules",
            sequence=run.sequence,
            **vars(told),
        )
        self.target.commit(operation, tuple(sorted(rows)), note)
        self.fence = run.sequence
        return True

    def _merged(self, new: list[Row], left: set[int]) -> list[Row]:
        replaced = {row.user: row for row in new}
        rows = [replaced.get(row.user, row) for row in self.target.rows if row.user not in left]
        there = {row.user for row in self.target.rows}
        return [*rows, *(row for row in new if row.user not in there)]

    def _slip_in(self, row: Row | None) -> list[Row]:
        if row is None:
            return []
        self.target.commit("WRITE", tuple(sorted([*self.target.rows, row])))
        return [row]

    def rollback(self, to: int, *, base: int, slipped_in: Row | None = None) -> None:
        """Bring the rows of a version back, decided when the newest was `base`."""
        sequence = next_sequence(self.target.commits[: base + 1][::-1])
        if sequence <= self.fence:
            return
        extra = self._slip_in(slipped_in)
        note = Rollback(base_version=base, to_version=to, to_run=None, sequence=sequence)
        self.target.commit("WRITE", tuple(sorted([*self.target.versions[to], *extra])), note)
        self.fence = sequence

    # what strangers do

    def restore(self, log: Log, to: int, *, by_time: bool = False) -> None:
        log.commit("RESTORE", log.versions[to], version=None if by_time else to)

    def harmless(self, log: Log, operation: str) -> None:
        log.commit(operation, log.rows)

    def append(self, user: int, model: str) -> None:
        """A row that nobody asked for: of a user who has one, or has none."""
        self.target.commit("WRITE", tuple(sorted([*self.target.rows, Row(user, 0, model, T0, "stranger")])))

    def delete(self, users: frozenset[int]) -> None:
        self.target.commit("DELETE", tuple(row for row in self.target.rows if row.user not in users))

    def update(self, users: frozenset[int]) -> None:
        rows = [replace(row, content=-1) if row.user in users else row for row in self.target.rows]
        self.target.commit("UPDATE", tuple(sorted(rows)))

    def forget(self, users: frozenset[int]) -> None:
        """Histories are deleted."""
        self.history.commit("DELETE", {u: row for u, row in self.history.rows.items() if u not in users})

    def make_anew(self, now: datetime) -> None:
        """Histories are dropped and ingested again: other rows, and as many commits."""
        users, commits = sorted(self.history.rows), self.history.version
        self.history = Log([Commit(0, self.history.at, "CREATE TABLE", None)], [{}], self.history.at)
        for _ in range(commits):
            self.ingest(users, now)

    def rewrite(self, users: frozenset[int]) -> None:
        """Histories change, and nobody stamps them."""
        rows = {
            u: replace(row, content=row.content + 1000) if u in users else row for u, row in self.history.rows.items()
        }
        self.history.commit("UPDATE", rows)

    # who is due

    def news(self, now: datetime) -> Changes | None:
        too_old = now - self.max_age if self.max_age else None
        return read_changes(
            self.target.newest(self.window), self.history.newest(self.window), input_name=INPUT, too_old=too_old
        )

    def due_by_logs(self, news: Changes, model: str) -> dict[int, str]:
        """As `plan.due_by_news`."""
        if news.state.model_version != model:
            return dict.fromkeys(self.history.rows, "other_model")
        since = news.since
        return {u: "changed" for u, row in self.history.rows.items() if since is not None and row.updated_at >= since}

    def due_by_keys(self, now: datetime, model: str) -> dict[int, str]:
        """The truth: each user who has not exactly one row, of the history as it is, by this model, young enough."""
        rows: dict[int, Row] = {row.user: row for row in self.target.rows}
        times = Counter(row.user for row in self.target.rows)
        due = dict.fromkeys(set(rows) - set(self.history.rows), "left")
        for user, history in self.history.rows.items():
            row = rows.get(user)
            if row is None:
                due[user] = "new"
            elif times[user] > 1:
                due[user] = "doubled"
            elif (row.content, row.model) != (history.content, model):
                due[user] = "changed"
            elif self.max_age and row.scored_at <= now - self.max_age:
                due[user] = "too_old"
        return due
