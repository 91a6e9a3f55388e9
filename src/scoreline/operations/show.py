"""One user's history and recommendations, by title."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from scoreline.errors import ConfigurationError, InputError
from scoreline.report import Report
from scoreline.sources.whole_numbers import typed_id
from scoreline.tables.names import RECOMMENDATIONS, USER_ID
from scoreline.tables.reading import Readers, TableReader, records
from scoreline.typed import typed

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
            return "\n".join([*lines, f"  nothing is recommended yet: {typed('run')}"])
        lines.append(f"  recommended ({self.made_by}):")
        return "\n".join(lines + [f"    {rank:>3}. {line}" for rank, line in enumerate(self.recommended, start=1)])


def show_users(readers: Readers, users: Sequence[str], *, recent: int = 10) -> list[UserView]:
    """Look users up, with the `recent` newest items of their history; raises InputError for an id that is not there."""
    settings = readers.settings
    if settings.input is not None:
        raise ConfigurationError(
            "This pipeline has an input section: it publishes predictions, and there are no histories to show. "
            "Read the table predictions."
        )
    wanted = [typed_id(user, settings.keys.user_id, "user") for user in users]
    history = readers.existing("user_history", made_by=typed("ingest --events FILE"))
    histories = _rows(history, wanted)
    if missing := [user for user in wanted if user not in histories]:
        listed = ", ".join(map(repr, missing[:_MOST]))
        more = f" and {len(missing) - _MOST} more" if len(missing) > _MOST else ""
        is_not = "is not" if len(missing) == 1 else "are not"
        raise InputError(f"user {listed}{more} {is_not} in user_history.{_examples(history)}")
    target = readers.table(RECOMMENDATIONS)
    lists = _rows(target, wanted) if target.exists() else {}
    ids = {item for row in histories.values() for item in row["item_ids"]}
    ids |= {item["item_id"] for row in lists.values() for item in row[RECOMMENDATIONS]}
    titles = titles_of(readers.table("items"), ids)
    return [_view(user, histories[user], lists.get(user), titles, recent) for user in wanted]


def _rows(table: TableReader, users: Sequence[Any]) -> dict[Any, Any]:
    return {row[USER_ID]: row for row in records(table.rows(where={USER_ID: users}))}


def _examples(history: TableReader) -> str:
    begun = next((batch for batch in history.batches([USER_ID]) if batch.num_rows), None)
    some = [] if begun is None else begun[0].slice(0, 5).to_pylist()
    return f" Some that are: {', '.join(map(str, some))}." if some else " The table is empty."


def titles_of(items: TableReader, ids: Collection[Any]) -> dict[Any, str]:
    """What the items of these ids are called; of those that the catalogue has."""
    if not items.exists():
        return {}
    return {row["item_id"]: row["title"] for row in records(items.rows(["item_id", "title"], {"item_id": ids}))}


def _view(user: Any, history: Any, made: Any, titles: dict[Any, str], recent: int) -> UserView:
    newest = list(zip(history["item_ids"], history["weights"], history["event_times"], strict=True))[-recent:]
    watched = [Line(item, titles.get(item), weight, at) for item, weight, at in reversed(newest)]
    if made is None:
        return UserView(user, watched, None, None)
    lines = [Line(item["item_id"], titles.get(item["item_id"]), item["score"]) for item in made[RECOMMENDATIONS]]
    return UserView(user, watched, lines, f"{made['source']}, {made['model_name']} version {made['model_version']}")
