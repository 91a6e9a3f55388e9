"""Reports as people read them: plain lines for the terminal, JSON for machines."""

import dataclasses
import json
from datetime import datetime
from typing import Any

from scoreline.export.export import ExportReport
from scoreline.ingest.ingest import IngestReport
from scoreline.operations.doctor import Check
from scoreline.operations.maintenance import Maintained
from scoreline.operations.repair import RepairReport
from scoreline.operations.show import Line, Status, UserView
from scoreline.pipeline.approve import ApprovalReport
from scoreline.pipeline.plan import MEANING, Plan
from scoreline.pipeline.rollback import RollbackReport
from scoreline.pipeline.run import RunReport
from scoreline.registry.versions import Promotion
from scoreline.training.train import TrainReport


def as_json(report: Any) -> str:
    """A report's fields as one line of JSON."""
    if isinstance(report, list):
        report = [dataclasses.asdict(one) for one in report]
    plain = dataclasses.asdict(report) if dataclasses.is_dataclass(report) and not isinstance(report, type) else report
    return json.dumps(plain, default=_plain, ensure_ascii=False)


def _plain(value: object) -> object:
    return value.isoformat() if isinstance(value, datetime) else str(value)


def ingested(report: IngestReport) -> str:
    lines = [
        f"{report.source}: {report.rows_read:,} rows read = {report.rows_good:,} good + {report.rows_bad:,} "
        "quarantined",
        *[f"  {count:,} rows: {reason}" for reason, count in report.reasons.items()],
        f"{report.users_in_source:,} users in it, {report.users_changed:,} histories changed "
        f"(user_history version {report.version})",
        *_beyond(report),
        *report.drift,
    ]
    return "\n".join(lines)


def _beyond(report: IngestReport) -> list[str]:
    if not report.items_beyond:
        return []
    return [
        f"{report.items_beyond:,} items of {report.users_beyond:,} of these users lie beyond histories.max_items: "
        "models are not shown them, and they stay excluded"
    ]


def planned(plan: Plan, model: str) -> str:
    if plan.due == 0:
        return f"Nothing is due: all {plan.users:,} users are up to date with {model}."
    lines = [f"{plan.due:,} users are due with {model}:"]
    lines += [f"  {count:>12,}  {reason:<12} {MEANING[reason]}" for reason, count in plan.reasons.items()]  # type: ignore[index]
    how = "replace the whole table" if plan.whole_table else "merge them into the table"
    return "\n".join([*lines, f"A run would score {plan.to_score:,} users in {len(plan.slices)} slice(s) and {how}."])


def ran(report: RunReport) -> str:
    if report.state == "nothing_due":
        compared = " All keys were compared: the logs had said the same." if report.verification else ""
        return f"Nothing is due: everyone is up to date with {report.model}. Nothing was written.{compared}"
    found = report.audit
    if found is None:
        raise ValueError("a run that scored has figures")
    if report.state == "only_failures":
        return (
            f"Run {report.run_id}: {found.wanted:,} users due = 0 scored + {found.failed:,} failed, within the "
            "budget. Nothing was published; the reasons are in scoring_errors."
        )
    scored, seconds = found.scored, report.seconds.get("score", 0.0)
    lines = [
        f"Run {report.run_id} with {report.model}: {found.wanted:,} users due = {scored:,} scored + "
        f"{found.failed:,} failed"
        + (f"; {found.left:,} removed" if found.left else "")
        + (f"; {found.quarantined:,} rows without a key quarantined" if found.quarantined else ""),
        "  due: " + ", ".join(f"{count:,} {reason}" for reason, count in report.reasons.items()),
        f"  {scored / seconds:,.0f} users per second while scoring; "
        + ", ".join(f"{step} {lap:.1f} s" for step, lap in report.seconds.items())
        if seconds
        else "",
        f"  audit: {found}",
        f"  published to {report.table} version {report.version}",
    ]
    if report.verification:
        lines.append(f"  all keys were compared: the logs had missed {report.verification.missed:,} due users")
    lines += [f"  warning: {warning}" for warning in report.warnings]
    if report.resumed_slices:
        lines.insert(1, f"  {report.resumed_slices} slice(s) of an interrupted run were taken over")
    return "\n".join(line for line in lines if line)


def accepted(report: ApprovalReport) -> str:
    lines = [
        f"Run {report.run_id}: {report.users:,} users published to {report.table} version {report.version}, accepted "
        f"by {report.accepted_by}: {report.reason}",
        *[f"  in spite of: {gate}" for gate in report.broken],
    ]
    return "\n".join(lines)


def trained(report: TrainReport) -> str:
    training = report.training
    named = {"model": training.metrics, "popularity": training.baseline}
    if training.champion:
        named[f"version {training.champion.version}"] = training.champion.metrics
    lines = [
        f"{training.name} version {training.version} ({training.estimator}), trained on {training.users:,} users and "
        f"{training.items:,} items",
        f"  tested on {training.test_users:,} users, {training.split}",
    ]
    if training.metrics:
        lines.append("  " + f"{'':<24}" + "".join(f"{name:>14}" for name in named))
        lines += [
            f"  {name:<24}" + "".join(f"{figures[name]:>14.4f}" for figures in named.values())
            for name in training.metrics
        ]
    if found := training.champion:
        lines.append(
            f"  {found.metric} {found.difference:+.4f} ± {found.error:.4f} (standard error) against version "
            f"{found.version} made of the same events"
        )
    if training.recency:
        tried = ", ".join(f"{value}: {figure:.4f}" for value, figure in training.recency.items())
        lines.append(f"  history_half_life {tried}; taken: {_shown(training.params['history_half_life'])}")
    lines += [f"  note: {note}" for note in training.notes]
    return "\n".join(lines + ([promoted(report.promotion)] if report.promotion else []))


def _shown(value: object) -> str:
    return "null" if value is None else str(value)


def promoted(report: Promotion) -> str:
    if report.previous == report.version:
        return f"{report.name}@{report.alias} is version {report.version} already"
    before = f" (was version {report.previous})" if report.previous else ""
    return f"{report.name}@{report.alias} is version {report.version}{before}"


def exported(report: ExportReport) -> str:
    if report.previous == report.version and report.everyone is None:
        return f"{report.target} shows version {report.version} already; nothing was sent."
    sent = f"{report.replaced:,} users replaced, {report.removed:,} removed"
    lines = [f"{report.target}: {sent}; it shows version {report.version}"]
    if report.everyone is not None and report.previous is not None:
        lines.append(f"  everyone's lists were sent: {report.everyone}")
    lines += [f"  {count:,} users left out: {reason}" for reason, count in report.left_out.items()]
    return "\n".join(lines)


def rolled_back(report: RollbackReport) -> str:
    version = report.model_version
    stay = (
        f", with the same version {version}."
        if report.next_version == str(version)
        else f": to stay with this model, promote it first (scoreline promote --version {version} --force), or name it "
        "in model.uri."
    )
    return (
        f"{report.table} shows run {report.run_id} again ({report.model} version {report.model_version}), as table "
        f"version {report.version}.\nThe next run scores again whoever is due{stay}"
        + (f"\n{exported(report.exported)}" if report.exported else "")
    )


def examined(checks: list[Check]) -> str:
    lines = []
    for check in checks:
        lines.append(f"{check.verdict:<5} {check.name:<22} {check.found}")
        if check.verdict != "ok":
            lines.append(f"{'':<28} {check.advice}")
    bad, warn = (sum(check.verdict == verdict for check in checks) for verdict in ("bad", "warn"))
    return "\n".join([*lines, "All is well." if not bad + warn else f"{bad} bad, {warn} to look at."])


def maintained(report: Maintained) -> str:
    lines = [f"  {name:<16} {files:>6,} files" for name, files in report.files.items()]
    return "\n".join([*lines, *([f"{report.removed} leftover(s) of dead runs removed"] if report.removed else [])])


def repaired(report: RepairReport) -> str:
    if not report.users:
        return f"Each user has one row; nothing was changed (user_history version {report.version})."
    return f"{report.users:,} users had more rows than one and have one now (user_history version {report.version})."


def user(view: UserView, *, most: int | None = None) -> str:
    lines = [f"User {view.user_id}", "  watched last:", *[f"    {_line(line)}" for line in view.history]]
    if view.recommended is None:
        return "\n".join([*lines, "  nothing is recommended yet: scoreline run"])
    lines.append(f"  recommended ({view.made_by}):")
    return "\n".join(
        lines + [f"    {rank:>3}. {_line(line)}" for rank, line in enumerate(view.recommended[:most], start=1)]
    )


def _line(line: Line) -> str:
    when = f"  {line.at:%Y-%m-%d}" if line.at else ""
    return f"{line.title or line.item_id}  ({line.value:.4g}){when}"


def state(found: Status) -> str:
    lines = ["tables"]
    lines += [
        f"  {t['table']:<16} {t['rows']:>12,} rows   version {t['version']:<5} {_when(t['changed_at'])}"
        for t in found.tables
    ]
    if found.published:
        p = found.published
        lines.append(
            f"published  run {p.get('run_id')} with {p.get('model')} version {p.get('model_version')}, "
            f"table version {p['version']}"
        )
    if found.freshness and found.freshness.get("oldest"):
        lines.append(
            f"freshness  rows scored between {_when(found.freshness['oldest'])} and {_when(found.freshness['newest'])}"
        )
    lines.append("last runs")
    lines += [
        f"  {r['run_id']:<24} {r['kind']:<9} {r['state']:<12} {r['users']:>10,} users  {_when(r['started_at'])}"
        for r in found.runs
    ]
    return "\n".join(lines)


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"
