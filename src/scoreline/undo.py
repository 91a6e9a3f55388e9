"""Take a published run back."""

from dataclasses import dataclass
from typing import Any

from scoreline.context import Context
from scoreline.lock import exclusive
from scoreline.publish import rollback
from scoreline.records import record
from scoreline.tables import explained


@dataclass(frozen=True)
class RollbackReport:
    """The run that readers see again, with the model that made it, and the version the table has now."""

    run_id: str
    model: Any
    model_version: Any
    restored_version: int
    version: int
    table: str


def roll_back(context: Context, *, run_id: str | None = None) -> RollbackReport:
    """Bring the table back to what `run_id` (default: the run before the current one) had published.

    A run that began before cannot publish afterwards. Raises InputError if there is nothing to go back to.
    """
    with exclusive(context.settings, "run"), explained("the rollback failed"):
        name = "recommendations" if context.settings.input is None else "predictions"
        table = context.tables.existing(name, made_by="scoreline run")
        target, version = rollback(table, now=context.now, run_id=run_id)
    note = target.note
    restored = str(note.get("run_id"))
    record(
        context,
        run_id=restored,
        kind="rollback",
        state="done",
        users=int(note.get("users", 0)),
        figures=dict(note),
    )
    return RollbackReport(
        restored, note.get("model"), note.get("model_version"), target.version, version, table.location
    )
