"""The run, as data flows through it: snapshot → due users → plan → stage, slice by slice → audit and publish.

Level-triggered: a run looks at what the tables hold, not at what it remembers, so after a crash one simply runs again.
"""

import logging
from collections.abc import Callable, Iterable
from dataclasses import asdict
from datetime import timedelta

from scoreline.config.settings import Settings
from scoreline.context import Context, logged, step
from scoreline.engine.engine import engine_of
from scoreline.engine.failures import explained
from scoreline.engine.frames import count
from scoreline.errors import AuditRefused, InputError, ScorelineError
from scoreline.pipeline.audit import users_gate
from scoreline.pipeline.budget import pace
from scoreline.pipeline.changes import ForNextRun, for_next_run
from scoreline.pipeline.distribute import worker_peak_bytes
from scoreline.pipeline.due_users import Due, count_due, find_due
from scoreline.pipeline.estimate import Costs, learn_costs
from scoreline.pipeline.fence import note_verified
from scoreline.pipeline.inputs import quarantine_unkeyed, read_name
from scoreline.pipeline.manifest import Lineage, Manifest
from scoreline.pipeline.plan import Plan, PlanReport
from scoreline.pipeline.progress import Progress, silent
from scoreline.pipeline.publish import failure_recorded, publish_audited
from scoreline.pipeline.run_report import RunReport
from scoreline.pipeline.slices import stage_slices
from scoreline.pipeline.snapshot import RunSnapshot, open_run
from scoreline.pipeline.staging import Staging, clean_staging, find_staging
from scoreline.runs.past import PastRun, read_past
from scoreline.runs.record import Record
from scoreline.tables.lock import exclusive
from scoreline.tables.reading import open_readers
from scoreline.typed import typed

log = logging.getLogger(__name__)


@logged("run")
@step
def run(
    context: Context,
    *,
    fraction: float = 1.0,
    budget: timedelta | None = None,
    full_refresh: bool = False,
    users: Iterable[object] | None = None,
    restart: bool = False,
    verify: bool = False,
    progress: Progress = silent,
    page: Callable[[], str | None] | None = None,
) -> RunReport:
    """Score who is due and publish the result in one commit.

    `fraction` takes that part of the buckets, those that have waited longest; `budget` as many of these as by past runs
    fit into that time; `full_refresh` takes users that are up to date too; `users` are the ids of those whom it is for,
    nobody else is scored; `restart` drops what an interrupted or refused run has staged; `verify` compares the keys of
    both tables, whatever their logs say, and reports who would have been missed. Raises AuditRefused (nothing is
    published, the staged rows stay as evidence), Superseded, RunInProgress, InputError or ConfigurationError. An
    interrupted run is taken up from its staged slices if its inputs are the same.
    """
    settings, tables, record = context.settings, context.tables, context.record
    with exclusive(settings, tables, "run"), explained("the run failed"):
        snapshot = open_run(
            context, fraction=fraction, budget=budget, full_refresh=full_refresh, users=users, verify=verify
        )
        past = _past(context) if snapshot.in_part else []
        _pinned(settings, record, snapshot)
        staging = _interrupted(context, snapshot, restart=restart)
        if staging is not None:
            snapshot = snapshot.as_of(staging.manifest.began)
        costs = learn_costs(past, selected=False) if budget is not None else None
        record.lap("open")
        with find_due(snapshot) as due:
            if staging is None:
                plan = _planned(context, snapshot, due, costs)
                if plan.due == 0:
                    clean_staging(tables)
                    record.say(waiting=_waiting(snapshot, 0))
                    record.state = "nothing_due"
                    return _nothing_due(snapshot, plan, due)
                _require_users(context, snapshot, plan)
                manifest = new_manifest(context, snapshot, plan, compared=due.compared)
                staging = Staging.new(tables, snapshot.dependencies(settings), manifest)
            manifest = staging.manifest
            record.take_up(manifest.run_id)
            record.say(
                reasons=manifest.reasons,
                to_score=manifest.to_score,
                waiting=_waiting(snapshot, manifest.waiting),
                resumed_slices=len(staging.done),
            )
            record.lap("plan")
            with failure_recorded(context, staging), explained(f"run {staging.manifest.run_id} failed"):
                quarantined = quarantine_unkeyed(tables, snapshot.inputs, now=context.now)
                counted = stage_slices(context, snapshot, staging, due, progress)
                if (peak := worker_peak_bytes(context.spark)) is not None:
                    record.say(worker_peak_mib=round(peak / 2**20))
                snapshot.inputs.require_same_files()
            record.lap("score")
        outcome = publish_audited(
            context,
            staging,
            counted,
            quarantined=quarantined,
            told=told_next(snapshot, staging.manifest),
        )
    published = outcome.version is not None
    taken, left, to_learn = sum(manifest.reasons.values()), manifest.waiting, costs is not None and not costs.seconds
    return RunReport(
        run_id=staging.manifest.run_id,
        state="published" if published else "only_failures",
        reasons=staging.manifest.reasons,
        model=snapshot.model,
        table=snapshot.target.location,
        version=snapshot.target_version if outcome.version is None else outcome.version,
        resumed_slices=len(staging.done),
        audit=outcome.metrics,
        seconds=record.laps,
        warnings=tuple(map(str, outcome.gates)),
        verification=due.verification,
        asked=due.asked,
        pace=pace(past, now=context.now, taken=taken, left=left, full_refresh=full_refresh, to_learn=to_learn)
        if left
        else None,
    )


@step
def plan_run(
    context: Context,
    *,
    fraction: float = 1.0,
    budget: timedelta | None = None,
    full_refresh: bool = False,
    users: Iterable[object] | None = None,
) -> PlanReport:
    """Say what a run would do and cost, without doing it."""
    snapshot = open_run(context, fraction=fraction, budget=budget, full_refresh=full_refresh, users=users, create=False)
    costs = learn_costs(_past(context), selected=False) if budget is not None else None
    with find_due(snapshot) as due, explained("the tables could not be compared"):
        plan = count_due(snapshot, due, context.settings, costs=costs)
    if plan.due and costs is None:
        costs = learn_costs(_past(context), selected=plan.selected)
    return PlanReport(
        snapshot.model,
        plan.users,
        plan.due,
        plan.reasons,
        plan.to_score,
        len(plan.slices),
        plan.whole_table,
        due.asked,
        plan.waiting,
        costs.estimate(plan.reasons) if plan.due and costs else None,
    )


def _past(context: Context) -> list[PastRun]:
    """Past runs like this one; none, and a warning, where the log cannot be read."""
    try:
        return read_past(open_readers(context.settings, context.spark), engine=engine_of(context.spark).name)
    except ScorelineError as error:
        log.warning("the run log could not be read, so nothing is estimated from it: %s", error)
        return []


def _waiting(snapshot: RunSnapshot, users: int) -> int | None:
    """The due users that a run leaves, where that says how many become due: not if it looks at some, or takes all."""
    return None if snapshot.selection or snapshot.wanted.full_refresh else users


def _pinned(settings: Settings, record: Record, snapshot: RunSnapshot) -> None:
    """What the run is made of, as the run log tells it."""
    record.model = snapshot.model
    record.read(read_name(settings, snapshot.inputs.name), snapshot.inputs.version)
    record.read(snapshot.target.name, snapshot.target_version)
    record.say(
        rules_hash=snapshot.rules.hash,
        fraction=snapshot.fraction,
        budget_seconds=snapshot.budget.total_seconds() if snapshot.budget else None,
        selection=snapshot.selection.fingerprint if snapshot.selection else None,
        input_version=snapshot.inputs.version,
    )


def _interrupted(context: Context, snapshot: RunSnapshot, *, restart: bool) -> Staging | None:
    staging = find_staging(context.tables, snapshot.dependencies(context.settings))
    if staging is not None and restart:
        staging.table.drop()
        return None
    return staging


def _planned(context: Context, snapshot: RunSnapshot, due: Due, costs: Costs | None) -> Plan:
    with explained("the tables could not be compared"):
        plan = count_due(snapshot, due, context.settings, costs=costs)
    if due.verification and due.verification.missed:
        log.warning(
            "the tables' logs did not tell of %d due users (%s, ...); all keys were compared, and they are scored now. "
            "Please report it",
            due.verification.missed,
            ", ".join(map(str, due.verification.examples)),
        )
    return plan


def _nothing_due(snapshot: RunSnapshot, plan: Plan, due: Due) -> RunReport:
    if plan.users == 0:
        raise InputError(f"{snapshot.inputs.name} has no user in it yet. Ingest first: {typed('ingest --events FILE')}")
    if due.verification:
        note_verified(snapshot.target, base_version=snapshot.target_version, at=snapshot.wanted.now)
    return RunReport(
        None,
        "nothing_due",
        {},
        snapshot.model,
        snapshot.target.location,
        snapshot.target_version,
        verification=due.verification,
        asked=due.asked,
    )


def _require_users(context: Context, snapshot: RunSnapshot, plan: Plan) -> None:
    """Raise AuditRefused if there are far fewer users than are published; nothing has been scored by then."""
    before = count(snapshot.published()) if plan.leaving else 0
    gates = users_gate(plan.users, before, context.settings.audit)
    context.record.say(reasons=plan.reasons, limits=[asdict(gate) for gate in gates])
    for gate in gates:
        if gate.refuses:
            raise AuditRefused(
                f"Nothing was scored or published: {gate}. Is the input of {snapshot.inputs.name} complete? If users "
                "are really gone: --set audit.min_users_share=0"
            )
        if not gate.passed:
            log.warning("%s", gate)


def new_manifest(context: Context, snapshot: RunSnapshot, plan: Plan, *, compared: bool) -> Manifest:
    """What this run is to do, as its staging table keeps it."""
    return Manifest(
        run_id=context.record.run_id,
        sequence=snapshot.sequence,
        started_at=context.now.isoformat(),
        slices=plan.slices,
        reasons=plan.reasons,
        whole_table=plan.whole_table,
        complete=plan.complete,
        users=plan.users,
        buckets=plan.buckets,
        lineage=Lineage(
            target=snapshot.target.name,
            target_version=snapshot.target_version,
            model=snapshot.wanted.model_name,
            model_version=snapshot.wanted.model_version,
            input=snapshot.inputs.name,
            input_version=snapshot.inputs.version,
            rules_hash=snapshot.rules.hash,
            k=snapshot.rules.k,
        ),
        fraction=snapshot.fraction,
        compared=compared,
        selection=snapshot.selection.fingerprint if snapshot.selection else None,
        waiting=plan.waiting,
    )


def told_next(snapshot: RunSnapshot, manifest: Manifest) -> ForNextRun:
    """What the publishing commit says, so that the next run need not compare all keys."""
    return for_next_run(
        snapshot.inputs.commits,
        input_version=snapshot.inputs.version,
        began=manifest.began,
        complete=manifest.complete,
        compared=manifest.compared,
        whole_table=manifest.whole_table,
        known=snapshot.news,
    )
