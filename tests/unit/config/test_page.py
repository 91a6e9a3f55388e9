"""docs/configuration.md says what the settings are."""

from configuration_page import PAGE, page
from scoreline.config.keys import leaves
from scoreline.config.settings import Settings


def test_the_page_is_the_one_that_the_settings_make() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python tests/configuration_page.py"


def test_every_key_says_what_it_is_for() -> None:
    lines = [line.split(" | ") for line in page().splitlines() if line.startswith("| `")]
    assert [line[0] for line in lines if line[-1] in ("None |", " |") or line[1] == "any"] == []
    assert len(lines) == len([*leaves(Settings)])
