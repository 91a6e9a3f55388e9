"""The state of a pipeline as its tables tell it: versions, what is published and how fresh, what was done and tried."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from scoreline.errors import InputError
from scoreline.operations.log import last_of_each, line, read_log, read_run
from scoreline.operations.next_due import NextDue, next_due
from scoreline.pipeline.published import target_of
from scoreline.report import Report
from scoreline.runs.freshness import Freshness, measure
from scoreline.runs.rows import logged
from scoreline.tables.history import Commit, origin, published_commit
from scoreline.tables.lock import holder
from scoreline.tables.names import RECOMMENDATIONS, TABLES
from scoreline.tables.reading import Readers, TableReader
from scoreline.typed import typed

_ENDED = {
    "published": "was published",
    "approved": "published what was refused",
    "nothing_due": "found nobody due",
    "only_failures": "published nothing, all who were due failed",
    "refused": "was refused",
    "failed": "failed",
    "superseded": "was superseded",
    "interrupted": "was interrupted",
    "done": "was done",
    "running": "is running",
}


@dataclass(frozen=True)
class Status(Report):
    """Tables with their versions, what is published and how fresh that is, what was last tried and done, the last runs.

    `verdict`: how the last run ended and what readers see. `stale`: the promise of `freshness` is broken. `due`: when
    users are due next. `export_behind`: the database shows other rows than the table, by the run log; None without one.
    `watch`: `process` on this machine that starts steps by itself, None if none does; None without a `watch` section.
    """

    verdict: str
    tables: list[dict[str, Any]]
    published: dict[str, Any] | None
    freshness: Freshness | None
    stale: bool
    due: NextDue
    last: dict[str, dict[str, Any]]
    runs: list[dict[str, Any]]
    export_behind: bool | None
    watch: dict[str, str | None] | None

    def __str__(self) -> str:
        lines = [self.verdict, "tables"]
        lines += [
            f"  {t['table']:<16} {t['rows']:>12,} rows   version {t['version']:<5} {_when(t['changed_at'])}"
            for t in self.tables
        ]
        if self.published:
            p = self.published
            since = f" (now at {p['table_version']})" if p["table_version"] != p["version"] else ""
            lines.append(
                f"published  run {p.get('run_id')} with {p.get('model')} version {p.get('model_version')}, "
                f"table version {p['version']}{since}"
            )
        if self.export_behind:
            lines.append(f"export     is behind: {typed('export')}")
        if said := str(self.freshness or ""):
            lines.append(said)
        lines.append(f"next due   {self.due}")
        if self.watch:
            none = f"does not run on this machine: {typed('watch')}"
            lines.append(f"watch      {self.watch['process'] or none}")
        if self.last:
            lines += ["last tried and done", *[_tried(kind, last) for kind, last in self.last.items()]]
        return "\n".join([*lines, "last runs", *[f"  {line(run)}" for run in self.runs]])


def status(readers: Readers, *, last: int = 5, now: datetime | None = None) -> Status:
    """The state of the pipeline as the tables tell it."""
    there = [readers.table(name) for name in TABLES]
    existing = {table.name: table for table in there if table.exists()}
    if not existing:
        raise InputError(
            f"There are no tables of {readers.settings.name} yet. Begin with: {typed('ingest --events FILE')}"
        )
    target = target_of(readers, readers.settings.name)
    commits = target.commits() if target else []
    found = published_commit(commits)
    published = (
        {
            "version": found.version,
            "table_version": commits[0].version,
            "at": found.at,
            **(found.published.fields() if found.published else {}),
        }
        if found
        else None
    )
    tried = last_of_each(readers)
    moment = now or datetime.now(UTC)
    freshness = measure(readers, target, now=moment)
    return Status(
        _verdict(readers, tried, published),
        [_table_state(table) for table in existing.values()],
        published,
        freshness,
        freshness is not None and freshness.stale,
        next_due(readers, target, freshness, now=moment),
        tried,
        read_log(readers, last=last).runs,
        _is_behind(readers, commits) if published and readers.settings.export else None,
        {"process": holder(readers.settings, "watch")} if readers.settings.watch else None,
    )


def _verdict(readers: Readers, tried: Mapping[str, Mapping[str, Any]], published: Mapping[str, Any] | None) -> str:
    """How the last command that might have changed what readers see ended, why, and what they see."""
    shown = f"readers see run {published.get('run_id')}" if published else "nothing is published yet"
    kinds = [kind for kind in ("run", "approve", "rollback") if kind in tried]
    if not kinds:
        return f"{readers.settings.name}: no run is in the log; {shown}"
    kind = max(kinds, key=lambda kind: tried[kind]["tried_at"])
    last = tried[kind]
    why = _why(readers, kind, last) if last["state"] in ("refused", "failed") else ""
    ended = _ENDED.get(last["state"], "ended: " + last["state"])
    return f"{readers.settings.name}: the last {kind} {ended}{why} ({_when(last['tried_at'])}); {shown}"


def _why(readers: Readers, kind: str, last: Mapping[str, Any]) -> str:
    """The limit that refused it, or the first line of its error."""
    figures = next(one.figures for one in read_run(readers, last["run_id"]) if one.kind == kind)
    for limit in figures.get("limits") or ():
        if not (limit["passed"] or limit["warns"]):
            return f": {limit['name']} is {limit['found']:g}, expected {limit['limit']}"
    return f": {str(figures['error']).splitlines()[0].rstrip('.')}" if figures.get("error") else ""


def _is_behind(readers: Readers, commits: Sequence[Commit]) -> bool:
    """Whether the last export sent other rows than readers of the table see now."""
    rows = logged(readers, ["started_at", "figures"], where={"kind": ["export"], "state": ["done"]})
    if not rows:
        return True
    sent = max(rows, key=lambda row: row["started_at"])["figures"].get("read", {}).get(RECOMMENDATIONS)
    return sent is None or origin(commits, sent) is not origin(commits, commits[0].version)


def _table_state(table: TableReader) -> dict[str, Any]:
    commit = table.commits(limit=1)[0]
    return {"table": table.name, "rows": table.count(), "version": commit.version, "changed_at": _utc(commit.at)}


def _tried(kind: str, last: dict[str, Any]) -> str:
    tried, done = last["tried_at"], last["done_at"]
    if tried == done:
        return f"  {kind:<9} {_when(done)}  {last['state']}"
    before = f"done {_when(done)}" if done else "none is done in the log"
    why = "" if last["state"] == "running" else f"; why: {typed('log ' + last['run_id'])}"
    return f"  {kind:<9} {_when(tried)}  {last['state']}; {before}{why}"


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
