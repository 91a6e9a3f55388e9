"""A person publishes a run that the audit refused, and says why; both stand in the commit and in the `runs` table."""

from dataclasses import dataclass
from getpass import getuser

from scoreline.context import Context, logged, step
from scoreline.engine.failures import explained
from scoreline.errors import InputError, Mistyped
from scoreline.pipeline.inputs import read_name
from scoreline.pipeline.publish import Approval, publish_audited
from scoreline.pipeline.published import run_of
from scoreline.pipeline.slices import counted
from scoreline.pipeline.staging import LEFT, Staging, find_run
from scoreline.report import Report
from scoreline.tables.commit_note import Rollback
from scoreline.tables.delta import Table
from scoreline.tables.lock import exclusive


@dataclass(frozen=True)
class ApprovalReport(Report):
    """A run that was published by hand: the limits it broke, who took it upon themselves, and why."""

    run_id: str
    broken: tuple[str, ...]
    approved_by: str
    reason: str
    users: int
    table: str
    version: int

    def __str__(self) -> str:
        lines = [
            f"Run {self.run_id}: {self.users:,} users published to {self.table} version {self.version}, approved "
            f"by {self.approved_by}: {self.reason}",
            *[f"  in spite of: {gate}" for gate in self.broken],
        ]
        return "\n".join(lines)


@logged("approve")
@step
def approve_run(context: Context, run_id: str, *, reason: str) -> ApprovalReport:
    """Publish the staged rows of a run that the audit refused.

    Raises InputError if there is no such run, if it was not staged to its end, if nobody was scored, or if another run
    or a rollback has published since it began (its rows would replace newer ones).
    """
    if not reason.strip():
        raise Mistyped('Say why: --reason "a sentence that somebody can understand in a month".')
    with exclusive(context.settings, context.tables, "run"), explained(f"run {run_id} could not be published"):
        staging = find_run(context.tables, run_id)
        context.record.run_id = run_id
        lineage = staging.manifest.lineage
        context.record.model = f"{lineage.model} version {lineage.model_version}"
        context.record.read(read_name(context.settings, lineage.input), lineage.input_version)
        target = context.tables.table(staging.manifest.lineage.target)
        _require_whole(staging)
        _require_newest(staging, target)
        figures = counted(staging)
        if not (figures["scored"] or figures["left"]):
            raise InputError(f"Nobody was scored in run {run_id}: there is nothing to publish. Mend the model first.")
        approval = Approval(getuser(), reason)
        outcome = publish_audited(context, staging, figures, approval=approval)
    broken = tuple(map(str, outcome.gates))
    version = staging.manifest.lineage.target_version if outcome.version is None else outcome.version
    return ApprovalReport(run_id, broken, approval.by, reason, outcome.metrics.scored, target.location, version)


def _require_whole(staging: Staging) -> None:
    wanted = {part.number for part in staging.manifest.slices}
    if staging.manifest.reasons.get("left"):
        wanted.add(LEFT)
    if missing := wanted - staging.done:
        raise InputError(
            f"Run {staging.manifest.run_id} was stopped before it was through: {len(missing)} of {len(wanted)} slices "
            "are not staged. Run again."
        )


def _require_newest(staging: Staging, target: Table) -> None:
    began_at = staging.manifest.lineage.target_version
    newer = [c for c in target.commits() if c.version > began_at and c.kind in ("publish", "rollback")]
    if newer:
        by = newer[0].note.to_run if isinstance(newer[0].note, Rollback) else run_of(newer[0])
        raise InputError(
            f"{target.location} has changed since run {staging.manifest.run_id} began "
            f"({newer[0].kind} of {by}); its rows would replace newer ones. Run again."
        )
