"""The page of a run, written to a file."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from scoreline.operations.report.gather import find_run, gather
from scoreline.operations.report.run_page import render
from scoreline.report import Report
from scoreline.tables.reading import Readers


@dataclass(frozen=True)
class PageReport(Report):
    """Which run's page was written, and where."""

    run_id: str
    state: str
    file: Path

    def __str__(self) -> str:
        return f"{self.file}: run {self.run_id}, {self.state.replace('_', ' ')}"


def write_page(
    readers: Readers, *, run_id: str | None = None, file: Path | None = None, since: datetime | None = None
) -> PageReport:
    """Write the page of a run, by default the newest's, to `file`, by default `report-<run>.html` in this folder.

    Raises InputError if there is no such run, or none that ended at `since` or later; OSError where the file cannot be
    written.
    """
    run = find_run(readers, run_id=run_id, since=since)
    facts = gather(readers, run=run, now=datetime.now(UTC))
    written = file or Path(f"report-{re.sub(r'[^A-Za-z0-9_.-]', '_', facts.run.run_id)}.html")
    written.write_text(render(facts), encoding="utf-8")
    return PageReport(facts.run.run_id, facts.run.state, written)
