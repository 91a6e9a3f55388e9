"""The run, as data flows through it: open → plan → stage, slice by slice → audit → publish.

Level-triggered: a run looks at what the tables hold, not at what it remembers, so after a crash one simply runs again.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal
from uuid import uuid4

from scoreline.audit import judge
from scoreline.context import Context
from scoreline.errors import AuditRefused, InputError, ScorelineError, Superseded
from scoreline.lineage import log_run
from scoreline.lock import exclusive
from scoreline.opening import Due, Opened, count_due, find_due, open_run
from scoreline.plan import Plan
from scoreline.progress import Progress, silent
from scoreline.records import record
from scoreline.release import audit_figures, publish_staged, record_failures
from scoreline.slices import stage_slices
from scoreline.staging import Manifest, Staging, clean_staging, find_staging
from scoreline.tables import explained

_STATES = {AuditRefused: "refused", Superseded: "superseded"}


@dataclass(frozen=True)
class RunReport:
    """What a run did. `figures` are the audit's, `seconds` the time of each step."""

    run_id: str | None
    state: Literal["published", "nothing_due"]
    reasons: Mapping[str, int]
    model: str
    table: str
    version: int
    resumed_slices: int = 0
    figures: Mapping[str, Any] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


def plan_run(context: Context, *, fraction: float = 1.0, everyone: bool = False) -> tuple[Opened, Plan]:
    """Say what a run would do, without doing it."""
    opened = open_run(context, fraction=fraction, everyone=everyone)
    with explained("the tables could not be compared"):
        return opened, count_due(context, opened, find_due(opened))


def run(context: Context, *, fraction: float = 1.0, everyone: bool = False, progress: Progress = silent) -> RunReport:
    """Score who is due and publish the result in one commit.

    `fraction` takes that part of the buckets, those that have waited longest; `everyone` takes users that are up to
    date too. Raises AuditRefused (nothing is published, the staged rows stay as evidence), Superseded, RunInProgress,
    InputError or ConfigurationError. An interrupted run is taken up from its staged slices if its inputs are the same.
    """
    with exclusive(context.settings, "run"):
        clock = _Clock()
        opened = open_run(context, fraction=fraction, everyone=everyone)
        staging = find_staging(context, opened.dependencies(context))
        if staging is not None:
            opened = opened.as_of(staging.manifest.began)
        clock.lap("open")
        due = find_due(opened)
        try:
            if staging is None:
                with explained("the tables could not be compared"):
                    plan = count_due(context, opened, due)
                if plan.due == 0:
                    return _nothing_due(opened, plan)
                staging = _new_staging(context, opened, plan)
            clock.lap("plan")
            return _staged_and_published(context, opened, staging, due, progress, clock)
        finally:
            due.release()


def _nothing_due(opened: Opened, plan: Plan) -> RunReport:
    if plan.users == 0:
        raise InputError(f"{opened.inputs.name} has no user in it yet. Ingest first: scoreline ingest --events FILE")
    return RunReport(None, "nothing_due", {}, opened.model, opened.target.location, opened.target_version)


def _new_staging(context: Context, opened: Opened, plan: Plan) -> Staging:
    manifest = Manifest(
        run_id=f"{context.now:%Y%m%dT%H%M%S}-{uuid4().hex[:6]}",
        started_at=context.now.isoformat(),
        slices=plan.slices,
        reasons=plan.reasons,
        whole_table=plan.whole_table,
        complete=plan.complete,
        users=plan.users,
        buckets=plan.buckets,
    )
    return Staging.new(context, opened.dependencies(context), manifest)


def _staged_and_published(
    context: Context, opened: Opened, staging: Staging, due: Due, progress: Progress, clock: "_Clock"
) -> RunReport:
    """Stage what is not staged yet, audit, publish; whatever comes of it is recorded."""
    figures: dict[str, Any] = {}
    run_id = staging.manifest.run_id
    try:
        counted = stage_slices(context, opened, staging, due, progress)
        clock.lap("score")
        figures = audit_figures(context, opened, staging, counted)
        clock.lap("audit")
        _require_passed(context, staging, figures)
        if figures["failed"]:
            record_failures(context, opened, staging)
        with explained(f"run {run_id} could not be published"):
            version = publish_staged(context, opened, staging, figures)
        clock.lap("publish")
    except ScorelineError as error:
        _record(context, opened, run_id, _STATES.get(type(error), "failed"), {**figures, "error": str(error)}, None)
        raise
    staging.table.drop()
    clean_staging(context)
    _record(context, opened, run_id, "published", {**figures, **clock.named()}, version)
    clock.lap("record")
    return RunReport(
        run_id=run_id,
        state="published",
        reasons=staging.manifest.reasons,
        model=opened.model,
        table=opened.target.location,
        version=version,
        resumed_slices=len(staging.done),
        figures=figures,
        seconds=clock.laps,
    )


def _require_passed(context: Context, staging: Staging, figures: Mapping[str, Any]) -> None:
    broken = [gate for gate in judge(figures, context.settings.audit) if not gate.passed]
    if broken:
        said = "\n".join(f"  - {gate}" for gate in broken)
        raise AuditRefused(
            f"The audit refused to publish run {staging.manifest.run_id}; the table keeps its last good state.\n"
            f"{said}\n"
            f"The staged rows are kept in {staging.table.location} (columns outcome, code and message)."
        )


def _record(
    context: Context, opened: Opened, run_id: str, state: str, figures: Mapping[str, Any], version: int | None
) -> None:
    users = int(figures.get("scored", 0))
    versions = {"input_version": opened.inputs.version, "version": version}
    record(
        context,
        run_id=run_id,
        kind="run",
        state=state,
        users=users,
        model=opened.model,
        figures={**figures, **versions},
    )
    tables = {"input": (opened.inputs.name, opened.inputs.version)}
    log_run(
        context.settings,
        run_id=run_id,
        state=state,
        params={
            "model": opened.model,
            "rules_hash": opened.rules.hash,
            "k": opened.rules.k,
            "fraction": opened.fraction,
        },
        figures=figures,
        tables=tables if version is None else {**tables, "output": (opened.target.location, version)},
    )


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
