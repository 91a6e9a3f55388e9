"""The scaling curves as SVG, the same bytes for the same results."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
mpl.rcParams.update({"svg.hashsalt": "scoreline", "font.size": 9, "axes.spines.top": False, "axes.spines.right": False})

from matplotlib import pyplot as plt  # noqa: E402  # the backend comes first
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

import figures  # noqa: E402
from figures import AGAIN, Results  # noqa: E402

_INK = "#1f5a94"
_SECOND = "#c2571a"


def draw(results: Results, size: str, path: Path) -> Path:
    """Six panels: users, items, history length, K, share due, workers."""
    figure = sketch(results, size)
    figure.savefig(path, metadata={"Date": None, "Creator": "scoreline"})
    plt.close(figure)
    return path


def sketch(results: Results, size: str) -> Figure:
    figure, axes = plt.subplots(2, 3, figsize=(10.5, 6.2), layout="constrained")
    points = figures.found(results, "curve-points") or {}
    _line(axes[0, 0], _users(results, size), "users", "CPU s, full run", logarithmic=False)
    for axis, name, label in (
        (axes[0, 1], "items", "items in the catalogue"),
        (axes[0, 2], "history", "items in a history"),
        (axes[1, 0], "k", "K"),
    ):
        _line(axis, {float(x): y for x, y in points.get(name, {}).items()}, label, "CPU µs per user, scoring")
    _shares(axes[1, 1], results)
    _workers(axes[1, 2], figures.found(results, "curve-workers") or {})
    return figure


def _short(value: float, _: int) -> str:
    """10 k rather than 10⁴."""
    for unit, name in ((1e6, " M"), (1e3, " k")):
        if value >= unit:
            return f"{value / unit:g}{name}"
    return f"{value:g}"


def _line(
    axis: Axes, values: Mapping[float, float], x: str, y: str, colour: str = _INK, *, logarithmic: bool = True
) -> None:
    ordered = sorted(values.items())
    axis.plot([a for a, _ in ordered], [b for _, b in ordered], "o-", color=colour, markersize=4)
    axis.set(xlabel=x, ylabel=y)
    axis.margins(y=0.12)
    axis.autoscale(axis="y")
    axis.set_ylim(bottom=0)
    if ordered and logarithmic:
        axis.set_xscale("log")
    axis.xaxis.set_major_formatter(_short)
    axis.grid(axis="y", color="#dddddd", linewidth=0.6)


def _users(results: Results, size: str) -> dict[float, float]:
    runs: list[Any] = list((figures.found(results, "curve-users") or {}).get("runs", []))
    runs += [run for run in [figures.found(results, "quarter")] if run]
    runs += (figures.found(results, f"job-{size}-ours") or {}).get("runs", [])
    return {run["users"]: run["stages"][AGAIN]["cpu"] for run in runs}


def _shares(axis: Axes, results: Results) -> None:
    part = figures.found(results, "curve-shares")
    run: dict[float, float] = {}
    ingest: dict[float, float] = {}
    for name, due in (part or {}).get("due", {}).items():
        if name != "first":
            run[due / part["users"] * 100] = part["stages"][f"run {name}"]["cpu"]
            ingest[due / part["users"] * 100] = part["stages"][f"ingest {name}"]["cpu"]
    if part:
        run[100.0] = part["stages"][AGAIN]["cpu"]
    _line(axis, ingest, "", "", _SECOND)
    _line(axis, run, "share of users due, %", "CPU s")
    for values, label, colour in ((run, "run", _INK), (ingest, "ingest before it", _SECOND)):
        if values:
            x = max(values)
            axis.annotate(label, (x, values[x]), xytext=(-4, 6), textcoords="offset points", ha="right", color=colour)


def _workers(axis: Axes, found: Mapping[str, Any]) -> None:
    cores = sorted(found, key=int)
    wall = [found[core]["stages"][AGAIN]["wall"] for core in cores]
    bars = axis.bar(cores, wall, color=_INK, width=0.5)
    axis.bar_label(bars, fmt="%.1f", padding=2)
    axis.set(xlabel="cores", ylabel="wall s, full run")
