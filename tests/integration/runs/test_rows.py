"""The run log's rows, also where somebody else has written some."""

from typing import Any

import pytest

from builders import NOW
from embedded import HOUR
from scoreline.operations.status import status
from scoreline.runs.rows import logged
from scoreline.tables import schema
from scoreline.tables.appending import append_row
from scoreline.tables.reading import open_readers


@pytest.mark.parametrize("figures", ["no JSON", "[1]", "3", None])
@pytest.mark.parametrize(("kind", "state"), [("run", "nothing_due"), ("train", "done"), ("export", "done")])
def test_a_row_of_somebody_else_says_nothing_and_stops_nobody(ran: Any, figures: Any, kind: str, state: str) -> None:
    made = ran(export={"url": "sqlite:///serving.db"})
    row = {"run_id": "theirs", "kind": kind, "state": state, "started_at": NOW + HOUR, "finished_at": NOW + 2 * HOUR,
           "model": None, "users": None, "figures": figures}  # fmt: skip
    append_row(made.tables.table("runs").location, schema.runs().json(), row)
    readers = open_readers(made.settings)
    assert logged(readers, ["kind", "figures"], where={"run_id": ["theirs"]}) == [{"kind": kind, "figures": {}}]
    found = status(readers, now=NOW + 3 * HOUR)
    assert found.due.now == ()
    assert found.last[kind]["run_id"] == "theirs"


def test_before_the_first_command_there_are_none(filled: Any) -> None:
    made = filled()
    made.tables.table("runs").drop()
    assert logged(open_readers(made.settings), ["run_id"], where={}) == []
