"""The rows of the run log as they were written; who else has written into it is no reason to fail."""

from collections.abc import Sequence
from typing import Any

from scoreline.runs.record import figures_of
from scoreline.tables.reading import Readers, Where, records

__all__ = ["logged"]


def logged(readers: Readers, columns: Sequence[str], *, where: Where) -> list[dict[str, Any]]:
    """Rows of `runs`, in no order, `figures` as a dict; none before the first command."""
    table = readers.table("runs")
    rows = records(table.rows(columns, where=where)) if table.exists() else []
    return [{**row, "figures": figures_of(row["figures"])} if "figures" in row else row for row in rows]
