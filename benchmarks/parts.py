"""The parts of the benchmark: what each runs, and what it keeps as JSON. `suite.py` decides which of them to run."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import scipy.sparse as sp

import check
import engines
import kernel
import looking
import workload
from measure import Outcome
from places import Bench, PartFailed

Found = dict[str, Any]
K = 20
_FEW = 5_120
_TARGETS = ("-ours", "-mllib_correct", "-replay")


@dataclass(frozen=True)
class Part:
    """A named piece of the benchmark; `does` may raise PartFailed or NotHere."""

    name: str
    does: Callable[[Bench], Found]


@dataclass(frozen=True)
class Peer:
    """A whole job. `users`: sizes of subsets to run instead of everybody, two of them, to tell fixed cost apart."""

    key: str
    label: str
    module: str
    environment: str
    variant: str = ""
    users: tuple[int, ...] = (0,)
    limit: float = 600


def parts(bench: Bench) -> list[Part]:
    """All parts, those that the targets need first, since there is not always time for all."""
    small, large = bench.small, bench.large
    found = [Part(f"kernel-{kind}", lambda b, kind=kind: kernels(b, kind)) for kind in workload.KINDS]
    found += [_job(peer, large) for peer in peers(bench, large)]
    found += [Part(f"tabular-{kind}", lambda b, kind=kind: tabular(b, kind)) for kind in ("logistic", "trees")]
    others = [_job(peer, small) for peer in peers(bench, small)] if small != large else []
    found += [part for part in others if part.name.endswith(_TARGETS)]
    found += [Part("memory-workers", memory_workers), Part("quarter", quarter)]
    found += [
        Part("commands", commands),
        Part("embedded-shares", embedded_shares),
        Part("embedded-users", embedded_users),
    ]
    found += [Part("curve-points", points), Part("curve-shares", shares), Part("curve-users", users)]
    return [*found, Part("curve-workers", workers), *(part for part in others if not part.name.endswith(_TARGETS))]


def peers(bench: Bench, size: str) -> list[Peer]:
    """The whole jobs on a size; slow ones take subsets of the users, on small sizes those that are slow even there."""
    full = bench.mode == "full"
    some = ((_FEW, 4 * _FEW) if size == "L" else (0,)) if full else (_FEW,)
    found = [
        Peer("ours", "this project", "ours", "own", "run" if full else "short"),
        Peer("embedded", "this project, embedded engine", "ours", "own", "embedded"),
        Peer("implicit", "implicit, one process", "implicit", "peers"),
        Peer("polars_kernel", "Polars + our kernel, one process, no gates", "polars_kernel", "peers"),
        Peer("spark_udf", "spark_udf, usual code", "spark_udf", "own", "usual", some),
        Peer("polars", "Polars + NumPy, one process", "polars", "peers", users=some),
        Peer("faiss", "faiss IndexFlatIP + filter, one process", "faiss", "peers", users=some),
        Peer("limits", "bare read, write and GEMM", "limits", "own"),
    ]
    if size == "L":
        return [*found, Peer("spark_udf_kernel", "spark_udf, our kernel", "spark_udf", "own", "kernel")]
    two = (_FEW, 2 * _FEW) if full else (_FEW,)
    found += [
        Peer("mllib_correct", "MLlib recommendForUserSubset + anti-join, made correct", "mllib", "own", "correct", two),
    ]
    if bench.mode == "quick":
        return found
    found.append(Peer("mllib_as_is", "MLlib recommendForAllUsers + anti-join, as is", "mllib", "own", "as_is", (_FEW,)))
    return [*found, Peer("replay", "RePlay on Spark", "replay", "replay", "", two, limit=420)]


def _job(peer: Peer, size: str) -> Part:
    return Part(f"job-{size}-{peer.key}", lambda bench: whole_job(bench, peer, size))


def whole_job(bench: Bench, peer: Peer, size: str) -> Found:
    """Run a peer on everybody or on its subsets, and check the lists of each run."""
    folder = bench.workload(size)
    runs = []
    for users in peer.users:
        out = bench.scratch(f"{peer.key}-{size}")
        options = {"users": users, "variant": peer.variant}
        if peer.module == "ours":
            bench.peer("ours", "own", folder, out, variant="prepare", limit=peer.limit)
        outcome = bench.peer(peer.module, peer.environment, folder, out, limit=peer.limit, **options)
        if peer.variant == "embedded":
            bench.peer("ours", "own", folder, out, variant="lists", limit=peer.limit)
        runs.append(_kept(outcome))
        if peer.module != "limits":
            sample = min(bench.checked, outcome.found["users"])
            lists = out / outcome.found.get("lists", "pass-1")
            runs[-1]["verdicts"] = check.check_job(folder, lists, users=sample, k=K)
        shutil.rmtree(out, ignore_errors=True)
    return {"label": peer.label, "size": size, "everyone": workload.SIZES[size].users, "runs": runs}


def _kept(outcome: Outcome) -> Found:
    memory = {"peak_mib": outcome.peak_mib, "workers_mib": outcome.workers_mib, "workers": outcome.workers}
    return {**outcome.found, **memory, "cpu": outcome.cpu, "seconds": outcome.seconds}


def kernels(bench: Bench, kind: str) -> Found:
    """All kernels on one kind of factors, each in its own process, and their lists against brute force."""
    folder = bench.workload(bench.large, workload.KINDS)
    out = bench.scratch(f"kernel-{kind}")
    found: Found = {"size": bench.large, "rows": {}}
    for name in kernel.KERNELS:
        timed = {"naive": 1_024, "gemm": 4_096, "faiss": 1_024}.get(name, bench.timed)
        environment = "peers" if name in ("implicit", "faiss") else "own"
        if not bench.python(environment).exists():
            found["rows"][name] = {"absent": True}
            continue
        row = bench.step("kernel.py", environment, [folder, name, kind, timed, out], one_thread=True).found
        lists = out / f"kernel-{name}-{kind}.npy"
        found["rows"][name] = {**row, "verdicts": _verdicts(folder, kind, lists, bench.checked)}
    shutil.rmtree(out, ignore_errors=True)
    return found


def _verdicts(folder: Path, kind: str, path: Path, most: int) -> dict[str, int] | None:
    if not path.exists():
        return None
    lists = np.load(path)[:most]
    users = np.load(folder / f"{kind}_users.npy", mmap_mode="r")[: len(lists)].astype(np.float64)
    items = np.load(folder / f"{kind}_items.npy").astype(np.float64)
    seen = sp.load_npz(folder / "events.npz")[: len(lists)]
    return check.verdicts(users, items, seen, dict(enumerate(lists)), k=kernel.K)


def tabular(bench: Bench, kind: str) -> Found:
    """A scikit-learn model over a table, this project against spark_udf."""
    from peers.tabular import write_features

    rows = bench.pick(5_000_000, 100_000)
    folder = bench.work / f"features-{rows}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "features.parquet").exists():
        write_features(folder / "features.parquet", rows)
    found: Found = {"rows": rows}
    for way in ("ours", "embedded", "spark_udf", "bare")[: 3 if bench.mode == "quick" else None]:
        out = bench.scratch(f"tabular-{kind}-{way}")
        found[way] = _kept(bench.peer("tabular", "own", folder, out, variant=f"{kind}-{way}", limit=400))
        shutil.rmtree(out, ignore_errors=True)
    return found


def memory_workers(bench: Bench) -> Found:
    """Memory of the Python workers of one node with a model of 1 GB (quick: 100 MB): one worker, and eight."""
    items = bench.pick(4_000_000, 400_000)
    folder = bench.work / f"memory-{items}"
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "histories.parquet").exists():
        _large_model(folder, items)
    out = bench.scratch("memory")
    found: Found = {"model_mib": items * workload.RANK * 4 / 2**20}
    bench.peer("ours", "own", folder, out, variant="prepare", limit=400)
    for cores in (1, 8):
        shutil.rmtree(out / "tables" / "recommendations", ignore_errors=True)
        found[str(cores)] = _kept(bench.peer("ours", "own", folder, out, variant="first", cores=cores, limit=300))
    shutil.rmtree(out, ignore_errors=True)
    return found


def _large_model(folder: Path, items: int) -> None:
    dice = np.random.default_rng(0)
    norms = ((np.arange(items) + 1.0) ** -0.3).astype(np.float32)
    factors = dice.standard_normal((items, workload.RANK), np.float32)
    np.save(folder / "als_items.npy", factors * norms[:, None])
    users = 8_192
    seen = np.sort(dice.integers(1, items + 1, (users, 30)), axis=1)
    offsets = pa.array(np.arange(users + 1, dtype=np.int32) * 30)
    stamps = pa.array(np.arange(seen.size)).cast(pa.timestamp("us", "UTC"))
    columns = {
        "item_ids": pa.array(seen.ravel()),
        "weights": pa.array(np.ones(seen.size, np.float32)),
        "event_times": stamps,
    }
    lists = {name: pa.ListArray.from_arrays(offsets, values) for name, values in columns.items()}
    pq.write_table(pa.table({"user_id": pa.array(range(1, users + 1)), **lists}), folder / "histories.parquet")


def commands(bench: Bench) -> Found:
    """Commands on the demo's tables, each on both engines in turn: CPU and wall of whole processes."""
    turns = bench.pick(2, 1)
    return {**looking.both(turns), **engines.both(turns)}


def embedded_shares(bench: Bench) -> Found:
    """CPU of whole processes: runs of everybody, of one user and of 1 % of them, in turn, each after its ingest."""
    folder, out = bench.workload(bench.large), bench.scratch("embedded-shares")
    bench.peer("ours", "own", folder, out, variant="prepare", limit=400)
    bench.peer("ours", "own", folder, out, variant="embedded", limit=400)
    found: Found = {"all": [], "one": [], "share": []}
    for turn in range(bench.pick(3, 1)):
        for name, kept in found.items():
            if name != "all":
                bench.peer("ours", "own", folder, out, variant=f"embedded-news-{name}-{turn}", limit=400)
            variant = "embedded-all" if name == "all" else "embedded"
            kept.append(bench.peer("ours", "own", folder, out, variant=variant, limit=400).cpu)
    shutil.rmtree(out, ignore_errors=True)
    return found


def embedded_users(bench: Bench) -> Found:
    """CPU and wall of whole first runs over the number of users, on both engines."""
    everyone = workload.SIZES[bench.large].users
    found: Found = {"runs": []}
    for users in (everyone // 16, everyone // 4, everyone)[: bench.pick(3, 1)]:
        folder, row = bench.workload(bench.large), {"users": users}
        for variant in ("embedded", "whole"):
            out = bench.scratch(f"{variant}-{users}")
            bench.peer("ours", "own", folder, out, variant="prepare", users=users, limit=400)
            outcome = bench.peer("ours", "own", folder, out, variant=variant, users=users, limit=400)
            row[variant] = {"cpu": outcome.cpu, "wall": outcome.seconds, "peak_mib": outcome.peak_mib}
            shutil.rmtree(out, ignore_errors=True)
        found["runs"].append(row)
    return found


def quarter(bench: Bench) -> Found:
    """The same run for a quarter of the users: peak memory should not grow with them."""
    everyone = workload.SIZES[bench.large].users
    return _ours(bench, bench.large, "full", users=everyone // 4)


def _ours(bench: Bench, size: str, variant: str, *, users: int = 0, cores: int = 2) -> Found:
    folder, out = bench.workload(size), bench.scratch(f"ours-{variant}-{users}-{cores}")
    bench.peer("ours", "own", folder, out, variant="prepare", users=users, limit=400)
    found = _kept(bench.peer("ours", "own", folder, out, variant=variant, users=users, cores=cores, limit=400))
    shutil.rmtree(out, ignore_errors=True)
    return found


def points(bench: Bench) -> Found:
    """What a worker does with a batch, over items, history length and K."""
    folder = bench.workload(bench.large)
    return bench.step(
        "points.py", "own", [folder, *(["--quick"] if bench.mode != "full" else [])], one_thread=True
    ).found


def shares(bench: Bench) -> Found:
    """A run's cost over the share of users that are due."""
    return {"size": bench.small, **_ours(bench, bench.small, "shares")}


def users(bench: Bench) -> Found:
    """A full run's cost over the number of users."""
    everyone = workload.SIZES[bench.large].users
    counts = [everyone // 16] if bench.mode == "full" else []
    return {"runs": [_ours(bench, bench.large, "full", users=count) for count in counts]}


def workers(bench: Bench) -> Found:
    """A full run on one core and on two."""
    return {str(cores): _ours(bench, bench.small, "full", cores=cores) for cores in (1, 2)}


def read(path: Path) -> Found:
    return json.loads(path.read_text(encoding="utf-8"))


__all__ = ["Found", "K", "Part", "PartFailed", "parts", "peers", "read"]
