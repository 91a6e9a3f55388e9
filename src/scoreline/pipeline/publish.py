"""From staged rows to published ones: audit, failures to `scoring_errors`, one commit, and a record of how it ended.

A run and a person who approves what the audit refused do it by the same function. All it needs is the staged run's
manifest.
"""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from scoreline.config.settings import AuditSettings
from scoreline.context import Context
from scoreline.engine.failures import explained
from scoreline.engine.frames import united
from scoreline.engine.sql import quoted
from scoreline.errors import AuditRefused, NotUnique, RunFailed, ScorelineError, Superseded
from scoreline.pipeline.audit import AuditMetrics, Gate, evaluate_gates
from scoreline.pipeline.audit_sample import audit_metrics
from scoreline.pipeline.changes import ForNextRun
from scoreline.pipeline.fence import overtaken, replace_all, replace_some, superseded
from scoreline.pipeline.manifest import Lineage, Manifest, as_published
from scoreline.pipeline.reasons import why_failed
from scoreline.pipeline.staging import Staging, discard
from scoreline.registry.run_log import log_run
from scoreline.runs.record import Record
from scoreline.tables import schema
from scoreline.tables.commit_note import Publication
from scoreline.tables.delta import Table, Tables
from scoreline.tables.names import BUCKET, HISTORY_HASH, USER_ID
from scoreline.typed import typed

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Approval:
    """Who publishes in spite of the audit, and why."""

    by: str
    reason: str


@dataclass(frozen=True)
class Outcome:
    """What came of staged rows. version: of the target; None if all failed, within the budget: nothing was published.

    gates: the limits that were broken, and hold off nothing: they only warn, or were approved.
    """

    metrics: AuditMetrics
    version: int | None
    gates: tuple[Gate, ...]


def publish_audited(
    context: Context,
    staging: Staging,
    counted: Mapping[str, int],
    *,
    quarantined: int = 0,
    told: ForNextRun | None = None,
    approval: Approval | None = None,
) -> Outcome:
    """Audit what is staged and publish it in one commit; how it ends is recorded, however it ends.

    `counted`: the figures of the staged rows. Raises AuditRefused, if nobody approves, Superseded or NotUnique.
    """
    tables, settings, manifest, record = context.tables, context.settings, staging.manifest, context.record
    target = tables.table(manifest.lineage.target)
    with failure_recorded(context, staging), explained(f"run {manifest.run_id} could not be audited"):
        metrics = audit_metrics(
            staging, target, counted, sample_users=settings.audit.sample_users, quarantined=quarantined
        )
        record.lap("audit")
        record.users = metrics.scored
        record.say(**metrics.known())
    with failure_recorded(context, staging):
        gates = _judged(staging, metrics, settings.audit, record, approved=approval is not None)
        with explained(f"the failures of run {manifest.run_id} could not be recorded"):
            if metrics.failed:
                record_failures(tables, context.keys, staging)
        if not (metrics.scored or metrics.left):
            staging.table.drop()
            record.state = "only_failures"
            _log_to_mlflow(context, manifest, record)
            return Outcome(metrics, None, gates)
        note = publication(
            manifest, pipeline=settings.name, metrics=metrics, told=told, approval=approval, broken=gates
        )
        with explained(f"run {manifest.run_id} could not be published"):
            version = publish_staged(target, staging, metrics, note)
    record.lap("publish")
    discard(tables, staging)
    if approval is not None:
        record.say(approved_by=approval.by, approval=approval.reason, broken=note.broken)
    record.wrote(manifest.lineage.target, version)
    record.state = "published" if approval is None else "approved"
    _log_to_mlflow(context, manifest, record)
    record.lap("record")
    return Outcome(metrics, version, gates)


def _log_to_mlflow(context: Context, manifest: Manifest, record: Record) -> None:
    """The MLflow run of a scoring run; what it was, what it found, what it read and wrote."""
    lineage = manifest.lineage
    location = context.tables.table(lineage.target).location
    version = record.facts.get("written", {}).get(lineage.target)
    log_run(
        context.settings,
        run_id=manifest.run_id,
        state=str(record.state),
        params={
            "model": f"{lineage.model} version {lineage.model_version}",
            "rules_hash": lineage.rules_hash,
            "k": lineage.k,
            "fraction": manifest.fraction,
        },
        figures={**record.facts, **{f"{step}_seconds": seconds for step, seconds in record.laps.items()}},
        tables={
            "input": (lineage.input, lineage.input_version),
            **({} if version is None else {"output": (location, version)}),
        },
    )


@contextmanager
def failure_recorded(context: Context, staging: Staging) -> Iterator[None]:
    """What goes wrong inside stands in MLflow with the figures there are; the error goes on, and into `runs`.

    A run that fails because a newer one has published and tidied up says so.
    """
    try:
        yield
    except ScorelineError as failure:
        manifest, error = staging.manifest, failure
        target = context.tables.table(manifest.lineage.target)
        if isinstance(error, RunFailed) and not isinstance(error, Superseded) and overtaken(target, manifest.sequence):
            error = superseded(target)
        if isinstance(error, NotUnique):
            staging.table.drop()  # an input without versions would find these rows again, mended or not
        context.record.fail(error, str(error))
        context.record.say(staging=staging.table.name)
        _log_to_mlflow(context, manifest, context.record)
        raise error from None


def _judged(
    staging: Staging, metrics: AuditMetrics, limits: AuditSettings, record: Record, *, approved: bool
) -> tuple[Gate, ...]:
    """The limits that are broken; raises AuditRefused if one of them refuses, and nobody has approved."""
    manifest = staging.manifest
    gates = evaluate_gates(metrics, limits, whole_table=manifest.whole_table, selected=manifest.selection is not None)
    record.say(limits=[asdict(gate) for gate in gates])
    refusing = tuple(gate for gate in gates if gate.refuses)
    if approved:
        return refusing
    warning = tuple(gate for gate in gates if gate.warns and not gate.passed)
    for gate in warning:
        log.warning("run_id=%s %s", manifest.run_id, gate)
    if refusing:
        lines = [f"  - {gate}" for gate in refusing]
        if metrics.failed:
            lines.append(why_failed(staging.table.read()))
        listed = "\n".join(lines)
        again = typed(f"approve {manifest.run_id} --reason REASON")
        raise AuditRefused(
            f"The audit refused to publish run {manifest.run_id}; the table keeps its last good state.\n"
            f"{listed}\n"
            f"The staged rows are kept in {staging.table.location} (columns outcome, code and message). To score them "
            f"anew: --restart. To publish them all the same: {again}"
        )
    return warning


def publication(
    manifest: Manifest,
    *,
    pipeline: str,
    metrics: AuditMetrics,
    told: ForNextRun | None = None,
    approval: Approval | None = None,
    broken: tuple[Gate, ...] = (),
) -> Publication:
    """The note of the commit that publishes a run; what nobody vouches for the next run finds out itself."""
    known = told or ForNextRun()
    return as_published(
        manifest,
        pipeline,
        users=metrics.scored,
        complete=known.complete and not metrics.failed,
        input_at=known.input_at,
        oldest=known.oldest,
        verified_at=known.verified_at,
        approved_by=approval.by if approval else None,
        approval=approval.reason if approval else None,
        broken=[str(gate) for gate in broken] if approval else None,
    )


def publish_staged(target: Table, staging: Staging, metrics: AuditMetrics, note: Publication) -> int:
    """Publish in one commit; returns the version. Overwrites when everyone was due, merges otherwise.

    A user who has two rows is a reason to overwrite, too: a MERGE would replace both.
    """
    manifest, lineage, staged = staging.manifest, staging.manifest.lineage, staging.table.read()
    rows = _finished(target, manifest, staged.where(F.col("outcome") == "scored"))
    if manifest.whole_table:
        kept = _kept(target, lineage, staged) if metrics.failed else None
        return replace_all(target, rows if kept is None else united(rows, kept), note)
    if manifest.reasons.get("doubled"):
        others = _others(target, lineage, staged)
        return replace_all(target, united(rows, others), note)
    some = rows.withColumn("_left", F.lit(False))
    if metrics.left:
        leaving = _finished(target, manifest, staged.where(F.col("outcome") == "left"))
        some = some.unionByName(leaving.withColumn("_left", F.lit(True)))
    return replace_some(target, some, note)


def _finished(target: Table, manifest: Manifest, staged: DataFrame) -> DataFrame:
    """Staged rows with the lineage columns of the published table, in its order."""
    lineage = manifest.lineage
    own = {USER_ID, BUCKET, *(field.name for field in schema.scored_columns())}
    # a column that somebody else has added to the table is theirs to fill
    names = [name for name in target.read().columns if name not in own and name in staged.columns]
    outputs = [F.col(quoted(name)) for name in names]
    return staged.select(
        USER_ID,
        BUCKET,
        *outputs,
        "source",
        F.lit(lineage.model).alias("model_name"),
        F.lit(lineage.model_version).alias("model_version"),
        HISTORY_HASH,
        F.lit(lineage.rules_hash).alias("rules_hash"),
        F.lit(manifest.run_id).alias("run_id"),
        F.lit(manifest.began).cast("timestamp").alias("scored_at"),
    )


def _kept(target: Table, lineage: Lineage, staged: DataFrame) -> DataFrame:
    """Last night's rows of the users whose scoring failed tonight."""
    failed = staged.where(F.col("outcome") == "failed").select(USER_ID)
    return target.read(lineage.target_version).join(F.broadcast(failed), on=USER_ID, how="left_semi")


def _others(target: Table, lineage: Lineage, staged: DataFrame) -> DataFrame:
    """The rows of everyone whom this run neither scored nor found gone, each user once."""
    done = staged.where(F.col("outcome") != "failed").select(USER_ID)
    return target.read(lineage.target_version).join(done, on=USER_ID, how="left_anti").dropDuplicates([USER_ID])


def record_failures(tables: Tables, keys: schema.Keys, staging: Staging) -> None:
    """Append the failed users to `scoring_errors`, once per run however often it is tried."""
    table = tables.table("scoring_errors")
    table.create(schema.scoring_errors(keys))
    manifest = staging.manifest
    failed = (
        staging.table.read()
        .where(F.col("outcome") == "failed")
        .select(
            USER_ID,
            BUCKET,
            "code",
            "message",
            F.lit(manifest.lineage.model_version).alias("model_version"),
            F.lit(manifest.run_id).alias("run_id"),
            F.lit(manifest.began).cast("timestamp").alias("failed_at"),
        )
    )
    table.write(failed.coalesce(1), "append", {"txnAppId": f"errors/{manifest.run_id}", "txnVersion": "1"})
