"""The state of a pipeline as its tables tell it: versions, what is published, how fresh it is, the last runs."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scoreline.errors import InputError
from scoreline.pipeline.published import published_table
from scoreline.report import Report
from scoreline.tables.history import published_commit
from scoreline.tables.names import PUBLISHED, SCORED_AT, TABLES
from scoreline.tables.reading import Readers, TableReader, records


@dataclass(frozen=True)
class Status(Report):
    """Tables with their versions, what is published, and the last runs."""

    tables: list[dict[str, Any]]
    published: dict[str, Any] | None
    freshness: dict[str, Any] | None
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
        if self.freshness and self.freshness.get("oldest"):
            lines.append(
                f"freshness  rows scored between {_when(self.freshness['oldest'])} and "
                f"{_when(self.freshness['newest'])}"
            )
        lines.append("last runs")
        lines += [
            f"  {r['run_id']:<24} {r['kind']:<9} {r['state']:<12} {r['users']:>10,} users  {_when(r['started_at'])}"
            for r in self.runs
        ]
        return "\n".join(lines)


def status(readers: Readers, *, last: int = 5) -> Status:
    """The state of the pipeline as the tables tell it."""
    there = [readers.table(name) for name in TABLES]
    existing = {table.name: table for table in there if table.exists()}
    if not existing:
        raise InputError(
            f"There are no tables of {readers.settings.name} yet. Begin with: scoreline ingest --events FILE"
        )
    target = _published(readers) if set(PUBLISHED) & existing.keys() else None
    found = published_commit(target.commits()) if target else None
    published = (
        {"version": found.version, "at": found.at, **(found.published.fields() if found.published else {})}
        if found
        else None
    )
    runs = _last_runs(existing["runs"], last) if "runs" in existing else []
    return Status(
        [_table_state(table) for table in existing.values()], published, _freshness(target) if target else None, runs
    )


def _published(readers: Readers) -> TableReader | None:
    try:
        return published_table(readers, readers.settings.name)
    except InputError:
        return None


def _table_state(table: TableReader) -> dict[str, Any]:
    commit = table.commits(limit=1)[0]
    return {"table": table.name, "rows": table.count(), "version": commit.version, "changed_at": _utc(commit.at)}


def _freshness(target: TableReader) -> dict[str, Any]:
    oldest, newest, users = [], [], 0
    for batch in target.batches([SCORED_AT]):
        users += batch.num_rows
        bounds = pc.min_max(batch[0].cast(pa.int64()))
        oldest.append(bounds["min"].as_py())
        newest.append(bounds["max"].as_py())
    return {"oldest": _at(min, oldest), "newest": _at(max, newest), "users": users}


def _at(end: Callable[[list[int]], int], micros: list[int | None]) -> datetime | None:
    known = [at for at in micros if at is not None]
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=end(known)) if known else None


def _last_runs(table: TableReader, last: int) -> list[dict[str, Any]]:
    rows = table.rows(["run_id", "kind", "state", "started_at", "finished_at", "model", "users"])
    return records(rows.sort_by([("started_at", "descending")]).slice(0, last))


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
