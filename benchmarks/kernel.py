"""The top-K kernel against its peers and its limit: CPU microseconds per user, one thread, a process each.

    python benchmarks/kernel.py [--quick] [--peer-python PYTHON] [--work FOLDER]

Work: the 20 best unseen items of 64 factors for users of MovieLens-25M's shape (162,541 users x 59,047 items,
24.9 M events, generated; --quick: a tenth). Factors: implicit's ALS trained on those events where `implicit`
is installed (in the interpreter given by --peer-python), else norms by power law; PureSVD; and normalised
ALS, whose flat norms leave nothing to skip. Peers: naive (argpartition of -scores, 1,024 users at once), gemm
(all scores in cache-sized blocks and nothing else: what brute force cannot be faster than), implicit's `topk`
with filter, ours. The lists of the first 5,000 users are compared with float64 brute force. Each figure is
the best of three passes.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

RANK, K = 64, 20
FULL = {"users": 162_541, "items": 59_047, "events": 24_900_000, "timed": 32_768, "checked": 5_000}
QUICK = {"users": 16_254, "items": 10_000, "events": 2_490_000, "timed": 8_192, "checked": 1_000}
FACTORS = ("als", "svd", "normalised")
KERNELS = ("naive", "gemm", "implicit", "ours")
ONE_THREAD = {f"{name}_NUM_THREADS": "1" for name in ("OPENBLAS", "OMP", "MKL")}


def generate(shape: dict[str, int]) -> sp.csr_matrix:
    """Events with lognormal activity and power-law popularity; 60 % of a user's follow a few of 30 tastes."""
    rng = np.random.default_rng(0)
    users, items = shape["users"], shape["items"]
    activity = np.exp(rng.normal(0, 1.2, users))
    wanted = np.clip(activity / activity.sum() * shape["events"] * 1.25, 20, items // 4).astype(np.int64)
    popularity = (np.arange(items) + 20.0) ** -1.1
    group = rng.integers(0, 30, items)
    tastes = rng.dirichlet(np.full(30, 0.15), users).cumsum(axis=1)
    members = [np.flatnonzero(group == g) for g in range(30)]
    shares = [np.cumsum(popularity[m]) / popularity[m].sum() for m in members]
    anywhere = np.cumsum(popularity) / popularity.sum()
    keys = []
    for first in range(0, users, 4096):
        row = np.repeat(np.arange(first, min(first + 4096, users)), wanted[first : first + 4096])
        item = np.searchsorted(anywhere, rng.random(len(row)))
        tasteful = np.flatnonzero(rng.random(len(row)) < 0.6)
        chosen = (tastes[row[tasteful]] < rng.random(len(tasteful))[:, None]).sum(axis=1).clip(0, 29)
        for g in range(30):
            own = tasteful[chosen == g]
            place = np.searchsorted(shares[g], rng.random(len(own))).clip(0, len(members[g]) - 1)
            item[own] = members[g][place]
        keys.append(np.unique(row * items + np.minimum(item, items - 1)))
    key = np.concatenate(keys)
    ones = np.ones(len(key), np.float32)
    return sp.csr_matrix((ones, (key // items, key % items)), shape=(users, items))


def make_factors(work: Path, shape: dict[str, int]) -> str:
    """Write users' and items' factors of each kind; says where the ALS ones come from."""
    events = sp.load_npz(work / "events.npz")
    try:
        import implicit

        train = implicit.als.AlternatingLeastSquares
        model = train(factors=RANK, iterations=5, random_state=0, num_threads=2)
        model.fit(events, show_progress=False)
        users, items, origin = model.user_factors, model.item_factors, f"implicit {implicit.__version__}"
    except ImportError:
        rng = np.random.default_rng(0)
        norms = (np.arange(events.shape[1]) + 1.0) ** -0.6
        items = rng.normal(size=(events.shape[1], RANK)) * norms[:, None]
        users, origin = events @ items, "generated, norms by power law"
    _save(work, "als", users, items)
    lengths = np.maximum(np.linalg.norm(items, axis=1, keepdims=True), 1e-12)
    _save(work, "normalised", users, items / lengths)
    sketch = np.random.default_rng(1).normal(size=(events.shape[1], RANK + 16)).astype(np.float32)
    for _ in range(4):  # randomised subspace iteration
        sketch = np.linalg.qr(events.T @ (events @ sketch))[0].astype(np.float32)
    _, _, right = np.linalg.svd(np.linalg.qr(events @ sketch)[1] @ np.eye(RANK + 16), full_matrices=False)
    vectors = (sketch @ right.T)[:, :RANK]
    _save(work, "svd", events @ vectors, vectors)
    return origin


def _save(work: Path, kind: str, users: np.ndarray, items: np.ndarray) -> None:
    np.save(work / f"{kind}_users.npy", np.asarray(users, np.float32))
    np.save(work / f"{kind}_items.npy", np.asarray(items, np.float32))


def naive(users: np.ndarray, items: np.ndarray, seen: sp.csr_matrix) -> np.ndarray:
    """As it is usually written."""
    lists = []
    for first in range(0, len(users), 1024):
        scores = users[first : first + 1024] @ items.T
        part = seen[first : first + 1024]
        scores[np.repeat(np.arange(len(scores)), np.diff(part.indptr)), part.indices] = -np.inf
        best = np.argpartition(-scores, K, axis=1)[:, :K]
        order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
        lists.append(np.take_along_axis(best, order, axis=1))
    return np.concatenate(lists)


def gemm(users: np.ndarray, items: np.ndarray, seen: sp.csr_matrix) -> None:
    """All scores, block by block, and nothing else."""
    cells = np.empty(256 * 2048, np.float32)
    for first in range(0, len(users), 256):
        block = users[first : first + 256]
        for start in range(0, len(items), 2048):
            tile = items[start : start + 2048].T
            out = cells[: len(block) * tile.shape[1]].reshape(len(block), -1)
            np.matmul(block, tile, out=out)


def peer(users: np.ndarray, items: np.ndarray, seen: sp.csr_matrix) -> np.ndarray:
    """What implicit's `recommend` calls, with its filter of seen items."""
    from implicit.cpu.topk import topk

    return np.asarray(topk(items, users, K, filter_query_items=seen, num_threads=1)[0])


def ours(users: np.ndarray, items: np.ndarray, seen: sp.csr_matrix) -> Callable[[], np.ndarray]:
    """Items are sorted once, when a model is saved; what is timed is scoring."""
    from scoreline.models.factor_search import best_items
    from scoreline.models.norm_sorted import NormSortedItems

    prepared = NormSortedItems.from_factors(items)
    offsets = seen.indptr.astype(np.int64)

    def score() -> np.ndarray:
        found = best_items(prepared, users, seen_offsets=offsets, seen_items=seen.indices, k=K)
        return found.items.reshape(-1, K)

    return score


def measure(work: Path, kernel: str, kind: str, timed: int) -> dict[str, Any]:
    """One kernel in this process; slow ones take fewer users, three passes each."""
    pick = np.random.default_rng(2).permutation(len(np.load(work / f"{kind}_users.npy", mmap_mode="r")))
    pick = pick[: {"naive": 1024, "gemm": 4096}.get(kernel, timed)]
    users = np.load(work / f"{kind}_users.npy", mmap_mode="r")[pick]
    items = np.load(work / f"{kind}_items.npy")
    seen = sp.load_npz(work / "events.npz")[pick]
    call = {"naive": naive, "gemm": gemm, "implicit": peer}.get(kernel)
    run = ours(users, items, seen) if call is None else lambda: call(users, items, seen)
    spent = []
    for _ in range(3):
        started = time.process_time()
        found = run()
        spent.append((time.process_time() - started) / len(pick) * 1e6)
    if kernel != "gemm":
        np.save(work / f"lists_{kernel}_{kind}.npy", found)
    return {"us": min(spent), "users": len(pick)}


def wrong_lists(work: Path, kernel: str, kind: str, checked: int) -> tuple[int, int]:
    """How many of the first lists differ from float64 brute force with ties by item; and of how many."""
    found = np.load(work / f"lists_{kernel}_{kind}.npy")[:checked]
    everyone = np.load(work / f"{kind}_users.npy", mmap_mode="r")
    pick = np.random.default_rng(2).permutation(len(everyone))[: len(found)]
    items = np.load(work / f"{kind}_items.npy").astype(np.float64)
    seen = sp.load_npz(work / "events.npz")[pick]
    wrong = 0
    for first in range(0, len(pick), 256):
        scores = everyone[pick[first : first + 256]].astype(np.float64) @ items.T
        part = seen[first : first + 256]
        scores[np.repeat(np.arange(len(scores)), np.diff(part.indptr)), part.indices] = -np.inf
        bound = np.partition(scores, scores.shape[1] - K, axis=1)[:, -K]
        for row, own, low in zip(scores, found[first : first + 256], bound, strict=True):
            best = np.flatnonzero(row >= low)
            best = best[np.lexsort((best, -row[best]))][:K]
            wrong += not np.array_equal(best, own)
    return wrong, len(pick)


def child(python: str, work: Path, *arguments: str) -> Any:
    """Run one step of this file in a process of its own, with one thread, and read what it prints."""
    environment = {key: value for key, value in os.environ.items() if not key.startswith("OPENBLAS_")}
    command = [python, __file__, "--work", str(work), "--step", *arguments]
    environment |= ONE_THREAD
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    return json.loads(done.stdout.splitlines()[-1]) if done.returncode == 0 else None


def report(asked: argparse.Namespace, shape: dict[str, int]) -> None:
    """Generate what is missing, run every kernel, print the table."""
    asked.work.mkdir(parents=True, exist_ok=True)
    if not (asked.work / "events.npz").exists():
        sp.save_npz(asked.work / "events.npz", generate(shape), compressed=False)
    if not (asked.work / "origin.json").exists():
        python = asked.peer_python or sys.executable
        (asked.work / "origin.json").write_text(json.dumps(child(python, asked.work, "factors")))
    events = sp.load_npz(asked.work / "events.npz")
    origin = json.loads((asked.work / "origin.json").read_text())
    print(f"{events.shape[0]:,} users x {events.shape[1]:,} items, {events.nnz:,} events; ALS: {origin}")
    print(f"{'factors':<12}{'kernel':<10}{'CPU us/user':>12}{'ours is x faster':>18}{'wrong lists':>18}")
    for kind in FACTORS:
        found = {}
        for kernel in KERNELS:
            python = (asked.peer_python or sys.executable) if kernel == "implicit" else sys.executable
            found[kernel] = child(python, asked.work, "measure", kernel, kind, str(shape["timed"]))
        for kernel in KERNELS:
            if found[kernel] is None:
                print(f"{kind:<12}{kernel:<10}{'not here':>12}")
                continue
            checked = ""
            if kernel != "gemm":
                wrong, total = wrong_lists(asked.work, kernel, kind, shape["checked"])
                checked = f"{wrong} of {total:,}"
            ratio = found[kernel]["us"] / found["ours"]["us"]
            spent = f"{found[kernel]['us']:>12.1f}"
            print(f"{kind:<12}{kernel:<10}{spent}{ratio:>18.2f}{checked:>18}", flush=True)


def main() -> None:
    raw = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=raw)
    parser.add_argument("--quick", action="store_true", help="a tenth of the size")
    parser.add_argument("--peer-python", help="an interpreter with `implicit` installed")
    parser.add_argument("--work", type=Path, default=None, help="where generated data is kept between runs")
    parser.add_argument("--step", nargs="*", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    asked.work = asked.work or Path("/tmp/scoreline-kernel-quick" if asked.quick else "/tmp/scoreline-kernel")
    if not asked.step:
        report(asked, QUICK if asked.quick else FULL)
    elif asked.step[0] == "factors":
        print(json.dumps(make_factors(asked.work, {})))
    else:
        print(json.dumps(measure(asked.work, asked.step[1], asked.step[2], int(asked.step[3]))))


if __name__ == "__main__":
    main()
