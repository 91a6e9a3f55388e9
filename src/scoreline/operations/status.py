"""The state of a pipeline as its tables tell it: versions, what is published, how fresh it is, the last runs."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import functions as F

from scoreline.context import Context, step
from scoreline.errors import InputError
from scoreline.pipeline.fence import published_table
from scoreline.report import Report
from scoreline.tables.delta import Table
from scoreline.tables.history import published_commit
from scoreline.tables.schema import PUBLISHED, TABLES


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


@step
def status(context: Context, *, last: int = 5) -> Status:
    """The state of the pipeline as the tables tell it."""
    there = [(name, context.tables.table(name)) for name in TABLES]
    existing = {name: table for name, table in there if table.exists()}
    if not existing:
        raise InputError(
            f"There are no tables of {context.settings.name} yet. Begin with: scoreline ingest --events FILE"
        )
    tables = [_table_state(name, table) for name, table in existing.items()]
    target = _published(context) if set(PUBLISHED) & existing.keys() else None
    found = published_commit(target.commits()) if target else None
    published = (
        {"version": found.version, "at": found.at, **(found.published.fields() if found.published else {})}
        if found
        else None
    )
    runs = _last_runs(existing["runs"], last) if "runs" in existing else []
    return Status(tables, published, _freshness(target) if target else None, runs)


def _published(context: Context) -> Table | None:
    try:
        return published_table(context.tables, context.settings.name)
    except InputError:
        return None


def _table_state(name: str, table: Table) -> dict[str, Any]:
    commit = table.commits(limit=1)[0]
    rows = table.read().agg(F.count(F.lit(1)).alias("rows")).first()
    return {
        "table": name,
        "rows": rows[0] if rows else 0,
        "version": commit.version,
        "changed_at": _utc(commit.at),
    }


def _freshness(target: Table) -> dict[str, Any]:
    ages = target.read().agg(
        F.min("scored_at").alias("oldest"),
        F.max("scored_at").alias("newest"),
        F.count(F.lit(1)).alias("users"),
    )
    return {k: _utc(v) if isinstance(v, datetime) else v for k, v in ages.first().asDict().items()}  # type: ignore[union-attr]


def _last_runs(table: Table, last: int) -> list[dict[str, Any]]:
    newest = table.read().orderBy(F.col("started_at").desc()).limit(last).drop("figures")
    return [{k: _utc(v) if isinstance(v, datetime) else v for k, v in r.asDict().items()} for r in newest.collect()]


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
