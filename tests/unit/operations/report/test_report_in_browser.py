"""The page of a run (scoreline.operations.report) in a browser: its own policy lets it be, it fits, it is dark."""

from pathlib import Path

import pytest

import browser
from run_facts import ARABIC, HOSTILE, example, facts, lists
from scoreline.operations.report.facts import ItemShare
from scoreline.operations.report.run_page import render

LONG = "x" * 60


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page with all that could be too wide or too clever."""
    top = (ItemShare(2, 0.5, 0.5, 1, 1), ItemShare(LONG, 0.5, 0.5, 2, 2), ItemShare(3, 0.5, 0.5, 3, 3))
    made = facts(1000, pipeline=HOSTILE, lists=lists(top=top), examples=(example(LONG), example(7)))
    file = tmp_path / "page.html"
    file.write_text(render(made), encoding="utf-8")
    return file


def test_the_browser_complains_of_nothing_and_shows_titles_as_they_are(page: Path) -> None:
    shown, console = browser.opened(page)

    assert console == []
    assert f"<bdi>{ARABIC}</bdi>" in shown
    assert '<bdi>&lt;script&gt;alert("1")&lt;/script&gt;</bdi>' in shown


@pytest.mark.parametrize("width", [390, 1200])
def test_no_page_is_wider_than_its_window(page: Path, width: int) -> None:
    wide = browser.measured(page, "document.documentElement.scrollWidth + '/' + innerWidth", width=width)

    scrolled, inner = (int(part) for part in wide.split("/"))
    assert scrolled <= inner
    assert inner <= max(width, 500)


def test_it_is_dark_where_the_reader_wants_it(page: Path) -> None:
    bar = "document.querySelector('path[fill*=accent]')"
    look = f"getComputedStyle(document.body).backgroundColor + getComputedStyle({bar}).fill"

    light, dark = browser.measured(page, look), browser.measured(page, look, dark=True)

    assert light == "rgb(255, 255, 255)rgb(47, 95, 168)"
    assert dark == "rgb(21, 23, 27)rgb(126, 169, 234)"
