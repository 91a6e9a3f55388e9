"""What people ask of the tables: one user's history and recommendations by title, and the state of a pipeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from scoreline.context import Context, step
from scoreline.errors import ConfigurationError, InputError
from scoreline.pipeline.fence import published_table
from scoreline.report import Report
from scoreline.sources.values import whole
from scoreline.tables.delta import Table
from scoreline.tables.history import published_commit
from scoreline.tables.schema import PUBLISHED, RECOMMENDATIONS, TABLES, USER_ID

_MOST = 10  # ids in a message


@dataclass(frozen=True)
class Line:
    """An item of a user's history or list; `value` is a weight or a score."""

    item_id: Any
    title: str | None
    value: float
    at: datetime | None = None

    def __str__(self) -> str:
        when = f"  {self.at:%Y-%m-%d}" if self.at else ""
        return f"{self.title or self.item_id}  ({self.value:.4g}){when}"


@dataclass(frozen=True)
class UserView(Report):
    """One user as the tables show them; `recommended` is None where nothing is published."""

    user_id: Any
    history: list[Line]
    recommended: list[Line] | None
    made_by: str | None

    def rows(self) -> list[dict[str, Any]]:
        """A row an item: `list` is history or recommended, `rank` begins at 1."""
        lists = {"history": self.history, "recommended": self.recommended or []}
        return [
            {"user_id": self.user_id, "list": name, "rank": rank, **vars(line)}
            for name, lines in lists.items()
            for rank, line in enumerate(lines, start=1)
        ]

    def __str__(self) -> str:
        lines = [f"User {self.user_id}", "  watched last:", *[f"    {line}" for line in self.history]]
        if self.recommended is None:
            return "\n".join([*lines, "  nothing is recommended yet: scoreline run"])
        lines.append(f"  recommended ({self.made_by}):")
        return "\n".join(lines + [f"    {rank:>3}. {line}" for rank, line in enumerate(self.recommended, start=1)])


@step
def show_users(context: Context, users: Sequence[str], *, recent: int = 10) -> list[UserView]:
    """Look users up, with the `recent` newest items of their history; raises InputError for an id that is not there."""
    if context.settings.input is not None:
        raise ConfigurationError(
            "This pipeline has an input section: it publishes predictions, and there are no histories to show. "
            "Read the table predictions."
        )
    wanted = [_typed(context, user) for user in users]
    history = context.tables.existing("user_history", made_by="scoreline ingest --events FILE")
    histories = _rows(history.read(), wanted)
    if missing := [user for user in wanted if user not in histories]:
        listed = ", ".join(map(repr, missing[:_MOST]))
        more = f" and {len(missing) - _MOST} more" if len(missing) > _MOST else ""
        is_not = "is not" if len(missing) == 1 else "are not"
        raise InputError(f"user {listed}{more} {is_not} in user_history.{_examples(history)}")
    target = _published(context)
    lists = _rows(target.read(), wanted) if target else {}
    titles = _titles(context, histories, lists)
    return [_view(user, histories[user], lists.get(user), titles, recent) for user in wanted]


def _typed(context: Context, user: str) -> Any:
    if context.keys.user == "string":
        return user
    if (number := whole(user)) is None:
        raise InputError(f"user ids of this pipeline are whole numbers (keys.user_id: long), found {user!r}.")
    return number


def _rows(rows: DataFrame, users: Sequence[Any]) -> dict[Any, Any]:
    return {row[USER_ID]: row for row in rows.where(F.col(USER_ID).isin(list(users))).collect()}


def _examples(history: Table) -> str:
    some = [str(row[0]) for row in history.read().select(USER_ID).limit(5).collect()]
    return f" Some that are: {', '.join(some)}." if some else " The table is empty."


def _titles(context: Context, histories: dict[Any, Any], lists: dict[Any, Any]) -> dict[Any, str]:
    table = context.tables.table("items")
    if not table.exists():
        return {}
    ids = {item for row in histories.values() for item in row["item_ids"]}
    ids |= {item["item_id"] for row in lists.values() for item in row[RECOMMENDATIONS]}
    wanted = table.read().where(F.col("item_id").isin(list(ids))).select("item_id", "title")
    return {row["item_id"]: row["title"] for row in wanted.collect()}


def _view(user: Any, history: Any, made: Any, titles: dict[Any, str], recent: int) -> UserView:
    newest = list(zip(history["item_ids"], history["weights"], history["event_times"], strict=True))[-recent:]
    watched = [Line(item, titles.get(item), weight, at) for item, weight, at in reversed(newest)]
    if made is None:
        return UserView(user, watched, None, None)
    lines = [Line(item["item_id"], titles.get(item["item_id"]), item["score"]) for item in made[RECOMMENDATIONS]]
    return UserView(user, watched, lines, f"{made['source']}, {made['model_name']} version {made['model_version']}")


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
