"""From results to figures: everybody's cost from subsets, ratios, targets, the cost model. Nothing is measured here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from check import WRONG

Results = Mapping[str, Mapping[str, Any]]
FIRST, AGAIN = "job 1", "job 2"
# what a job of one process or of limits.py calls its stages
_TEN_TIMES = ("status", "show of one user", "plan", "run, nothing due", "run, one user due")
_NOT_THE_JOB = ("prepare", "fit", "check")
_READ_WRITE = "read and write, Spark and Delta 1"


@dataclass(frozen=True)
class Cost:
    """What a whole job costs for everybody; `basis` says how that is known."""

    cpu: float
    wall: float
    session_cpu: float
    peak_mib: float
    basis: str


@dataclass(frozen=True)
class Target:
    """What the issue asks for, and what was found; `reached` is None where something is missing."""

    against: str
    work: str
    wanted: str
    found: str
    reached: bool | None


def found(results: Results, part: str) -> Mapping[str, Any] | None:
    """What a part found; None if it failed or was left out."""
    kept = results.get(part, {})
    return kept.get("found") if kept.get("state") == "done" else None


def cost(job: Mapping[str, Any], stage: str = FIRST) -> Cost | None:
    """A job's cost for everybody: measured, or from two subsets (fixed and per user), or in proportion to one."""
    runs = [run for run in job["runs"] if stage in run["stages"]]
    if not runs:
        return None
    everyone, last = job["everyone"], runs[-1]
    session = last["stages"].get("session", {}).get("cpu", 0.0)
    peak = max(run["peak_mib"] for run in runs)
    cpu, wall = (_for_everyone(runs, stage, kind, everyone) for kind in ("cpu", "wall"))
    counts = [run["users"] for run in runs]
    basis = "all users" if last["users"] >= everyone else f"from {' and '.join(f'{n:,}' for n in counts)} users"
    return Cost(cpu, wall, session, peak, basis)


def whole(results: Results, part: str) -> float | None:
    """CPU seconds of a peer for everybody, from its process's start to its end; logging or fitting a model left out."""
    job = found(results, part)
    if job is None or any("cpu" not in run for run in job["runs"]):
        return None
    own = [sum(run["stages"].get(stage, {}).get("cpu", 0.0) for stage in _NOT_THE_JOB) for run in job["runs"]]
    runs = [
        {"users": run["users"], "stages": {"whole": {"cpu": run["cpu"] - made}}}
        for run, made in zip(job["runs"], own, strict=True)
    ]
    return _for_everyone(runs, "whole", "cpu", job["everyone"])


def embedded_ratio(results: Results, size: str, peer: str) -> float | None:
    """CPU of a peer's whole process over that of our run on the embedded engine."""
    ours, other = (whole(results, f"job-{size}-{name}") for name in ("embedded", peer))
    return None if ours is None or other is None else other / ours


def embedded_share(results: Results) -> float | None:
    """As `share_of_full`, of whole processes on the embedded engine."""
    runs = found(results, "embedded-shares")
    if runs is None:
        return None
    fixed = fmean(runs["one"])
    return (fmean(runs["share"]) - fixed) / (fmean(runs["all"]) - fixed)


def _for_everyone(runs: list[Any], stage: str, kind: str, everyone: int) -> float:
    last = runs[-1]
    spent = last["stages"][stage][kind]
    if last["users"] >= everyone:
        return spent
    if len(runs) > 1:
        users = last["users"] - runs[0]["users"]
        per_user = (spent - runs[0]["stages"][stage][kind]) / users
        if per_user > 0:
            return spent + per_user * (everyone - last["users"])
    return spent * everyone / last["users"]


def verdicts(job: Mapping[str, Any]) -> Mapping[str, int] | None:
    """The verdicts on the lists of the largest run."""
    return job["runs"][-1].get("verdicts")


def lists_said(counted: Mapping[str, int] | None) -> str:
    """`right`, or how many are wrong and why; rounding is counted apart."""
    if counted is None:
        return "–"
    total = sum(counted.values())
    rounding = f", rounding {counted['rounding']:,}" if counted["rounding"] else ""
    reasons = ", ".join(f"{reason} {counted[reason]:,}" for reason in WRONG if counted[reason])
    if reasons:
        wrong = sum(counted[reason] for reason in WRONG)
        return f"WRONG {wrong:,} of {total:,} ({reasons}{rounding})"
    return f"right, {total:,} of {total:,}{rounding}"


def job_keys(results: Results, size: str) -> list[str]:
    """Parts that are whole jobs on a size, in the order they ran."""
    return [part for part in results if part.startswith(f"job-{size}-")]


def ratio(results: Results, size: str, peer: str, stage: str = FIRST) -> float | None:
    """CPU seconds of a peer's job over those of our first run, both in a fresh session; AGAIN: over our second run."""
    ours, other = found(results, f"job-{size}-ours"), found(results, f"job-{size}-{peer}")
    if ours is None or other is None:
        return None
    mine, theirs = cost(ours, stage), cost(other)
    return None if mine is None or theirs is None else theirs.cpu / mine.cpu


def limits(results: Results, size: str, small: str) -> dict[str, float | None]:
    """What is in the way of the targets, by name."""
    kernels = (found(results, "kernel-als") or {}).get("rows", {})
    naive, gemm = (kernels.get(peer, {}).get("us") for peer in ("naive", "gemm"))
    ours = found(results, f"job-{size}-ours")
    stages = ours["runs"][-1]["stages"] if ours else {}
    usual, kernel = (found(results, f"job-{size}-{peer}") for peer in ("spark_udf", "spark_udf_kernel"))
    theirs, best = (cost(usual) if usual else None), (cost(kernel) if kernel else None)
    implicit = found(results, f"job-{size}-implicit")
    whole = cost(implicit) if implicit else None
    little, io = found(results, f"job-{small}-ours"), _read_write(results, small)
    mllib = found(results, f"job-{small}-mllib_correct")
    usual_small = cost(mllib) if mllib else None
    return {
        "naive_products": naive / gemm if naive and gemm else None,
        "naive_wanted": naive / 80 if naive else None,
        "best": best.cpu if best else None,
        "best_udf": theirs.cpu / best.cpu if theirs and best else None,
        "best_implicit": whole.cpu / best.cpu if whole and best else None,
        "small_io": io,
        "small_io_mllib": usual_small.cpu / io if usual_small and io else None,
        "warm_implicit": ratio(results, size, "implicit", AGAIN),
        "warm_udf": ratio(results, size, "spark_udf", AGAIN),
        "warm_mllib": ratio(results, small, "mllib_correct", AGAIN),
        "warm_replay": ratio(results, small, "replay", AGAIN),
        "bare_logistic": tabular_ratio(results, "logistic", "bare"),
        "bare_trees": tabular_ratio(results, "trees", "bare"),
        "first": stages[FIRST]["cpu"] if stages else None,
        "again": stages[AGAIN]["cpu"] if stages else None,
        "small_first": little["runs"][-1]["stages"][FIRST]["cpu"] if little else None,
        "small_again": little["runs"][-1]["stages"][AGAIN]["cpu"] if little else None,
        "one": _mean_of(stages, "run one") if stages else None,
        "share": _mean_of(stages, "run share") if stages else None,
        **_own_limits(results, size, small),
    }


def _own_limits(results: Results, size: str, small: str) -> dict[str, float | None]:
    """What is in the way of the embedded engine: its start, and what users cost above it."""
    runs, kernel = found(results, "embedded-shares"), whole(results, f"job-{size}-polars_kernel")
    one, share, everybody = (fmean(runs[kind]) for kind in ("one", "share", "all")) if runs else (None, None, None)
    above = everybody - one if one and everybody else None
    return {
        "own_one": one,
        "own_share": share,
        "own_all": everybody,
        "own_above": above,
        "own_above_kernel": above / kernel if above and kernel else None,
        "own_small": whole(results, f"job-{small}-embedded"),
    }


def _read_write(results: Results, size: str) -> float | None:
    """CPU seconds of Spark and Delta for reading the histories and writing the lists."""
    job = found(results, f"job-{size}-limits")
    stage = (job["runs"][-1]["stages"] if job else {}).get(_READ_WRITE)
    return float(stage["cpu"]) if stage else None


def kernel_ratio(results: Results, kind: str, peer: str) -> float | None:
    """CPU time of a peer's kernel over ours."""
    rows = (found(results, f"kernel-{kind}") or {}).get("rows", {})
    if "us" not in rows.get(peer, {}) or "us" not in rows.get("ours", {}):
        return None
    return rows[peer]["us"] / rows["ours"]["us"]


def tabular_ratio(results: Results, kind: str, way: str = "ours") -> float | None:
    ways = found(results, f"tabular-{kind}")
    if ways is None or way not in ways:
        return None
    return float(ways["spark_udf"]["stages"][FIRST]["cpu"] / ways[way]["stages"][FIRST]["cpu"])


def share_of_full(results: Results, size: str) -> float | None:
    """A run of 1 % over a full run, both above the fixed cost."""
    ours = found(results, f"job-{size}-ours")
    if ours is None:
        return None
    stages = ours["runs"][-1]["stages"]
    fixed, full = _mean_of(stages, "run one"), stages[AGAIN]["cpu"]
    return (_mean_of(stages, "run share") - fixed) / (full - fixed) if full > fixed else None


def _mean_of(stages: Mapping[str, Any], kind: str) -> float:
    """CPU seconds of the runs of a kind; small ones stand around larger ones, since a session still gets faster."""
    costs = [stage["cpu"] for name, stage in stages.items() if name.startswith(kind)]
    return float(sum(costs)) / len(costs)


def memory_ratio(results: Results) -> float | None:
    memory = found(results, "memory-workers")
    return None if memory is None else memory["8"]["workers_mib"] / memory["1"]["workers_mib"]


def growth(results: Results, size: str, kind: str) -> float | None:
    """Peak memory for all users over that for a quarter of them; `kind` is peak_mib or workers_mib."""
    ours, part = found(results, f"job-{size}-ours"), found(results, "quarter")
    return None if ours is None or part is None else ours["runs"][-1][kind] / part[kind]


def targets(results: Results, size: str) -> Iterator[Target]:
    """The issue's table, line by line."""
    for peer, label, wanted in (
        ("naive", "naive NumPy top-K", 80.0),
        ("gemm", "bare GEMM over all items", 2.5),
        ("implicit", "implicit `recommend` with filter", 8.0),
    ):
        yield _at_least(label, f"kernel, {size}, ALS factors", wanted, kernel_ratio(results, "als", peer))
    small = "XS" if size == "XS" else "S"
    flat = kernel_ratio(results, "normalised", "gemm")
    yield _at_most("bare GEMM, flat norms (nothing can be skipped)", f"kernel, {size}", 1.3, flat and 1 / flat, "×")
    for peer, label, on, wanted in (
        ("implicit", "implicit, read to write", size, 2.0),
        ("spark_udf", "`spark_udf`, usual code", size, 10.0),
        ("mllib_correct", "MLlib, made correct", small, 10.0),
        ("replay", "RePlay", small, 10.0),
    ):
        yield _at_least(label, f"whole job, {on}", wanted, ratio(results, on, peer))
    yield _at_least("`spark_udf`, logistic regression", "tabular", 1.5, tabular_ratio(results, "logistic"))
    yield _at_least("`spark_udf`, gradient boosting", "tabular", 1.5, tabular_ratio(results, "trees"))
    part = share_of_full(results, size)
    yield _at_most("own full run, above the fixed cost", f"1 % due, {size}", 5.0, part and part * 100, " %")
    yield _at_most("one worker's memory", "8 workers, 1 GB model", 1.5, memory_ratio(results), "×")
    grown = growth(results, size, "workers_mib")
    yield _at_most("workers' peak for a quarter of the users", f"run, {size}", 1.1, grown, "×")


def embedded_targets(results: Results, size: str) -> Iterator[Target]:
    """The table of the embedded engine: whole processes, nothing of them left out."""
    commands = found(results, "commands") or {}
    for name, engines in commands.items():
        if name in _TEN_TIMES:
            cpu = engines["spark"]["cpu"] / engines["embedded"]["cpu"]
            yield _at_least(f"own `{name}` on Spark", "demo's tables, cold", 10.0, cpu)
    small = "XS" if size == "XS" else "S"
    for peer, label, on, wanted in (
        ("implicit", "implicit, read to write", size, 3.0),
        ("implicit", "implicit, read to write", small, 1.0),
        ("spark_udf", "`spark_udf`, usual code", size, 15.0),
        ("spark_udf", "`spark_udf`, usual code", small, 5.0),
        ("mllib_correct", "MLlib, made correct", small, 10.0),
        ("replay", "RePlay", small, 30.0),
    ):
        yield _at_least(label, f"whole job, {on}", wanted, embedded_ratio(results, on, peer))
    limit = embedded_ratio(results, size, "polars_kernel")
    yield _at_most("Polars + our kernel, one process, no gates", f"whole job, {size}", 2.0, limit and 1 / limit, "×")
    for kind, label, wanted in (("logistic", "logistic regression", 2.0), ("trees", "gradient boosting", 1.5)):
        ways = found(results, f"tabular-{kind}") or {}
        known = "embedded" in ways and "cpu" in ways["spark_udf"]
        value = (tabular_whole(ways["spark_udf"]) / tabular_whole(ways["embedded"])) if known else None
        yield _at_least(f"`spark_udf`, {label}", "tabular", wanted, value)
    part = embedded_share(results)
    yield _at_most("own full run, above the fixed cost", f"1 % due, {size}", 5.0, part and part * 100, " %")


def tabular_whole(run: Mapping[str, Any]) -> float:
    """CPU seconds of a process from its start to its end; fitting the model and checking its output left out."""
    return float(run["cpu"]) - sum(run["stages"].get(stage, {}).get("cpu", 0.0) for stage in _NOT_THE_JOB)


def _at_least(against: str, work: str, wanted: float, value: float | None) -> Target:
    said = "–" if value is None else f"{value:.{1 if value >= 10 else 2}f}×"
    return Target(against, work, f"≥ {wanted:g}×", said, None if value is None else value >= wanted)


def _at_most(against: str, work: str, wanted: float, value: float | None, unit: str) -> Target:
    said = "–" if value is None else f"{value:.2f}{unit}"
    return Target(against, work, f"≤ {wanted:g}{unit}", said, None if value is None else value <= wanted)


def cost_model(results: Results, size: str) -> dict[str, float] | None:
    """Fixed and per-user CPU of a warm full run, by the line through all users and a quarter of them, and what a user
    costs with a million items."""
    ours, part, points = (found(results, name) for name in (f"job-{size}-ours", "quarter", "curve-points"))
    if ours is None or part is None or points is None:
        return None
    whole = ours["runs"][-1]
    users = whole["users"] - part["users"]
    per_user = (whole["stages"][AGAIN]["cpu"] - part["stages"][AGAIN]["cpu"]) / users * 1e6
    fixed = whole["stages"][AGAIN]["cpu"] - per_user * whole["users"] / 1e6
    by_items = {int(n): us for n, us in points["items"].items()}
    here = points["k"]["20"]
    most = max(by_items)
    moving = max(per_user - here, 0.0)
    at_million = moving + by_items[most] * (1_000_000 / most)
    return {
        "fixed": fixed,
        "per_user": per_user,
        "scoring": here,
        "moving": moving,
        "million": at_million,
        "hours": (hours := at_million * 1e8 / 1e6 / 3600),
        "seconds": hours * 3600 / 1_000,
        "daily_minutes": hours * 60 / 100,
    }
