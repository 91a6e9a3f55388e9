"""docs/performance.md, .json and .svg from the results; the prose is in performance.template.md."""

import json
import os
import platform
from collections.abc import Iterable, Sequence
from pathlib import Path
from string import Template

import curves
import engines
import figures
import table
from figures import Results

_TABULAR = ("model", "way", "CPU s", "wall s", "session CPU s", "whole process CPU s", "predictions")
_OVER_USERS = ("users", "Spark CPU s", "wall", "MiB", "embedded CPU s", "wall", "MiB", "CPU", "wall")
_HERE = Path(__file__).parent


def write(results: Results, docs: Path) -> Path:
    """Write the page, its results and its picture into `docs`; gives the page's path."""
    docs.mkdir(parents=True, exist_ok=True)
    size = table.large_size(results)
    (docs / "performance.json").write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")
    curves.draw(results, size, docs / "performance.svg")
    text = Template((_HERE / "performance.template.md").read_text(encoding="utf-8"))
    page = docs / "performance.md"
    page.write_text(text.substitute(fields(results, size)), encoding="utf-8")
    return page


def fields(results: Results, size: str) -> dict[str, str]:
    """What stands in the template's gaps."""
    limits = _limits(results, size)
    about = results.get("about", {})
    features = figures.found(results, "tabular-logistic") or {}
    return {
        "began": about.get("began", "at an unknown time"),
        "machine": about.get("machine", "an unknown machine"),
        "state": _state(results),
        "targets": _targets(figures.targets(results, size)),
        "embedded_targets": _targets(figures.embedded_targets(results, size)),
        "commands": _grid(engines.HEAD, engines.rows(figures.found(results, "commands") or {})),
        "over_users": _grid(_OVER_USERS, table.over_users(results)),
        "origin": about.get("origin", "unknown"),
        "checked": f"{_checked(results, size):,}",
        "kernels": _grid(("factors", "kernel", "CPU µs per user", "÷ ours", "lists"), table.kernel_rows(results)),
        "jobs": "\n\n".join(_jobs(results, one) for one in dict.fromkeys((size, table.small_size(results)))),
        "stages": _grid((f"stage, {size}", "CPU s", "wall s", "steps"), table.stage_rows(results, size)),
        "rows": f"{features.get('rows', 0):,}",
        "tabular": _grid(_TABULAR, table.tabular_rows(results)),
        **_memory(results, size),
        **limits,
        **_model(results, size),
        "in_the_way": _in_the_way(figures.targets(results, size), "in_the_way.template.md", limits),
        "embedded_in_the_way": _in_the_way(
            figures.embedded_targets(results, size), "in_the_way_embedded.template.md", limits
        ),
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
    mixed = len({entry["code"] for part, entry in results.items() if part != "about" and "code" in entry}) > 1
    said = f"Without a result: {', '.join(missing)}." if missing else ""
    return f"{said} Parts were measured with different states of the code." if mixed else said


def _targets(targets: Iterable[figures.Target]) -> str:
    marks = {True: "reached", False: "**not reached**", None: "not measured"}
    rows = [(t.against, t.work, t.wanted, t.found, marks[t.reached]) for t in targets]
    return _grid(("against", "work", "wanted", "found", ""), rows)


def _limits(results: Results, size: str) -> dict[str, str]:
    """Names and figures of what keeps us from a target."""
    small = table.small_size(results)
    found = {
        f"limit_{name}": "–" if value is None else f"{value:.1f}"
        for name, value in figures.limits(results, size, small).items()
    }
    return {"size": size, "small": small, **found}


def _in_the_way(targets: Iterable[figures.Target], file: str, limits: dict[str, str]) -> str:
    """A point for each target that is not reached. The file has, for each, a line with its targets and the text."""
    missed = {target.against for target in targets if target.reached is False}
    written = (_HERE / file).read_text(encoding="utf-8").split("\n\n")
    points = [text for heads, _, text in (part.partition("\n") for part in written) if missed & set(heads.split(" | "))]
    if not points:
        return ""
    said = "What stands in the way of those that are not reached, by the tables below, and how near the limit is:"
    return Template("\n".join([said, "", *(text.strip() for text in points)])).substitute(limits)


def _checked(results: Results, size: str) -> int:
    ours = figures.found(results, f"job-{size}-ours")
    return sum((figures.verdicts(ours) or {}).values()) if ours else 0


def _jobs(results: Results, size: str) -> str:
    head = (f"job, {size}", "CPU s", "again", "wall s", "session CPU s", "peak MiB", "÷ ours", "lists", "measured on")
    return _grid(head, table.job_rows(results, size))


def _memory(results: Results, size: str) -> dict[str, str]:
    workers = figures.found(results, "memory-workers") or {}
    one, eight = workers.get("1", {}), workers.get("8", {})
    ours = (figures.found(results, f"job-{size}-ours") or {"runs": [{}]})["runs"][-1]
    part = figures.found(results, "quarter") or {}
    known = {
        "model_mib": workers.get("model_mib"),
        "workers": eight.get("workers"),
        "eight_mib": eight.get("workers_mib"),
        "one_mib": one.get("workers_mib"),
        "all_workers_mib": ours.get("workers_mib"),
        "all_mib": ours.get("peak_mib"),
        "quarter_workers_mib": part.get("workers_mib"),
        "quarter_mib": part.get("peak_mib"),
    }
    times = figures.memory_ratio(results)
    whole = {name: "–" if value is None else f"{value:,.0f}" for name, value in known.items()}
    return {**whole, "memory_times": "–" if times is None else f"{times:.2f}"}


def _model(results: Results, size: str) -> dict[str, str]:
    known = figures.cost_model(results, size)
    decimals = {"fixed": 0, "per_user": 0, "scoring": 0, "million": 0, "hours": 1, "seconds": 0, "daily_minutes": 1}
    return {f"cost_{name}": f"{known[name]:,.{places}f}" if known else "–" for name, places in decimals.items()}
