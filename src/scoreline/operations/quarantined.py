"""Rows of the input that broke a rule, as people look at them: the newest, with their reasons."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from scoreline.errors import plain
from scoreline.operations.log import moment
from scoreline.report import Report
from scoreline.tables.reading import Readers, records

__all__ = ["Quarantined", "read_quarantine"]

_COLUMNS = ["ingested_at", "source_file", "reasons", "row_count", "raw_row"]


@dataclass(frozen=True)
class Quarantined(Report):
    """Bad rows, newest first, as `docs/tables.md` has them; equal rows of a source are one, with a `row_count`.

    found: how many there are of those asked for, of which `bad` are the newest. reasons: how many rows of the sources
    broke each rule, whatever reason was asked for (`asked`, None for any).
    """

    bad: list[dict[str, Any]]
    found: int
    reasons: Mapping[str, int]
    asked: str | None = None

    def rows(self) -> list[dict[str, object]]:
        """A bad row a row."""
        return [dict(row) for row in self.bad]

    def __str__(self) -> str:
        if not self.reasons:
            return "No row is in quarantine."
        lines = [line for row in self.bad for line in _shown(row)]
        fitting, all_of_them = (f" with {self.asked!r} in a reason", ", for any reason") if self.asked else ("", "")
        lines.append(
            f"{len(self.bad):,} of {self.found:,}{fitting} shown, equal rows once. In the sources{all_of_them}:"
        )
        return "\n".join(lines + [f"  {rows:,} rows: {reason}" for reason, rows in self.reasons.items()])


def read_quarantine(
    readers: Readers,
    *,
    reason: str | None = None,
    since: str | datetime | timedelta | None = None,
    last: int | None = None,
    now: datetime | None = None,
) -> Quarantined:
    """The newest bad rows; of a long table no more is in memory. Raises InputError for a moment that is none.

    reason: only rows that broke a rule with these words in its name. since: only what was met then or later.
    """
    table = readers.table("quarantine")
    earliest = None if since is None else moment(since, now or datetime.now(UTC))
    newest, found, reasons = pa.table({}), 0, Counter[str]()
    for batch in table.batches(_COLUMNS) if table.exists() else ():
        rows = pa.Table.from_batches([batch])
        if earliest is not None:
            rows = rows.filter(pc.greater_equal(rows["ingested_at"], pa.scalar(earliest)))
        reasons.update(_counted(rows))
        fitting = rows if reason is None else _with(rows, reason)
        found += fitting.num_rows
        both = pa.concat_tables([newest, fitting]) if newest.num_columns else fitting
        newest = both.sort_by([("ingested_at", "descending"), ("source_file", "ascending")])[:last]
    by_reason = dict(sorted(reasons.items(), key=lambda one: (-one[1], one[0])))
    return Quarantined(records(newest), found, by_reason, reason)


def _counted(rows: pa.Table) -> dict[str, int]:
    """How many rows of the source broke each rule."""
    parts = {"reason": pc.list_flatten(rows["reasons"]), "rows": rows["row_count"].take(_of(rows))}
    return dict(zip(*pa.table(parts).group_by("reason").aggregate([("rows", "sum")]).to_pydict().values(), strict=True))


def _with(rows: pa.Table, reason: str) -> pa.Table:
    has = pc.match_substring(pc.list_flatten(rows["reasons"]), reason, ignore_case=True)
    return rows.take(pc.unique(_of(rows).filter(has)))


def _of(rows: pa.Table) -> pa.ChunkedArray:
    """Of each reason the place of its row."""
    return pc.list_parent_indices(rows["reasons"])


def _shown(row: Mapping[str, Any]) -> list[str]:
    often = f" ({row['row_count']:,} times)" if row["row_count"] > 1 else ""
    head = f"{row['ingested_at']:%Y-%m-%d %H:%M:%S} UTC  {row['source_file']}: {'; '.join(row['reasons'])}{often}"
    return [head, f"    {plain(row['raw_row'] or '')}"]
