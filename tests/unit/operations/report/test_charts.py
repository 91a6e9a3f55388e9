"""Charts as a page has them: in its colours, in words too, nothing that a strict policy would stop."""

import xml.etree.ElementTree as ET

import pytest

from scoreline.operations.report.charts import bars, histogram, sparkline
from scoreline.operations.report.facts import Histogram

SHAPE = Histogram((0.0, 1.0, 2.0), (1, 3), (2, 2))
DRAWN = {
    "sparkline": lambda alt: sparkline([0.1, 0.4, 0.2], limit=0.3, passed=True, alt=alt),
    "one run": lambda alt: sparkline([0.1], limit=None, passed=True, alt=alt),
    "thirty": lambda alt: sparkline([0.1] * 30, limit=0.1, passed=True, alt=alt),
    "bars": lambda alt: bars([1.0, 2.0], alt=alt),
    "histogram": lambda alt: histogram(SHAPE, alt=alt),
    "nothing": lambda alt: histogram(Histogram((0.0, 1.0), (0,)), alt=alt),
}


@pytest.mark.parametrize("kind", DRAWN)
def test_a_chart_is_paths_with_a_title(kind: str) -> None:
    chart = ET.fromstring(DRAWN[kind]("a < b & c"))

    assert (chart.tag, chart.attrib["role"]) == ("svg", "img")
    assert [child.text for child in chart if child.tag == "title"] == ["a < b & c"]
    assert {child.tag for child in chart} <= {"title", "path"}
    painted = [path.attrib for path in chart if path.tag == "path"]
    assert painted
    for attributes in painted:
        assert not {"style", "id", "class"} & attributes.keys()
        colours = {attributes.get("fill", "none"), attributes.get("stroke", "none")} - {"none"}
        assert colours
        assert all(colour.startswith("var(--") for colour in colours)
        assert "nan" not in attributes["d"]


def test_what_is_outside_of_its_limit_is_another_colour() -> None:
    good, bad = (sparkline([0.1, 0.4], limit=0.3, passed=passed, alt="") for passed in (True, False))

    assert 'fill="var(--accent)"' in good
    assert 'fill="var(--bad)"' in bad


def test_before_is_a_line_over_the_bars() -> None:
    without = histogram(Histogram(SHAPE.edges, SHAPE.now), alt="")

    assert 'stroke="var(--ink)"' in histogram(SHAPE, alt="")
    assert 'stroke="var(--ink)"' not in without
