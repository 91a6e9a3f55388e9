"""docs/configuration.md says what the settings are."""

from datetime import timedelta

import pytest

from configuration_page import PAGE, page, shown
from scoreline.config.keys import leaves
from scoreline.config.section import parse_duration
from scoreline.config.settings import Settings


def test_the_page_is_the_one_that_the_settings_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python tests/configuration_page.py"


def test_every_key_says_what_it_is_for() -> None:
    lines = [line.split(" | ") for line in page().splitlines() if line.startswith("| `")]
    assert [line[0] for line in lines if line[-1] in ("None |", " |") or line[1] == "any"] == []
    assert len(lines) == len([*leaves(Settings)])


@pytest.mark.parametrize("text", ["2s", "30s", "90s", "1m", "90m", "2h", "7d"])
def test_a_duration_stands_there_as_one_may_write_it(text: str) -> None:
    duration = parse_duration(text)
    assert isinstance(duration, timedelta)
    assert shown(duration) == text
