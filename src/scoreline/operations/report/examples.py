"""The users that a page shows: three at random, the most and the least changed, a cold one, the longest histories."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pyarrow as pa

from scoreline.operations.report.facts import Example, Listed, Watched
from scoreline.operations.report.sample import drawn
from scoreline.scoring.arrow_lists import repeated_shares
from scoreline.tables.names import BUCKET, USER_ID
from scoreline.tables.reading import TableReader, records

_RANDOM, _CHANGED, _LONGEST = 3, 2, 2
_RECENT = 10


def choose_listed(new: pa.Table, old: pa.Table, lengths: Mapping[Any, int], *, seed: str) -> tuple[Example, ...]:
    """At most ten users of `new`, each once, with both lists; the same for the same `seed` and tables.

    lengths: items in each user's history. Ties by user id.
    """
    both, shares = repeated_shares(new, old)
    users = new[USER_ID].to_pylist()
    repeated = {users[place]: float(share) for place, share in zip(np.flatnonzero(both), shares, strict=True)}
    why: dict[Any, str] = {}

    def take(ordered: Sequence[Any], number: int, reason: str) -> None:
        for user in [user for user in ordered if user not in why][:number]:
            why[user] = reason

    sources = dict(zip(users, new["source"].to_pylist(), strict=True))
    take(sorted(repeated, key=lambda user: repeated[user]), _CHANGED, "most changed")
    take(sorted(repeated, key=lambda user: -repeated[user]), _CHANGED, "least changed")
    cold = [user for user in users if sources[user] == "fallback"] or users
    take(sorted(cold, key=lambda user: lengths.get(user, 0)), 1, "cold")
    take(sorted(users, key=lambda user: -lengths.get(user, 0)), _LONGEST, "longest history")
    rest = [user for user in users if user not in why]
    take(drawn(rest, _RANDOM, seed) if rest else [], _RANDOM, "at random")
    now, before = _lists(new, why), _lists(old, why)
    return tuple(
        Example(
            user,
            why[user],
            sources[user],
            events=lengths.get(user),
            now=_with_ranks(now[user], before.get(user, ())),
            before=_with_ranks(before[user], now[user]) if user in before else None,
            repeated=repeated.get(user),
        )
        for user in sorted(why, key=lambda user: _ORDER.index(why[user]))
    )


_ORDER = ("at random", "most changed", "least changed", "cold", "longest history")


def choose_scored(new: pa.Table, old: pa.Table, names: Sequence[str], *, seed: str) -> tuple[Example, ...]:
    """At most ten users at random, with the outputs `names`: now and before."""
    users = new[USER_ID].to_pylist()
    chosen = drawn(users, 10, seed)
    now, before = (_outputs(table, names, chosen) for table in (new, old))
    nothing: dict[str, object] = dict.fromkeys(names)
    return tuple(
        Example(user, "at random", None, outputs={n: (now[user][n], before.get(user, nothing)[n]) for n in names})
        for user in chosen
    )


def histories_of(
    chosen: Sequence[Example], history: TableReader, buckets: Sequence[int], version: int | None
) -> tuple[Example, ...]:
    """The same users with the newest items of their histories."""
    columns = [USER_ID, "item_ids", "event_times"]
    users: list[Any] = [example.user_id for example in chosen]
    rows = records(history.rows(columns, {USER_ID: users, BUCKET: buckets}, version))
    newest = {
        row[USER_ID]: tuple(
            Watched(item, at)
            for item, at in reversed(list(zip(row["item_ids"], row["event_times"], strict=True))[-_RECENT:])
        )
        for row in rows
    }
    return tuple(replace(example, history=newest.get(example.user_id, ())) for example in chosen)


def _lists(table: pa.Table, users: Mapping[Any, str]) -> dict[Any, list[tuple[Any, float]]]:
    places = [place for place, user in enumerate(table[USER_ID].to_pylist()) if user in users]
    rows = table.take(pa.array(places, pa.int64())).to_pylist()
    return {row[USER_ID]: list(zip(row["item_ids"], row["scores"], strict=True)) for row in rows}


def _with_ranks(items: Sequence[tuple[Any, float]], others: Sequence[tuple[Any, float]]) -> tuple[Listed, ...]:
    ranks = {item: rank for rank, (item, _) in enumerate(others, start=1)}
    return tuple(Listed(item, score, ranks.get(item)) for item, score in items)


def _outputs(table: pa.Table, names: Sequence[str], users: Sequence[Any]) -> dict[Any, dict[str, object]]:
    places = {user: place for place, user in enumerate(table[USER_ID].to_pylist())}
    rows = {user: table.slice(places[user], 1).to_pylist()[0] for user in users if user in places}
    return {user: {name: row[name] for name in names} for user, row in rows.items()}
