"""What the pages look up. None reads a whole table of users: one user by key, the users of a few buckets, and of all
rows the one narrow column that says when they were made, counted where it lies.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scoreline.errors import InputError, ScorelineError
from scoreline.operations.log import last_of_each, unfinished
from scoreline.operations.next_due import NextDue, next_due
from scoreline.operations.report.facts import ENDED_BADLY, Recorded, Trend, recorded
from scoreline.operations.report.gather import RUNS_SHOWN, read_runs, trends
from scoreline.operations.report.sample import chosen_buckets
from scoreline.operations.show import Line, titles_of
from scoreline.pipeline.published import target_of
from scoreline.runs.freshness import Freshness, measure
from scoreline.sources.whole_numbers import typed_id
from scoreline.tables.history import Commit, published_commit
from scoreline.tables.names import BUCKET, RECOMMENDATIONS, TABLES, USER_ID
from scoreline.tables.reading import Readers, TableReader, records

_PUBLICATIONS = 6  # an item is looked for in so many
_USERS = 20
_CHANGES = 20
_PER_PAGE = 50


@dataclass(frozen=True)
class Overview:
    """The state of a pipeline: the last run with somebody to score and its figures of the audit, what readers see, how
    fresh that is and who is due next. changes: runs and rollbacks, newest first. wrong: other commands than runs that
    ended badly when last tried, by kind.
    """

    last: Recorded | None
    changes: tuple[Recorded, ...]
    wrong: Mapping[str, Mapping[str, Any]]
    trends: tuple[Trend, ...]
    shown: Commit | None
    freshness: Freshness | None
    due: NextDue
    tables: tuple[tuple[str, int, datetime], ...]


@dataclass(frozen=True)
class UserPage:
    """A user's history, newest first, and list; `row` says where the list came from, None if there is none."""

    user_id: Any
    history: tuple[Line, ...]
    events: int
    listed: tuple[Line, ...]
    row: dict[str, Any] | None


@dataclass(frozen=True)
class Publication:
    """In which share of the sampled lists an item was, as a run published them."""

    run_id: str
    at: datetime
    share: float


@dataclass(frozen=True)
class ItemPage:
    """Who gets an item: so many of the `sampled` lists; some users with its rank; publications, oldest first."""

    item_id: Any
    title: str | None
    genres: str | None
    sampled: int
    have: int
    users: tuple[tuple[Any, int], ...]
    publications: tuple[Publication, ...]


@dataclass(frozen=True)
class LogPage:
    """What was recorded, newest first; `page` of `pages`, from 1."""

    rows: tuple[Recorded, ...]
    page: int
    pages: int


def overview(readers: Readers, *, now: datetime) -> Overview:
    """The pipeline as its logs tell it, and how many rows were made when."""
    there = [table for table in map(readers.table, TABLES) if table.exists()]
    logged = any(table.name == "runs" for table in there)
    runs = read_runs(readers) if logged else []
    changes = sorted([*runs, *(_rollbacks(readers) if logged else ())], key=lambda one: one.started_at, reverse=True)
    figures = trends(runs[-1], runs[-RUNS_SHOWN:-1]) if runs else ()
    heads = [(table.name, table.commits(limit=1)[0]) for table in there]
    tables = tuple((name, commit.version, commit.at) for name, commit in heads)
    target = target_of(readers, readers.settings.name)
    shown = published_commit(target.commits()) if target else None
    freshness = measure(readers, target, now=now)
    due = next_due(readers, target, freshness, now=now)
    tried = last_of_each(readers).items()
    wrong = {kind: last for kind, last in tried if kind != "run" and last["state"] in ENDED_BADLY}
    return Overview(
        runs[-1] if runs else None, tuple(changes[:_CHANGES]), wrong, figures, shown, freshness, due, tables
    )


def _rollbacks(readers: Readers) -> list[Recorded]:
    return [recorded(row) for row in records(readers.table("runs").rows(where={"kind": ["rollback"]}))]


def user_page(readers: Readers, user: str, *, recent: int = 30) -> UserPage:
    """One user, empty for one who is in neither table; raises InputError for an id that is none."""
    user_id = typed_id(user, readers.settings.keys.user_id, "user")
    found = _of_user(readers.table("user_history"), user_id)
    row = _of_user(readers.table(RECOMMENDATIONS), user_id)
    events = list(zip(found["item_ids"], found["weights"], found["event_times"], strict=True)) if found else []
    newest = list(reversed(events[-recent:]))
    items = [(item["item_id"], item["score"]) for item in row[RECOMMENDATIONS]] if row else []
    titles = titles_of(readers.table("items"), {*(item for item, _ in items), *(item for item, _, _ in newest)})
    history = tuple(Line(item, titles.get(item), weight, at) for item, weight, at in newest)
    return UserPage(
        user_id, history, len(events), tuple(Line(item, titles.get(item), score) for item, score in items), row
    )


def _of_user(table: TableReader, user_id: Any) -> dict[str, Any] | None:
    """A user's row: first the bucket by two small columns, then the wide ones of the files with that bucket alone."""
    if not table.exists():
        return None
    buckets = table.rows([BUCKET], {USER_ID: [user_id]})
    if not buckets.num_rows:
        return None
    rows = records(table.rows(where={USER_ID: [user_id], BUCKET: buckets[BUCKET].to_pylist()}))
    return rows[0] if rows else None


def item_page(readers: Readers, item: str) -> ItemPage:
    """One item in the lists of a few buckets, now and as earlier runs had published them."""
    item_id = typed_id(item, readers.settings.keys.item_id, "item")
    items = readers.table("items")
    about = records(items.rows(["title", "genres"], {"item_id": [item_id]})) if items.exists() else []
    target = readers.table(RECOMMENDATIONS)
    if not about and not target.exists():
        raise InputError(f"There is no item {item!r}.")
    buckets = _sampled(readers, target) if target.exists() else []
    users, sampled = _having(target, item_id, buckets, None) if buckets else ([], 0)
    if not about and not users:
        raise InputError(f"There is no item {item!r} in the catalogue, and none of the lists looked at has it.")
    title, genres = (about[0]["title"], about[0]["genres"]) if about else (None, None)
    publications = _publications(target, item_id, buckets, now=len(users) / max(sampled, 1)) if buckets else ()
    return ItemPage(item_id, title, genres, sampled, len(users), tuple(users[:_USERS]), publications)


def _sampled(readers: Readers, target: TableReader) -> list[int]:
    buckets, settings = readers.settings.histories.buckets, readers.settings
    each = max(1, target.count() // buckets)
    return chosen_buckets(Counter(dict.fromkeys(range(buckets), each)), settings.audit.sample_users)


def _having(
    target: TableReader, item_id: Any, buckets: Sequence[int], version: int | None
) -> tuple[list[tuple[Any, int]], int]:
    """Users whose list has the item, with its rank, best first; and how many lists were looked at."""
    found: list[tuple[Any, int]] = []
    seen = 0
    for batch in target.batches([USER_ID, RECOMMENDATIONS], {BUCKET: buckets}, version):
        seen += batch.num_rows
        lists = batch[RECOMMENDATIONS]
        owner = pc.list_parent_indices(lists)
        hits = pc.equal(pc.struct_field(lists.flatten(), "item_id"), pa.scalar(item_id))
        for place in pc.indices_nonzero(hits).to_pylist():
            row = owner[place].as_py()
            ids = [item["item_id"] for item in lists[row].as_py()]
            found.append((batch[USER_ID][row].as_py(), ids.index(item_id) + 1))
    return sorted(found, key=lambda user: (user[1], user[0])), seen


def _publications(target: TableReader, item_id: Any, buckets: Sequence[int], *, now: float) -> tuple[Publication, ...]:
    """The newest ones, oldest first; `now`: the share in the newest version, which need not be read again."""
    found, commits = [], target.commits()
    for commit in [commit for commit in commits if commit.published is not None][:_PUBLICATIONS]:
        share = now
        if commit.version != commits[0].version:
            try:
                users, seen = _having(target, item_id, buckets, commit.version)
            except ScorelineError:  # files that vacuum has removed: what lies further back has gone with them
                break
            share = len(users) / max(seen, 1)
        note = commit.published
        found.append(Publication((note.run_id if note else None) or "", commit.at, share))
    return tuple(reversed(found))


def log_page(readers: Readers, *, page: int, kind: str | None = None, state: str | None = None) -> LogPage:
    """What was recorded, and what has begun and not ended, newest first, by kind and state."""
    table = readers.table("runs")
    where = {name: [value] for name, value in (("kind", kind), ("state", state)) if value}
    rows = [recorded(row) for row in records(table.rows(where=where or None))] if table.exists() else []
    rows += [
        Recorded(**{**row, "users": 0})
        for row in unfinished(readers)
        if all(row[name] in values for name, values in where.items())
    ]
    rows.sort(key=lambda row: row.started_at, reverse=True)
    pages = max(1, -(-len(rows) // _PER_PAGE))
    page = min(max(page, 1), pages)
    return LogPage(tuple(rows[(page - 1) * _PER_PAGE : page * _PER_PAGE]), page, pages)
