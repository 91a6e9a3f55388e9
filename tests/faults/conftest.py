"""Fixtures of the fault suite: those of whole jobs, and the tally that is printed at the end."""

from typing import Any

import pytest

import builders
from faults import tally as counts
from integration.conftest import *  # noqa: F403  # pipelines over a registry with models


@pytest.fixture
def tally() -> counts.Tally:
    return counts.count


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if counts.COUNTS:
        terminalreporter.section("faults")
        for line in counts.lines({builders.ENGINE: counts.COUNTS}):
            terminalreporter.write_line(line)
    counts.keep()
