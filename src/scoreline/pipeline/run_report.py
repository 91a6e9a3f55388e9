"""What a run says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from scoreline.pipeline.audit import AuditMetrics
from scoreline.pipeline.budget import Pace
from scoreline.pipeline.due_users import Verification
from scoreline.pipeline.plan import Asked, nothing_due
from scoreline.report import Report
from scoreline.typed import typed


@dataclass(frozen=True)
class RunReport(Report):
    """What a run did. `seconds` are the time of each step, `warnings` limits that only warn.

    `audit`: the figures it was judged by, None if nothing was due.
    `only_failures`: those who were due failed again, within the budget, so there was nothing to publish.
    `verification`: how the logs' answer compares with that of all keys, if both were asked. `asked`: of a run for some
    users, how many they were and how many of them are unknown. `pace`: of a run that has left due users to later ones,
    when everybody will be fresh.
    """

    run_id: str | None
    state: Literal["published", "nothing_due", "only_failures"]
    reasons: Mapping[str, int]
    model: str
    table: str
    version: int
    resumed_slices: int = 0
    audit: AuditMetrics | None = None
    seconds: Mapping[str, float] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    verification: Verification | None = None
    asked: Asked | None = None
    pace: Pace | None = None

    def __str__(self) -> str:
        if (found := self.audit) is None:
            compared = " All keys were compared: the logs had said the same." if self.verification else ""
            return f"{nothing_due(self.asked)} with {self.model}. Nothing was written.{compared}"
        if self.state == "only_failures":
            return (
                f"Run {self.run_id}: {found.wanted:,} users due = 0 scored + {found.failed:,} failed, within the "
                "budget. Nothing was published; the reasons are in scoring_errors."
            )
        scored, seconds = found.scored, self.seconds.get("score", 0.0)
        # of slices that were taken over, this run has not seen the time
        is_known = seconds and scored and not self.resumed_slices
        rate = f"{scored / seconds:,.0f} users per second while scoring; " if is_known else ""
        lines = [
            f"Run {self.run_id} with {self.model}: {found.wanted + found.left:,} users due = {scored:,} scored + "
            f"{found.failed:,} failed"
            + (f" + {found.left:,} removed, who have left" if found.left else "")
            + (
                f"; {found.quarantined:,} rows without a key quarantined: {typed('quarantine')}"
                if found.quarantined
                else ""
            ),
            "  due: " + ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.items()),
            f"  {rate}" + ", ".join(f"{step} {lap:.1f} s" for step, lap in self.seconds.items()),
            f"  audit: {found}",
            f"  published to {self.table} version {self.version}",
        ]
        if self.pace:
            lines.append(f"  {self.pace}")
        if self.asked:
            lines.insert(1, f"  {self.asked}")
        if self.verification:
            lines.append(f"  all keys were compared: the logs had missed {self.verification.missed:,} due users")
        lines += [f"  warning: {warning}" for warning in self.warnings]
        if self.resumed_slices:
            lines.insert(1, f"  {self.resumed_slices} slice(s) of an interrupted run were taken over")
        return "\n".join(line for line in lines if line)
