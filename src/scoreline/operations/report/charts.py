"""Small charts as SVG that is part of a page, in its colours: dark where it is dark. What they say stands beside them.

Drawn by matplotlib in colours that stand for those of the page. What a browser with a strict policy would not apply
(`style`, identifiers that two charts share) is taken off; one unit is one pixel. A chart says in words what it shows.
"""

import io
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from scoreline.operations.report.facts import Histogram

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["bars", "histogram", "sparkline"]

# each stands for a colour of the page: `--ink` and so on in the style sheet
_COLOURS = {"ink": "#010101", "soft": "#020202", "accent": "#030303", "bad": "#040404", "line": "#050505"}
_KEPT = ("fill", "stroke", "stroke-width", "stroke-dasharray", "fill-opacity", "stroke-opacity", "stroke-linecap")
_SVG = "http://www.w3.org/2000/svg"
_GAP = 0.06  # of a bar's width


def sparkline(
    values: Sequence[float], *, limit: float | None, passed: bool, alt: str, width: int = 168, height: int = 28
) -> str:
    """A figure over the runs, this one last and marked, with its limit as a dashed line."""
    figure, axes = _canvas(width, height)
    places = range(30 - len(values), 30)
    low, high = min(values), max(values)
    if limit is not None:
        low, high = min(low, limit), max(high, limit)
    room = (high - low) * 0.16 or max(abs(high), 1) * 0.5
    axes.set_xlim(-0.6, 29.9)
    axes.set_ylim(low - room, high + room)
    if limit is not None:
        axes.axhline(limit, color=_COLOURS["bad"], linewidth=1, dashes=(3, 3), clip_on=False)
    axes.plot(places, values, color=_COLOURS["soft"], linewidth=1.4, clip_on=False, solid_capstyle="round")
    _dot(axes, 29, values[-1], "accent" if passed else "bad", width, height, low - room, high + room)
    return _svg(figure, alt)


def histogram(shape: Histogram, *, alt: str, width: int = 460, height: int = 132) -> str:
    """Bars of what is now, as shares, and a line over them of what was before."""
    figure, axes = _canvas(width, height)
    now = _shares(shape.now)
    edges, wide = shape.edges, shape.edges[1] - shape.edges[0]
    lefts = [edge + wide * _GAP for edge in edges[:-1]]
    axes.bar(lefts, now, wide * (1 - 2 * _GAP), align="edge", color=_COLOURS["accent"], linewidth=0, clip_on=False)
    top = max(now)
    if shape.before is not None:
        before = _shares(shape.before)
        axes.stairs(before, edges, color=_COLOURS["ink"], linewidth=1.5, clip_on=False)
        top = max(top, *before)
    axes.axhline(0, color=_COLOURS["line"], linewidth=1, clip_on=False)
    axes.set_xlim(edges[0], edges[-1])
    axes.set_ylim(0, (top or 1) * 1.04)
    return _svg(figure, alt)


def bars(values: Sequence[float], *, alt: str, width: int = 168, height: int = 28) -> str:
    """A bar a run, this one last."""
    figure, axes = _canvas(width, height)
    colours = [_COLOURS["soft"]] * (len(values) - 1) + [_COLOURS["accent"]]
    axes.bar(range(30 - len(values), 30), values, 0.7, color=colours, linewidth=0, clip_on=False)
    axes.set_xlim(-0.5, 29.5)
    axes.set_ylim(0, max(values) or 1)
    return _svg(figure, alt)


def _canvas(width: int, height: int) -> tuple["Figure", "Axes"]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 72, height / 72), dpi=72)
    axes = figure.add_axes((0.01, 0.03, 0.98, 0.94))
    axes.set_axis_off()
    figure.patch.set_visible(False)
    return figure, axes


def _dot(axes: "Axes", x: float, y: float, colour: str, width: int, height: int, low: float, high: float) -> None:
    """A round dot of 3 pixels, whatever the axes."""
    from matplotlib.patches import Ellipse

    size = 6.4
    axes.add_patch(
        Ellipse(
            (x, y), size * 30.5 / width / 0.98, size * (high - low) / height / 0.94,
            color=_COLOURS[colour], linewidth=0, clip_on=False, zorder=3,
        )
    )  # fmt: skip


def _shares(counts: Sequence[int]) -> list[float]:
    return [count / max(sum(counts), 1) for count in counts]


def _svg(figure: "Figure", alt: str) -> str:
    written = io.StringIO()
    figure.savefig(written, format="svg", metadata={"Date": None})
    drawn = ET.fromstring(written.getvalue())
    _, _, width, height = (float(part) for part in drawn.attrib["viewBox"].split())
    chart = ET.Element("svg", {"viewBox": f"0 0 {width:g} {height:g}", "width": f"{width:g}", "height": f"{height:g}"})
    chart.attrib.update({"role": "img", "class": "chart"})
    ET.SubElement(chart, "title").text = alt
    for path in drawn.iter(f"{{{_SVG}}}path"):
        chart.append(ET.Element("path", {"d": _short(path.attrib["d"]), **_painted(path.attrib.get("style", ""))}))
    return ET.tostring(chart, encoding="unicode")


def _short(path: str) -> str:
    """A path with a digit behind the point."""
    return " ".join(
        f"{float(part):.1f}".removesuffix(".0") if part[0] not in "MLCQZzA" else part for part in path.split()
    )


def _painted(style: str) -> dict[str, str]:
    """The style as attributes, in the page's colours."""
    said: dict[str, Any] = dict(part.strip().split(": ", 1) for part in style.split(";") if ": " in part)
    names = {colour: f"var(--{name})" for name, colour in _COLOURS.items()}
    return {name: names.get(said[name], said[name]) for name in _KEPT if name in said}
