"""The results as one table of text."""

import json
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

import figures
import kernel
from figures import AGAIN, FIRST, Results

_STAGES = {
    FIRST: "first run",
    AGAIN: "full run (same session)",
    "run one": "run, one user due",
    "run share": "run, 1 % due",
}
_OF_A_RUN = (("cpu", 1), ("wall", 1), ("peak_mib", 0))
_TABULAR_WAYS = {
    "ours": "this project",
    "embedded": "this project, embedded engine",
    "spark_udf": "spark_udf",
    "bare": "limit: our scoring alone",
}


def read_results(folder: Path) -> dict[str, Any]:
    """Part by part, in the order they ran; `about` is under its own name."""
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.json"), key=_age)]
    return {entry.get("part", "about"): entry for entry in kept}


def _age(path: Path) -> float:
    return path.stat().st_mtime


def large_size(results: Results) -> str:
    sizes = [part.split("-")[1] for part in results if part.startswith("job-")]
    return next((size for size in ("L", "S", "XS") if size in sizes), "S")


def small_size(results: Results) -> str:
    return "XS" if large_size(results) == "XS" else "S"


def as_text(results: Results) -> str:
    """Kernels, whole jobs by size, tabular, targets."""
    size = large_size(results)
    lines = [*_kernels(results), ""]
    for one in dict.fromkeys((size, small_size(results))):
        lines += [*_jobs(results, one), ""]
    lines += [*_tabular(results), "", f"{'against':<48}{'work':<28}{'wanted':>10}{'found':>10}"]
    if size != "L":
        lines.append("(the targets are for L and larger tables: small ones are mostly fixed cost)")
    for target in (*figures.targets(results, size), *figures.embedded_targets(results, size)):
        mark = {True: "reached", False: "NOT reached", None: "not measured"}[target.reached]
        lines.append(f"{target.against:<48}{target.work:<28}{target.wanted:>10}{target.found:>10}  {mark}")
    return "\n".join(lines)


def kernel_rows(results: Results) -> Iterator[tuple[str, str, str, str, str]]:
    """Factors, kernel, CPU µs per user, ours is x times faster, lists."""
    for part, entry in results.items():
        if not part.startswith("kernel-"):
            continue
        kind = part.removeprefix("kernel-")
        if entry["state"] != "done":
            yield kind, "all", entry["state"], "", entry.get("message", "")
            continue
        for name in kernel.KERNELS:
            row = entry["found"]["rows"][name]
            if "us" not in row:
                yield kind, name, "not here", "", ""
                continue
            times = figures.kernel_ratio(results, kind, name)
            yield kind, name, f"{row['us']:,.1f}", f"{times:.2f}", figures.lists_said(row["verdicts"])


def job_rows(results: Results, size: str) -> Iterator[tuple[str, ...]]:
    """Peer, CPU s, again, wall s, session CPU s, peak MiB, ours is x times faster, lists, measured on."""
    for part in figures.job_keys(results, size):
        entry = results[part]
        peer = part.removeprefix(f"job-{size}-")
        if entry["state"] != "done":
            yield (peer, entry["state"], "", "", "", "", "", entry.get("message", ""), "")
            continue
        job = entry["found"]
        if peer == "limits":
            yield from _limits(results, job, size)
            continue
        cost, again = figures.cost(job), figures.cost(job, AGAIN)
        yield (
            job["label"],
            f"{cost.cpu:,.1f}",
            f"{again.cpu:,.1f}" if again else "",
            f"{cost.wall:,.1f}",
            f"{cost.session_cpu:,.1f}" if cost.session_cpu else "–",
            f"{cost.peak_mib:,.0f}",
            f"{figures.ratio(results, size, peer) or float('nan'):.1f}",
            figures.lists_said(figures.verdicts(job)),
            cost.basis,
        )


def _limits(results: Results, job: Any, size: str) -> Iterator[tuple[str, ...]]:
    ours = figures.found(results, f"job-{size}-ours")
    mine = figures.cost(ours) if ours else None
    for stage, spent in job["runs"][-1]["stages"].items():
        if stage != "session":
            times = f"{spent['cpu'] / mine.cpu:.2f}" if mine else ""
            cpu, wall = f"{spent['cpu']:,.1f}", f"{spent['wall']:,.1f}"
            yield f"limit: {stage}", cpu, "", wall, "", "", times, "–", "all users"


def stage_rows(results: Results, size: str) -> Iterator[tuple[str, str, str, str]]:
    """Our stages: name, CPU s, wall s, steps of a run in wall seconds; means of those that were done several times."""
    ours = figures.found(results, f"job-{size}-ours")
    if ours is None:
        return
    last = ours["runs"][-1]
    alike: dict[str, list[str]] = {}
    for stage in last["stages"]:
        alike.setdefault(stage if stage in _STAGES else stage.rstrip(" 0123456789"), []).append(stage)
    for kind, stages in alike.items():
        spent = [last["stages"][stage] for stage in stages]
        steps = [last["steps"].get(stage, {}) for stage in stages]
        means = [f"{step} {fmean(one[step] for one in steps):.1f}" for step in steps[0]]
        name = _STAGES.get(kind, kind) + (f" (mean of {len(stages)})" if len(stages) > 1 else "")
        cpu, wall = (f"{fmean(one[key] for one in spent):,.1f}" for key in ("cpu", "wall"))
        yield name, cpu, wall, ", ".join(means)


def tabular_rows(results: Results) -> Iterator[tuple[str, ...]]:
    """Model, way, CPU s, wall s, session CPU s, CPU s of the whole process, rows that differ."""
    for part, entry in results.items():
        if not part.startswith("tabular-"):
            continue
        if entry["state"] != "done":
            yield part.removeprefix("tabular-"), entry["state"], "", "", "", "", entry.get("message", "")
            continue
        for way, label in _TABULAR_WAYS.items():
            if way not in entry["found"]:  # a part kept from before this way was measured
                continue
            run = entry["found"][way]
            stages = run["stages"]
            yield (
                part.removeprefix("tabular-"),
                label,
                f"{stages[FIRST]['cpu']:,.1f}",
                f"{stages[FIRST]['wall']:,.1f}",
                f"{stages['session']['cpu']:,.1f}" if "session" in stages else "–",
                f"{figures.tabular_whole(run):,.1f}" if "cpu" in run else "–",
                f"{run['differing']} of 5,000 differ",
            )


def over_users(results: Results) -> Iterator[tuple[str, ...]]:
    """Users; CPU s, wall s and peak MiB of a whole first run on Spark, and embedded; ratios of CPU and of wall."""
    for row in (figures.found(results, "embedded-users") or {}).get("runs", []):
        on_spark, own = row["whole"], row["embedded"]
        costs = [f"{cost[kind]:,.{places}f}" for cost in (on_spark, own) for kind, places in _OF_A_RUN]
        yield f"{row['users']:,}", *costs, *(f"{on_spark[kind] / own[kind]:.1f}x" for kind in ("cpu", "wall"))


def _kernels(results: Results) -> list[str]:
    lines = [f"{'factors':<12}{'kernel':<10}{'CPU us/user':>12}{'/ ours':>10}  lists"]
    return lines + [f"{k:<12}{n:<10}{us:>12}{r:>10}  {said}" for k, n, us, r, said in kernel_rows(results)]


def _jobs(results: Results, size: str) -> list[str]:
    heads = f"{'CPU s':>9}{'wall s':>9}{'session':>9}{'MiB':>8}{'/ ours':>8}"
    lines = [f"{'whole job, ' + size:<44}{heads}  lists; measured on"]
    for label, cpu, _, wall, session, peak, times, said, basis in job_rows(results, size):
        lines.append(f"{label:<44}{cpu:>9}{wall:>9}{session:>9}{peak:>8}{times:>8}  {said}; {basis}")
    lines += ["", f"{'our stages, ' + size:<44}{'CPU s':>9}{'wall s':>9}  wall seconds of each step"]
    return lines + [f"{name:<44}{cpu:>9}{wall:>9}  {steps}" for name, cpu, wall, steps in stage_rows(results, size)]


def _tabular(results: Results) -> list[str]:
    lines = [f"{'tabular model':<16}{'way':<32}{'CPU s':>9}{'wall s':>9}{'session':>9}{'whole':>9}"]
    return lines + [f"{m:<16}{w:<32}{c:>9}{s:>9}{x:>9}{v:>9}  {d}" for m, w, c, s, x, v, d in tabular_rows(results)]
