"""The state of a pipeline as its tables tell it: versions, what is published and how fresh, what was done and tried."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scoreline.errors import InputError
from scoreline.operations.log import last_of_each, line, read_log
from scoreline.operations.next_due import NextDue, next_due
from scoreline.pipeline.published import target_of
from scoreline.report import Report
from scoreline.runs.freshness import Freshness, measure
from scoreline.tables.history import published_commit
from scoreline.tables.names import TABLES
from scoreline.tables.reading import Readers, TableReader


@dataclass(frozen=True)
class Status(Report):
    """Tables with their versions, what is published and how fresh that is, what was last tried and done, the last runs.

    `stale`: the promise of `freshness` is broken. `due`: when users are due next.
    """

    tables: list[dict[str, Any]]
    published: dict[str, Any] | None
    freshness: Freshness | None
    stale: bool
    due: NextDue
    last: dict[str, dict[str, Any]]
    runs: list[dict[str, Any]]

    def __str__(self) -> str:
        lines = ["tables"]
        lines += [
            f"  {t['table']:<16} {t['rows']:>12,} rows   version {t['version']:<5} {_when(t['changed_at'])}"
            for t in self.tables
        ]
        if self.published:
            p = self.published
            lines.append(
                f"published  run {p.get('run_id')} with {p.get('model')} version {p.get('model_version')}, "
                f"table version {p['version']}"
            )
        if said := str(self.freshness or ""):
            lines.append(said)
        lines.append(f"next due   {self.due}")
        if self.last:
            lines += ["last tried and done", *[_tried(kind, last) for kind, last in self.last.items()]]
        return "\n".join([*lines, "last runs", *[f"  {line(run)}" for run in self.runs]])


def status(readers: Readers, *, last: int = 5, now: datetime | None = None) -> Status:
    """The state of the pipeline as the tables tell it."""
    there = [readers.table(name) for name in TABLES]
    existing = {table.name: table for table in there if table.exists()}
    if not existing:
        raise InputError(
            f"There are no tables of {readers.settings.name} yet. Begin with: scoreline ingest --events FILE"
        )
    target = target_of(readers, readers.settings.name)
    found = published_commit(target.commits()) if target else None
    published = (
        {"version": found.version, "at": found.at, **(found.published.fields() if found.published else {})}
        if found
        else None
    )
    moment = now or datetime.now(UTC)
    freshness = measure(readers, target, now=moment)
    return Status(
        [_table_state(table) for table in existing.values()],
        published,
        freshness,
        freshness is not None and freshness.stale,
        next_due(readers, target, freshness, now=moment),
        last_of_each(readers),
        read_log(readers, last=last).runs,
    )


def _table_state(table: TableReader) -> dict[str, Any]:
    commit = table.commits(limit=1)[0]
    return {"table": table.name, "rows": table.count(), "version": commit.version, "changed_at": _utc(commit.at)}


def _tried(kind: str, last: dict[str, Any]) -> str:
    tried, done = last["tried_at"], last["done_at"]
    if tried == done:
        return f"  {kind:<9} {_when(done)}  {last['state']}"
    before = f"done {_when(done)}" if done else "none is done in the log"
    why = "" if last["state"] == "running" else f"; why: scoreline log {last['run_id']}"
    return f"  {kind:<9} {_when(tried)}  {last['state']}; {before}{why}"


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
