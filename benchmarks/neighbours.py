"""Item neighbours against implicit's item-item `recommend`: the same neighbours, histories and K, one thread, in turn.

    python benchmarks/neighbours.py [DATA/ratings.dat] [--peers .venv-peers/bin/python] [--rounds 5]

Generated histories (29,858 users x 40,981 items, 26 events each; an item's number says nothing of its popularity,
unless `--by-popularity`), or MovieTweetings'. Each round is a process of either: all users once unmeasured, then
three times, the least of them kept; the median of the rounds' ratios is said. Scores are compared, to 1e-5.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp

import workload

K = 20
BATCH = 4_000
CATALOGUE = workload.Size(29_858, 40_981, 418_000)  # which is 761,000: each user has twenty at least
Found = tuple[np.ndarray, np.ndarray]


def prepare(folder: Path, ratings: Path | None, *, by_popularity: bool) -> None:
    """A model of ours, the histories, and what each event counts, as both are given them."""
    from scoreline.models.histories import Histories
    from scoreline.models.item_neighbours import ItemNeighbours
    from scoreline.models.weighting import history_strength

    events = workload.interactions(CATALOGUE) if ratings is None else tweeted(ratings)
    if ratings is None and not by_popularity:
        events.indices = np.random.default_rng(1).permutation(events.shape[1]).astype(np.int32)[events.indices]
        events.has_sorted_indices = False
    events.sort_indices()
    model = ItemNeighbours().fit(events)
    histories = Histories(events.indptr.astype(np.int64), events.indices.astype(np.int32), events.data)
    half_life = model.history_half_life
    counts = history_strength(histories, min_weight=None, weighting="binary", half_life=half_life)
    np.savez(folder / "model.npz", **model.arrays())
    sp.save_npz(folder / "events.npz", sp.csr_matrix((counts, events.indices, events.indptr), events.shape))


def tweeted(path: Path) -> sp.csr_matrix:
    """MovieTweetings: user::item::rating::second; a history is in the order of its items."""
    rows = np.array([line.split("::")[:2] for line in path.read_text(encoding="utf-8").splitlines()])
    users, items = (np.unique(rows[:, column], return_inverse=True)[1] for column in (0, 1))
    found = sp.coo_matrix((np.ones(len(users), np.float32), (users, items))).tocsr()
    found.data[:] = 1
    return found


def ours(folder: Path) -> "tuple[sp.csr_matrix, object]":
    from scoreline.models.histories import Histories
    from scoreline.models.item_neighbours import ItemNeighbours

    events = sp.load_npz(folder / "events.npz")
    model = ItemNeighbours.from_arrays(dict(np.load(folder / "model.npz")))
    offsets, items = events.indptr.astype(np.int64), events.indices.astype(np.int32)
    histories = Histories(offsets, items, np.ones(len(items), np.float32))

    def recommend(first: int, last: int) -> Found:
        lists = model.recommend(histories.slice(first, last), k=K)
        scores = np.zeros((last - first, K), np.float32)
        places = np.arange(len(lists.items)) - np.repeat(lists.offsets[:-1], lists.lengths)
        scores[np.repeat(np.arange(last - first), lists.lengths), places] = np.maximum(lists.scores, 0)
        return scores, scores

    return events, recommend


def implicit(folder: Path) -> "tuple[sp.csr_matrix, object]":
    """Our similarities in implicit's recommender: in float64, as it has them."""
    from implicit.nearest_neighbours import ItemItemRecommender, NearestNeighboursScorer

    events, arrays = sp.load_npz(folder / "events.npz").astype(np.float64), np.load(folder / "model.npz")
    near, similar = arrays["neighbours"], arrays["similarities"].astype(np.float64)
    kept = near < len(near)
    starts = np.append(0, np.cumsum(kept.sum(axis=1)))
    model = ItemItemRecommender(K=near.shape[1], num_threads=1)
    model.similarity = sp.csr_matrix((similar[kept], near[kept], starts), (len(near), len(near)))
    model.scorer = NearestNeighboursScorer(model.similarity)

    def recommend(first: int, last: int) -> Found:
        ids, scores = model.recommend(np.arange(first, last), events[first:last], N=K, filter_already_liked_items=True)
        return ids, np.maximum(scores, 0)

    return events, recommend


def timed(folder: Path, name: str) -> None:
    """CPU and wall microseconds a user, and the scores of all lists."""
    events, recommend = {"ours": ours, "implicit": implicit}[name](folder)
    count, spent = events.shape[0], []
    for _ in range(4):
        cpu, wall, scores = time.process_time(), time.perf_counter(), []
        for first in range(0, count, BATCH):
            scores.append(recommend(first, min(first + BATCH, count))[1])
        spent.append(((time.process_time() - cpu) / count * 1e6, (time.perf_counter() - wall) / count * 1e6))
    np.save(folder / f"{name}.npy", np.concatenate(scores))
    print(json.dumps([min(part) for part in zip(*spent[1:], strict=True)]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ratings", type=Path, nargs="?")
    parser.add_argument("--by-popularity", action="store_true")
    parser.add_argument("--peers", default=str(Path(__file__).parents[1] / ".venv-peers" / "bin" / "python"))
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    environment = os.environ | {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}
    with tempfile.TemporaryDirectory() as scratch:
        prepare(Path(scratch), given.ratings, by_popularity=given.by_popularity)
        rounds = []
        for _ in range(given.rounds):
            figures = []
            for name, python in (("ours", sys.executable), ("implicit", given.peers)):
                command = [python, __file__, "--timed", scratch, name]
                done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True)
                figures.append(json.loads(done.stdout.splitlines()[-1]))
            rounds.append(figures)
            (cpu, wall), (other_cpu, other_wall) = figures
            print(f"ours {cpu:.1f} us CPU, {wall:.1f} wall; implicit {other_cpu:.1f}, {other_wall:.1f}", flush=True)
        np.testing.assert_allclose(*(np.load(Path(scratch, f"{n}.npy")) for n in ("ours", "implicit")), rtol=1e-5)
    for place, name in enumerate(("CPU", "wall")):
        ratios = [other[place] / own[place] for own, other in rounds]
        print(f"implicit / ours, {name}: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--timed"]:
        timed(Path(sys.argv[2]), sys.argv[3])
    else:
        main()
