"""Lists of recommendations, now against before. Plain functions of Arrow tables; read nothing, know no title.

A table of lists has `user_id, item_ids, scores`, each user once; lists are best first.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scoreline.operations.report.facts import Histogram, ItemShare, ListChanges, Part
from scoreline.scoring.arrow_lists import repeated_shares

Counts = Mapping[Any, int]  # of items
_BINS = 28
_TOP, _MOVED, _GENRES = 12, 6, 14
_TIERS = ((0.01, "most watched 1 %"), (0.1, "next 9 %"), (0.5, "next 40 %"), (1.0, "other half"))


def counted(lists: pa.ChunkedArray | pa.Array) -> dict[Any, int]:
    """How often each item is in the lists."""
    found = pc.value_counts(pc.list_flatten(lists))
    if isinstance(found, pa.ChunkedArray):
        found = found.combine_chunks()
    return dict(zip(found.field("values").to_pylist(), found.field("counts").to_pylist(), strict=True))


def compare_lists(
    new: pa.Table, old: pa.Table, *, of: int, watched: Counts, genres: Mapping[Any, Sequence[str]], catalogue: Counts
) -> ListChanges:
    """What changed between two tables of lists.

    of: users in the whole run. watched: events of each item in these users' histories. genres: of the items that are
    watched or recommended; catalogue: how many items have each.
    """
    both, shares = repeated_shares(new, old)
    now, before = counted(new["item_ids"]), counted(old["item_ids"])
    ranked, ranked_before = _ranked(now), _ranked(before)

    def share(item: Any) -> ItemShare:
        return ItemShare(
            item,
            now.get(item, 0) / max(new.num_rows, 1),
            before.get(item, 0) / max(old.num_rows, 1),
            ranked.get(item),
            ranked_before.get(item),
        )

    came = [item for item in ranked if item not in before] if old.num_rows else []
    went = [item for item in ranked_before if item not in now]
    return ListChanges(
        users=new.num_rows,
        of=of,
        replaced=int(both.sum()),
        overlap=_overlaps(shares) if len(shares) else None,
        repeated=float(shares.mean()) if len(shares) else None,
        same=int((shares == 1).sum()),
        other=int((shares == 0).sum()),
        scores=scores_of(_flat(new["scores"]), _flat(old["scores"])),
        lengths=_lengths(new, old),
        items=len(now),
        items_before=len(before),
        top=tuple(share(item) for item in list(ranked)[:_TOP]),
        came_count=len(came),
        came=tuple(share(item) for item in came[:_MOVED]),
        went_count=len(went),
        went=tuple(share(item) for item in went[:_MOVED]),
        popularity=_popularity(watched, now, before if old.num_rows else None),
        genres=_genres(watched, now, before if old.num_rows else None, genres, catalogue),
    )


def scores_of(now: npt.NDArray[Any], before: npt.NDArray[Any]) -> Histogram | None:
    """Both distributions between the same edges, all but the outermost half percent of which are as wide.

    What lies outside is in the first and in the last. None without a finite number.
    """
    now, before = now[np.isfinite(now)], before[np.isfinite(before)]
    together = np.concatenate([now, before])
    if not len(together):
        return None
    low, high = np.quantile(together, [0.005, 0.995])
    if low == high:
        low, high = float(together.min()), float(together.max())
    if low == high:
        low, high = low - 0.5, high + 0.5
    edges = np.linspace(low, high, _BINS + 1)
    counts = [np.histogram(np.clip(values, low, high), edges)[0] for values in (now, before)]
    return Histogram(_floats(edges), _ints(counts[0]), _ints(counts[1]) if len(before) else None)


def _overlaps(shares: npt.NDArray[Any]) -> Histogram:
    edges = np.linspace(0, 1, 11)
    return Histogram(_floats(edges), _ints(np.histogram(shares, edges)[0]))


def _lengths(new: pa.Table, old: pa.Table) -> tuple[tuple[int, int, int], ...]:
    now, before = (
        {row["values"]: row["counts"] for row in pc.value_counts(pc.list_value_length(t["item_ids"])).to_pylist()}
        for t in (new, old)
    )
    return tuple((n, now.get(n, 0), before.get(n, 0)) for n in sorted({*now, *before} - {None}))


def _ranked(counts: Counts) -> dict[Any, int]:
    """Items with their rank, most frequent first, ties by id."""
    ordered = sorted(counts, key=lambda item: (-counts[item], item))
    return {item: rank for rank, item in enumerate(ordered, start=1)}


def _popularity(watched: Counts, now: Counts, before: Counts | None) -> tuple[Part, ...]:
    """Items by how much they are watched, most first, cut at shares of the items; last those that nobody here has."""
    ordered = list(_ranked(watched))
    if not ordered:
        return ()
    parts, start = [], 0
    for share, name in _TIERS:
        end = max(start, math.ceil(share * len(ordered)))
        parts.append(_part(name, ordered[start:end], watched, now, before))
        start = end
    others = [item for item in {*now, *(before or {})} if item not in watched]
    return (*parts, _part("not watched by them", others, watched, now, before))


def _genres(
    watched: Counts, now: Counts, before: Counts | None, genres: Mapping[Any, Sequence[str]], catalogue: Counts
) -> tuple[Part, ...]:
    """The largest genres of the catalogue; an item counts in each of its genres."""
    members: dict[str, list[Any]] = {}
    for item, names in genres.items():
        for name in names:
            members.setdefault(name, []).append(item)
    largest = sorted(catalogue, key=lambda name: (-catalogue[name], name))[:_GENRES]
    return tuple(_part(name, members.get(name, []), watched, now, before, items=catalogue[name]) for name in largest)


def _part(
    name: str, of: Iterable[Any], watched: Counts, now: Counts, before: Counts | None, *, items: int | None = None
) -> Part:
    inside = list(of)

    def share(counts: Counts) -> float:
        return sum(counts.get(item, 0) for item in inside) / max(sum(counts.values()), 1)

    different = sum(item in now for item in inside)
    size = len(inside) if items is None else items
    return Part(name, size, different, share(watched), share(now), None if before is None else share(before))


def _flat(lists: pa.ChunkedArray) -> npt.NDArray[Any]:
    return pc.list_flatten(lists).drop_null().to_numpy()  # type: ignore[no-any-return]


def _floats(values: npt.NDArray[Any]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)


def _ints(values: npt.NDArray[Any]) -> tuple[int, ...]:
    return tuple(int(value) for value in values)
