"""docs/performance.md, .json and .svg from the results; the prose is in performance.template.md."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template

import curves
import figures
import table
import workload
from figures import Results

_HERE = Path(__file__).parent


def write(results: Results, docs: Path) -> Path:
    """Write the page, its results and its picture into `docs`; gives the page's path."""
    docs.mkdir(parents=True, exist_ok=True)
    size = table.large_size(results)
    everyone = workload.SIZES[size].users
    (docs / "performance.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    curves.draw(results, size, everyone, docs / "performance.svg")
    text = Template((_HERE / "performance.template.md").read_text(encoding="utf-8"))
    page = docs / "performance.md"
    page.write_text(text.substitute(fields(results, size, everyone)), encoding="utf-8")
    return page


def fields(results: Results, size: str, everyone: int) -> dict[str, str]:
    """What stands in the template's gaps."""
    about = results.get("about", {})
    features = next(
        (found for part in results if part.startswith("tabular") and (found := figures.found(results, part))), {}
    )
    return {
        "began": about.get("began", "at an unknown time"),
        "machine": about.get("machine", "an unknown machine"),
        "state": _state(results),
        "targets": _targets(results, size),
        "origin": about.get("origin", "unknown"),
        "checked": f"{_checked(results, size):,}",
        "kernels": _grid(("factors", "kernel", "CPU µs per user", "÷ ours", "lists"), table.kernel_rows(results)),
        "jobs": "\n\n".join(_jobs(results, one) for one in dict.fromkeys((size, "S"))),
        "stages": _grid((f"stage, {size}", "CPU s", "wall s", "steps"), table.stage_rows(results, size)),
        "rows": f"{features.get('rows', 0):,}",
        "tabular": _grid(
            ("model", "way", "CPU s", "wall s", "session CPU s", "predictions"), table.tabular_rows(results)
        ),
        "memory": _memory(results, size),
        "size": size,
        "model": _model(results, size, everyone),
    }


def machine() -> str:
    """The processor and its cores; no name of the machine."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    model = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())
    return f"{os.cpu_count()} cores of {model}, Python {platform.python_version()}"


def _grid(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(("", *head, "")).strip(), "|" + " --- |" * len(head)]
    return "\n".join([*lines, *(" | ".join(("", *row, "")).strip() for row in rows)])


def _state(results: Results) -> str:
    missing = [part for part, entry in results.items() if part != "about" and entry["state"] != "done"]
    mixed = len({entry.get("code") for part, entry in results.items() if part != "about"}) > 1
    said = f"Without a result: {', '.join(missing)}." if missing else ""
    return f"{said} Parts were measured with different states of the code." if mixed else said


def _targets(results: Results, size: str) -> str:
    marks = {True: "reached", False: "**not reached**", None: "not measured"}
    rows = [(t.against, t.work, t.wanted, t.found, marks[t.reached]) for t in figures.targets(results, size)]
    return _grid(("against", "work", "wanted", "found", ""), rows)


def _checked(results: Results, size: str) -> int:
    ours = figures.found(results, f"job-{size}-ours")
    return sum((figures.verdicts(ours) or {}).values()) if ours else 0


def _jobs(results: Results, size: str) -> str:
    head = (f"job, {size}", "CPU s", "again", "wall s", "session CPU s", "peak MiB", "÷ ours", "lists", "measured on")
    return _grid(head, table.job_rows(results, size))


def _memory(results: Results, size: str) -> str:
    lines = []
    if workers := figures.found(results, "memory-workers"):
        one, eight = workers["1"], workers["8"]
        lines.append(
            f"With a model of {workers['model_mib']:,.0f} MiB, {eight['workers']} Python workers of one node take "
            f"{eight['workers_mib']:,.0f} MiB of PSS together (the daemon that forks them included), one takes "
            f"{one['workers_mib']:,.0f} MiB: {figures.memory_ratio(results):.2f}×. The model's arrays are mapped from "
            "its files, so workers share them."
        )
    ours, part = figures.found(results, f"job-{size}-ours"), figures.found(results, "quarter")
    if ours and part:
        last = ours["runs"][-1]
        lines.append(
            f"A run on {size}: {last['workers_mib']:,.0f} MiB in the Python workers and {last['peak_mib']:,.0f} MiB in the "
            f"whole tree; for a quarter of the users {part['workers_mib']:,.0f} and {part['peak_mib']:,.0f}. The JVM fills "
            "the heap it is allowed before it collects, so the workers' figure is the one that says something."
        )
    return "\n\n".join(lines) or "Not measured."


def _model(results: Results, size: str, everyone: int) -> str:
    known = figures.cost_model(results, size, everyone)
    if known is None:
        return "Not measured."
    return (
        f"From a full run on {size} in a warm session: {known['fixed']:.1f} CPU s fixed and {known['per_user']:,.0f} CPU µs a "
        f"user, of which one worker's scoring of a batch is about {known['scoring']:,.0f} and the rest reading, comparing, "
        f"staging, auditing and publishing. With a million items the scoring grows as the items' curve says, and the rest "
        f"stays: {known['million']:,.0f} µs a user. For 100 M users that is **{known['hours']:,.0f} CPU hours** a full run, "
        f"{known['hours'] / 1000 * 60:,.0f} minutes on 1,000 cores; with 1 % due a day, about a hundredth of it and the fixed cost.\n\n"
        "Assumptions: cost per user does not depend on the number of users (a run has no shuffle of histories; comparing "
        "who is due is a join of keys); the million items have factors distributed like the trained ones; histories are as "
        "long as here; reading and writing object storage costs the CPU that a local disk does; slices are large enough that commits are "
        "a small part. Ingest is not in it: its cost follows the new events."
    )
