"""The run, as data flows through it: open → plan → stage, slice by slice → audit → publish.

Level-triggered: a run looks at what the tables hold, not at what it remembers, so after a crash one simply runs again.
"""

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from scoreline.context import Context, step
from scoreline.engine.failures import explained
from scoreline.engine.frames import count
from scoreline.errors import AuditRefused, InputError, NotUnique, RunFailed, ScorelineError, Superseded
from scoreline.pipeline.audit import AuditMetrics, Gate, evaluate_gates, users_gate
from scoreline.pipeline.changes import complete_note, oldest_row
from scoreline.pipeline.fence import note_verified, overtaken, superseded
from scoreline.pipeline.inputs import quarantine_unkeyed
from scoreline.pipeline.plan import Plan, PlanReport
from scoreline.pipeline.progress import Progress, silent
from scoreline.pipeline.publish import audit_metrics, publish_staged, record_failures
from scoreline.pipeline.reasons import why_failed
from scoreline.pipeline.records import record_run
from scoreline.pipeline.slices import stage_slices
from scoreline.pipeline.snapshot import Due, RunSnapshot, Verification, count_due, find_due, open_run
from scoreline.pipeline.staging import Lineage, Manifest, Staging, clean_staging, discard, find_staging
from scoreline.report import Report
from scoreline.tables.lock import exclusive

log = logging.getLogger(__name__)

_STATES = {AuditRefused: "refused", Superseded: "superseded"}


@dataclass(frozen=True)
class RunReport(Report):
    """What a run did. `seconds` are the time of each step, `warnings` limits that only warn.

    `audit`: the figures it was judged by, None if nothing was due.
    `only_failures`: those who were due failed again, within the budget, so there was nothing to publish.
    `verification`: how the logs' answer compares with that of all keys, if both were asked.
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

    def __str__(self) -> str:
        if (found := self.audit) is None:
            compared = " All keys were compared: the logs had said the same." if self.verification else ""
            return f"Nothing is due: everyone is up to date with {self.model}. Nothing was written.{compared}"
        if self.state == "only_failures":
            return (
                f"Run {self.run_id}: {found.wanted:,} users due = 0 scored + {found.failed:,} failed, within the "
                "budget. Nothing was published; the reasons are in scoring_errors."
            )
        scored, seconds = found.scored, self.seconds.get("score", 0.0)
        lines = [
            f"Run {self.run_id} with {self.model}: {found.wanted:,} users due = {scored:,} scored + "
            f"{found.failed:,} failed"
            + (f"; {found.left:,} removed" if found.left else "")
            + (f"; {found.quarantined:,} rows without a key quarantined" if found.quarantined else ""),
            "  due: " + ", ".join(f"{count:,} {reason}" for reason, count in self.reasons.items()),
            f"  {scored / seconds:,.0f} users per second while scoring; "
            + ", ".join(f"{step} {lap:.1f} s" for step, lap in self.seconds.items())
            if seconds
            else "",
            f"  audit: {found}",
            f"  published to {self.table} version {self.version}",
        ]
        if self.verification:
            lines.append(f"  all keys were compared: the logs had missed {self.verification.missed:,} due users")
        lines += [f"  warning: {warning}" for warning in self.warnings]
        if self.resumed_slices:
            lines.insert(1, f"  {self.resumed_slices} slice(s) of an interrupted run were taken over")
        return "\n".join(line for line in lines if line)


@step
def plan_run(context: Context, *, fraction: float = 1.0, full_refresh: bool = False) -> PlanReport:
    """Say what a run would do, without doing it."""
    opened = open_run(context, fraction=fraction, full_refresh=full_refresh, create=False)
    with explained("the tables could not be compared"):
        plan = count_due(context, opened, find_due(opened))
    return PlanReport(
        opened.model, plan.users, plan.due, plan.reasons, plan.to_score, len(plan.slices), plan.whole_table
    )


@step
def run(
    context: Context,
    *,
    fraction: float = 1.0,
    full_refresh: bool = False,
    restart: bool = False,
    verify: bool = False,
    progress: Progress = silent,
) -> RunReport:
    """Score who is due and publish the result in one commit.

    `fraction` takes that part of the buckets, those that have waited longest; `full_refresh` takes users that are up to
    date too; `restart` drops what an interrupted or refused run has staged; `verify` compares the keys of both tables,
    whatever their logs say, and reports who would have been missed. Raises AuditRefused (nothing is published,
    the staged rows stay as evidence), Superseded, RunInProgress, InputError or ConfigurationError. An interrupted run
    is taken up from its staged slices if its inputs are the same.
    """
    with exclusive(context.settings, context.tables, "run"), explained("the run failed"):
        clock = _Clock()
        opened = open_run(context, fraction=fraction, full_refresh=full_refresh, verify=verify)
        staging = find_staging(context, opened.dependencies(context))
        if staging is not None and restart:
            staging.table.drop()
            staging = None
        if staging is not None:
            opened = opened.as_of(staging.manifest.began)
        clock.lap("open")
        due = find_due(opened)
        try:
            if staging is None:
                with explained("the tables could not be compared"):
                    plan = count_due(context, opened, due)
                _warn_of_missed(due)
                if plan.due == 0:
                    clean_staging(context)
                    return _nothing_due(opened, plan, due)
                _require_users(context, opened, plan)
                staging = _new_staging(context, opened, plan, compared=due.compared)
            clock.lap("plan")
            return _staged_and_published(context, opened, staging, due, progress, clock)
        finally:
            due.release()


def _warn_of_missed(due: Due) -> None:
    if due.verification and due.verification.missed:
        log.warning(
            "the tables' logs did not tell of %d due users (%s, ...); all keys were compared, and they are scored now. "
            "Please report it",
            due.verification.missed,
            ", ".join(map(str, due.verification.examples)),
        )


def _nothing_due(opened: RunSnapshot, plan: Plan, due: Due) -> RunReport:
    if plan.users == 0:
        raise InputError(f"{opened.inputs.name} has no user in it yet. Ingest first: scoreline ingest --events FILE")
    if due.verification:
        note_verified(opened.target, base_version=opened.target_version, at=opened.wanted.now)
    return RunReport(
        None,
        "nothing_due",
        {},
        opened.model,
        opened.target.location,
        opened.target_version,
        verification=due.verification,
    )


def _require_users(context: Context, opened: RunSnapshot, plan: Plan) -> None:
    """Raise AuditRefused if there are far fewer users than are published; nothing has been scored by then."""
    before = count(opened.published()) if plan.leaving else 0
    for gate in users_gate(plan.users, before, context.settings.audit):
        if gate.refuses:
            raise AuditRefused(
                f"Nothing was scored or published: {gate}. Is the input of {opened.inputs.name} complete? If users are "
                "really gone: --set audit.min_users_share=0"
            )
        if not gate.passed:
            log.warning("%s", gate)


def _new_staging(context: Context, opened: RunSnapshot, plan: Plan, *, compared: bool) -> Staging:
    manifest = Manifest(
        run_id=f"{context.now:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}",
        sequence=opened.sequence,
        started_at=context.now.isoformat(),
        slices=plan.slices,
        reasons=plan.reasons,
        whole_table=plan.whole_table,
        complete=plan.complete,
        users=plan.users,
        buckets=plan.buckets,
        lineage=Lineage(
            target=opened.target.name,
            target_version=opened.target_version,
            model=opened.wanted.model_name,
            model_version=opened.wanted.model_version,
            input=opened.inputs.name,
            input_version=opened.inputs.version,
            rules_hash=opened.rules.hash,
            k=opened.rules.k,
        ),
        fraction=opened.fraction,
        compared=compared,
    )
    return Staging.new(context, opened.dependencies(context), manifest)


def _staged_and_published(
    context: Context, opened: RunSnapshot, staging: Staging, due: Due, progress: Progress, clock: "_Clock"
) -> RunReport:
    """Stage what is not staged yet, audit, publish; whatever comes of it is recorded."""
    metrics: AuditMetrics | None = None
    run_id = staging.manifest.run_id
    try:
        with explained(f"run {run_id} failed"):
            quarantined = quarantine_unkeyed(context, opened.inputs)
            counted = stage_slices(context, opened, staging, due, progress)
            opened.inputs.require_same_files()
            clock.lap("score")
            metrics = audit_metrics(context, staging, counted, quarantined=quarantined)
        clock.lap("audit")
        warnings = _require_passed(context, staging, metrics)
        with explained(f"the failures of run {run_id} could not be recorded"):
            if metrics.failed:
                record_failures(context, staging)
        if not (metrics.scored or metrics.left):
            return _only_failures(context, opened, staging, metrics)
        with explained(f"run {run_id} could not be published"):
            said = _for_the_next_run(opened, staging.manifest, complete=not metrics.failed)
            version = publish_staged(context, staging, metrics, said=said)
        clock.lap("publish")
    except ScorelineError as failure:
        error = _who_was_first(opened, failure)
        if isinstance(error, NotUnique):
            staging.table.drop()  # an input without versions would find these rows again, mended or not
        state = _STATES.get(type(error), "failed")
        record_run(
            context,
            staging.manifest,
            state=state,
            figures={**(metrics.known() if metrics else {}), "error": str(error)},
        )
        raise error from None
    discard(context, staging)
    record_run(
        context, staging.manifest, state="published", figures={**metrics.known(), **clock.named()}, version=version
    )
    clock.lap("record")
    return RunReport(
        run_id=run_id,
        state="published",
        reasons=staging.manifest.reasons,
        model=opened.model,
        table=opened.target.location,
        version=version,
        resumed_slices=len(staging.done),
        audit=metrics,
        seconds=clock.laps,
        warnings=tuple(map(str, warnings)),
        verification=due.verification,
    )


def _for_the_next_run(opened: RunSnapshot, manifest: Manifest, *, complete: bool) -> dict[str, Any]:
    """What the publishing commit says, so that the next run need not compare all keys."""
    began, inputs = manifest.began, opened.inputs
    oldest = oldest_row(opened.news, whole_table=manifest.whole_table, began=began)
    known = opened.news.verified_at if opened.news else None
    verified = began if manifest.compared else known
    return {
        **complete_note(inputs.commits, version=inputs.version, complete=complete and manifest.complete, oldest=oldest),
        "verified_at": verified.isoformat() if verified else None,
    }


def _who_was_first(opened: RunSnapshot, error: ScorelineError) -> ScorelineError:
    """A run that fails because a newer one has published and tidied up says so."""
    if isinstance(error, RunFailed) and not isinstance(error, Superseded) and overtaken(opened.target, opened.sequence):
        return superseded(opened.target)
    return error


def _only_failures(context: Context, opened: RunSnapshot, staging: Staging, metrics: AuditMetrics) -> RunReport:
    manifest = staging.manifest
    staging.table.drop()
    record_run(context, manifest, state="only_failures", figures=metrics.known())
    return RunReport(
        run_id=manifest.run_id,
        state="only_failures",
        reasons=manifest.reasons,
        model=opened.model,
        table=opened.target.location,
        version=opened.target_version,
        audit=metrics,
    )


def _require_passed(context: Context, staging: Staging, metrics: AuditMetrics) -> list[Gate]:
    """Raise AuditRefused if a gate refuses; returns those that only warn."""
    manifest = staging.manifest
    gates = evaluate_gates(metrics, context.settings.audit, whole_table=manifest.whole_table)
    warned = [gate for gate in gates if gate.warns and not gate.passed]
    for gate in warned:
        log.warning("run_id=%s %s", manifest.run_id, gate)
    if broken := [gate for gate in gates if gate.refuses]:
        said = [f"  - {gate}" for gate in broken]
        if metrics.failed:
            said.append(why_failed(staging.table.read()))
        listed = "\n".join(said)
        raise AuditRefused(
            f"The audit refused to publish run {manifest.run_id}; the table keeps its last good state.\n"
            f"{listed}\n"
            f"The staged rows are kept in {staging.table.location} (columns outcome, code and message). To score them "
            f'anew: --restart. To publish them all the same: scoreline publish --run {manifest.run_id} --accept "why"'
        )
    return warned


class _Clock:
    """Seconds of each step of a run."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.monotonic()

    def lap(self, step: str) -> None:
        now = time.monotonic()
        self.laps[step] = round(now - self._last, 3)
        self._last = now

    def named(self) -> dict[str, float]:
        return {f"{step}_seconds": seconds for step, seconds in self.laps.items()}
