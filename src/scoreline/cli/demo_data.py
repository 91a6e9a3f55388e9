"""A believable streaming service: a catalogue with titles and genres, users with tastes, a year of events.

Popularity follows a power law (Zipf, exponent 0.8) and history lengths a log-normal; each user mixes a few of the
latent themes, which genres show only in part. Same arguments, same files.
"""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

GENRES = (
    "Crime",
    "Comedy",
    "Drama",
    "Science Fiction",
    "Romance",
    "Documentary",
    "Horror",
    "Adventure",
    "Family",
    "War",
)
_HEADS = {
    "Crime": ("The Last Witness", "Cold Harbour", "A Quiet Alibi", "The Ninth Informer", "Night Ledger"),
    "Comedy": (
        "My Cousin's Boat",
        "Half a Wedding",
        "The Wrong Suitcase",
        "Neighbours, Again",
        "Best Man Down",
    ),
    "Drama": ("The Orchard", "What We Owe", "A House by the Rails", "Winter Letters", "The Long Table"),
    "Science Fiction": (
        "Orbit of Glass",
        "The Second Moon",
        "Signal Lost",
        "Europa Station",
        "Tomorrow's Engine",
    ),
    "Romance": ("Letters to Lisbon", "Under One Umbrella", "The Slow Train", "Paper Lanterns", "Almost June"),
    "Documentary": ("Salt", "The Bee Year", "Deep Water", "Hands at Work", "City of Bridges"),
    "Horror": ("The Cellar Door", "It Counts to Nine", "Pale Garden", "Do Not Answer", "The Hollow Hour"),
    "Adventure": ("The Copper Map", "Across the Ice", "River of Stars", "The Cartographer", "Seven Sails"),
    "Family": (
        "The Clockwork Fox",
        "Grandpa's Rocket",
        "A Dragon Next Door",
        "Tilly and the Tide",
        "The Snow Parade",
    ),
    "War": ("The Far Shore", "Letters from the Line", "Bridge at Dawn", "The Quiet Front", "No Medals"),
}
_TAILS = (
    "",
    " II",
    " Returns",
    ": The Beginning",
    ": A New Season",
    " at Midnight",
    " in Winter",
    ": Homecoming",
    " Revisited",
)
KINDS = ("play", "finish", "like")


@dataclass(frozen=True)
class Service:
    """How large the service is and where its year ends."""

    users: int = 3_000
    items: int = 1_200
    themes: int = 24
    mean_events: float = 40.0
    end: datetime = datetime(2026, 6, 30, tzinfo=UTC)
    seed: int = 7


def write_service(folder: Path, service: Service) -> tuple[Path, Path]:
    """Write `events.csv` (`user,item,kind,at`) and `items.csv` (`item,title,genres`) into `folder`; returns both."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(service.seed)
    genre_of, affinity = _items(service, random)
    items = folder / "items.csv"
    pa.csv.write_csv(_catalogue(service, genre_of, random), items)
    events = folder / "events.csv"
    pa.csv.write_csv(_events(service, affinity, random), events)
    return events, items


def write_more_events(folder: Path, service: Service, *, share: float) -> Path:
    """A day later: new events of a `share` of the users, in `events-next-day.csv`."""
    random = np.random.default_rng(service.seed + 1)
    users = np.sort(random.choice(service.users, max(1, int(service.users * share)), replace=False)) + 1
    items = random.integers(1, service.items + 1, len(users))
    at = [service.end + timedelta(hours=12, seconds=int(s)) for s in random.integers(0, 3600, len(users))]
    path = folder / "events-next-day.csv"
    pa.csv.write_csv(_event_table(users, items, random.integers(0, 3, len(users)), at), path)
    return path


def _items(service: Service, random: np.random.Generator) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64]]:
    """Genre of each item (index), and themes x items affinities: an item belongs to two themes, a theme to genres."""
    popularity = 1.0 / np.arange(1, service.items + 1) ** 0.8
    popularity = popularity[random.permutation(service.items)]
    belongs = np.full((service.themes, service.items), 0.002)
    themes = random.integers(0, service.themes, (2, service.items))
    belongs[themes[0], np.arange(service.items)] = 1.0
    belongs[themes[1], np.arange(service.items)] = 0.4
    genre_of = (themes[0] + random.integers(0, 2, service.items)) % len(GENRES)
    weights = popularity * belongs
    return genre_of, weights / weights.sum(axis=1, keepdims=True)


def _catalogue(service: Service, genre_of: npt.NDArray[np.int64], random: np.random.Generator) -> pa.Table:
    titles, genres, seen = [], [], dict.fromkeys(GENRES, 0)
    for genre in (GENRES[g] for g in genre_of):
        heads = _HEADS[genre]
        turn = seen[genre]
        seen[genre] += 1
        part = turn // (len(heads) * len(_TAILS))
        title = (
            heads[turn % len(heads)]
            + _TAILS[turn // len(heads) % len(_TAILS)]
            + (f" (Part {part + 1})" if part else "")
        )
        titles.append(title)
        second = GENRES[int(random.integers(0, len(GENRES)))]
        genres.append(genre if second == genre else f"{genre}|{second}")
    return pa.table({"item": pa.array(range(1, service.items + 1)), "title": titles, "genres": genres})


def _events(service: Service, affinity: npt.NDArray[np.float64], random: np.random.Generator) -> pa.Table:
    taste = random.dirichlet(np.full(service.themes, 0.08), service.users)
    lengths = np.clip(random.lognormal(np.log(service.mean_events) - 0.5, 1.0, service.users), 2, service.items // 3)
    users, items, when = [], [], []
    year = 365 * 86_400
    for user in range(service.users):
        chosen = random.choice(service.items, int(lengths[user]), replace=False, p=taste[user] @ affinity)
        # people join at some moment and then watch in evenings, some of them every day, some once a month
        joined = random.uniform(0, 0.8) * year
        days = np.sort(random.uniform(joined, year, len(chosen))) // 86_400
        seconds = days * 86_400 + random.normal(20.5, 1.5, len(chosen)).clip(0, 23.9) * 3_600
        users += [user + 1] * len(chosen)
        items += (chosen + 1).tolist()
        when += seconds.tolist()
    kinds = random.choice(3, len(users), p=(0.45, 0.4, 0.15))
    start = service.end - timedelta(seconds=year)
    return _event_table(users, items, kinds, [start + timedelta(seconds=int(s)) for s in when])


def _event_table(
    users: list[int] | npt.NDArray[np.int64],
    items: list[int] | npt.NDArray[np.int64],
    kinds: npt.NDArray[np.int64],
    at: list[datetime],
) -> pa.Table:
    moments = [moment.strftime("%Y-%m-%dT%H:%M:%SZ") for moment in at]
    return pa.table({"user": users, "item": items, "kind": [KINDS[k] for k in kinds], "at": moments})
