"""Read what the page of a run says: the log of runs, the commits, and a sample of the lists before and after."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scoreline.config.settings import Settings
from scoreline.errors import InputError, ScorelineError
from scoreline.operations.log import read_log, unfinished
from scoreline.operations.report.catalogue import read_catalogue
from scoreline.operations.report.examples import choose_listed, choose_scored, histories_of
from scoreline.operations.report.facts import (
    FIGURES,
    Due,
    ModelFacts,
    Point,
    Recorded,
    RunFacts,
    SeenAgain,
    Trend,
    recorded,
)
from scoreline.operations.report.lists import compare_lists, counted
from scoreline.operations.report.model_facts import model_facts
from scoreline.operations.report.outputs import compare_outputs
from scoreline.operations.report.sample import Tally, chosen_buckets, few, of_users
from scoreline.operations.staged import slices_staged, staged, staged_by
from scoreline.tables.commit_note import Publication
from scoreline.tables.history import published_commit
from scoreline.tables.names import BUCKET, PUBLISHED, RECOMMENDATIONS, USER_ID
from scoreline.tables.reading import Readers, TableReader, Where, records
from scoreline.typed import typed

log = logging.getLogger(__name__)

RUNS_SHOWN = 30
_SEEN_SHOWN = 3
_LINEAGE = {"source", "model_name", "model_version", "history_hash", "rules_hash", "run_id", "scored_at"}
_STAGED = {"history_hash", "outcome", "source", "seen_count", "forbidden_count", "code", "message"}
_UNTOLD = ("nothing_due", "up_to_date")  # runs that made no rows


@dataclass(frozen=True)
class Made:
    """Where a run's rows are, and those that they replace or would.

    where: what tells them from others in the table. before: None where the table was made by this run.
    """

    rows: TableReader
    version: int | None
    where: Where
    target: TableReader
    before: int
    input_version: int | None
    model: tuple[str, str]
    rules_hash: str | None
    reasons: Mapping[str, int] | None = None
    slices: tuple[int, int] | None = None
    published: bool = True

    @property
    def is_lists(self) -> bool:
        return self.target.name == RECOMMENDATIONS


def gather(readers: Readers, *, run: Recorded, now: datetime) -> RunFacts:
    """All that is known of a run. What cannot be read any more is named in `missing`."""
    runs = read_runs(readers)
    earlier = tuple(other for other in runs if other.started_at < run.started_at)[-(RUNS_SHOWN - 1) :]
    later = {other.run_id for other in runs if other.started_at > run.started_at}
    facts = RunFacts(
        pipeline=readers.settings.name,
        run=run,
        made_at=now,
        earlier=earlier,
        trends=trends(run, earlier),
        due=_due(run),
        versions=(*_tables_of(run), *_software(run)),
    )
    missing: dict[str, str] = {}
    try:
        made = _made(readers, run)
        note = _shown(readers)
        shown = note.run_id if note else None
        before = _model_before(readers.settings, run, note) if note else None
        facts = replace(facts, shown=shown, overtaken=shown in later, exported=_exported(readers), model_before=before)
        if made is None:
            missing["lists"] = _why_no_rows(run)
        else:
            facts = _with_rows(readers, facts, made)
    except ScorelineError as error:
        log.debug("the rows of a run could not be read", exc_info=True)
        missing["lists"] = f"The rows of this run cannot be read: {error}"
    return replace(facts, missing=missing)


def read_runs(readers: Readers) -> list[Recorded]:
    """Runs with somebody to score, oldest first; of one that was taken up again, or approved, how it ended.

    Those whose process is gone are among them, whether or not their rows are written yet.
    """
    table = readers.existing("runs", made_by=typed("run"))
    rows = [recorded(row) for row in records(table.rows(where={"kind": ["run", "approve"]}))]
    rows += [Recorded(**{**row, "users": 0}) for row in unfinished(readers) if row["state"] == "interrupted"]
    last: dict[str, Recorded] = {}
    for row in sorted(rows, key=lambda row: row.finished_at or row.started_at):
        if row.state == "approved":
            last[row.run_id] = _approved(row, last.get(row.run_id))
        elif row.kind == "run" and "held_off" not in row.figures:
            last[row.run_id] = row
    found = [row for row in last.values() if row.state not in _UNTOLD]
    return sorted(found, key=lambda row: (row.started_at, row.run_id))


def _approved(approval: Recorded, refused: Recorded | None) -> Recorded:
    """What was refused and approved: by whom, and by which limits; those of today's configuration may be others."""
    if refused is None:
        return approval
    judged = {name: refused.figures[name] for name in ("limits", "reasons") if name in refused.figures}
    broken = list(refused.broken) or approval.figures.get("broken")
    return replace(approval, figures={**approval.figures, **judged, "broken": broken})


def find_run(readers: Readers, *, run_id: str | None = None, since: datetime | None = None) -> Recorded:
    """A run as it is recorded, by default the newest that had somebody to score.

    Raises InputError if there is no such run, or none that ended at `since` or later.
    """
    runs = read_runs(readers)
    found = next((run for run in runs if run.run_id == run_id), None) if run_id else runs[-1] if runs else None
    if found is None and run_id and (logged := [run for run in read_log(readers).runs if run["run_id"] == run_id]):
        raise InputError(_no_page(logged[0]))
    if not runs:
        raise InputError(f"No run is recorded yet that had somebody to score. Make one with: {typed('run')}")
    if found is None:
        listed = ", ".join(run.run_id for run in runs[-5:])
        raise InputError(f"There is no run {run_id}; the last are {listed}.")
    if since is not None and (found.finished_at is None or found.finished_at < since):
        raise InputError("nobody was due, or it ended before there was anything to tell")
    return found


def _no_page(logged: Mapping[str, Any]) -> str:
    """Of what is in the log, and no run that had somebody to score and has ended."""
    run_id, kind, state = logged["run_id"], logged["kind"], logged["state"].replace("_", " ")
    article = "an" if kind[0] in "aeiou" else "a"
    what = f"Run {run_id} has no page ({state})" if kind == "run" else f"{run_id} is {article} {kind}"
    return f"{what}; what is known of it: {typed(f'log {run_id}')}"


def trends(run: Recorded, earlier: Sequence[Recorded]) -> tuple[Trend, ...]:
    """Each figure of the audit that the run has, with those of the runs before that have it too."""
    limits = {limit.name: limit for limit in run.limits or ()}
    found = []
    for name, (unit, _, _) in FIGURES.items():
        if run.figure(name) is None:
            continue
        values = [(other, other.figure(name)) for other in (*earlier, run)]
        points = tuple(Point(other.run_id, other.started_at, v) for other, v in values if v is not None)
        found.append(Trend(name, unit, points, limits.get(name)))
    return tuple(found)


def _due(run: Recorded) -> Due:
    number = {name: int(run.figures.get(name) or 0) for name in ("wanted", "scored", "fallback", "failed", "left")}
    reasons = run.figures.get("reasons")
    why = reasons if isinstance(reasons, Mapping) else None
    return Due(**number, reasons=why, counted="scored" in run.figures)  # type: ignore[arg-type]


def _made(readers: Readers, run: Recorded) -> Made | None:
    """Where the rows of a run are: published by a commit that is still in the log, or staged; None if they are gone."""
    for name in PUBLISHED:
        target = readers.table(name)
        for commit in target.commits() if target.exists() else ():
            if (note := commit.published) is not None and note.run_id == run.run_id:
                return Made(
                    rows=target,
                    version=commit.version,
                    where={"run_id": [run.run_id]},
                    target=target,
                    before=note.base_version if note.base_version is not None else commit.version - 1,
                    input_version=note.input_version,
                    model=(note.model or "", note.model_version or ""),
                    rules_hash=note.rules_hash,
                )
    if (kept := staged(readers, run.figures.get("staging")) or staged_by(readers, run.run_id)) is None:
        return None
    table, manifest = kept
    lineage = manifest.lineage
    return Made(
        rows=table,
        version=None,
        where={"outcome": ["scored"]},
        target=readers.table(lineage.target),
        before=lineage.target_version,
        input_version=lineage.input_version,
        model=(lineage.model, lineage.model_version),
        rules_hash=lineage.rules_hash,
        reasons=manifest.reasons,
        slices=slices_staged(table, manifest),
        published=False,
    )


def _why_no_rows(run: Recorded) -> str:
    if run.state in ("published", "approved"):
        return "The table's log no longer reaches back to this run, so its lists are not compared."
    if run.state == "interrupted":
        return "Not recorded: it was killed, and no rows of it are found, so there is nothing to compare."
    return "This run left no rows that are still there, so there is nothing to compare."


def _shown(readers: Readers) -> Publication | None:
    for name in PUBLISHED:
        table = readers.table(name)
        commit = published_commit(table.commits()) if table.exists() else None
        if commit is not None and commit.published is not None:
            return commit.published
    return None


def _model_before(settings: Settings, run: Recorded, shown: Publication) -> str | None:
    """The version that readers see the rows of, if it is an earlier one of the same model than the run's."""
    is_other = run.model not in (None, f"{shown.model} version {shown.model_version}")
    is_of_same = f"{run.model}".startswith(f"{shown.model} version ")
    return shown.model_version if is_other and is_of_same and "@" in settings.model.uri else None


def _exported(readers: Readers) -> str | None:
    """What the newest export that was done has sent; None where none is configured."""
    if readers.settings.export is None:
        return None
    rows = (recorded(row) for row in records(readers.table("runs").rows(where={"kind": ["export"], "state": ["done"]})))
    last = max(rows, key=lambda row: row.started_at, default=None)
    read = last.figures.get("read") if last else None
    if last is None or not isinstance(read, Mapping):
        return "no export is recorded"
    tables = ", ".join(f"{name} version {version}" for name, version in read.items())
    return f"{tables} at {last.started_at:%Y-%m-%d %H:%M} UTC"


def _with_rows(readers: Readers, facts: RunFacts, made: Made) -> RunFacts:
    settings = readers.settings
    tally = _tallied(readers, made, facts.run.run_id)
    due = replace(
        facts.due,
        reasons=facts.due.reasons or made.reasons,
        slices=made.slices,
        failures=tally.failures(),
        rows_before=made.target.count(made.before) if made.published else None,
        rows_after=made.target.count(made.version) if made.published else None,
    )
    facts = replace(facts, due=due, versions=_versions(made, facts.run), model=_model(readers, facts.run, *made.model))
    if not tally.scored:
        return facts
    buckets = chosen_buckets(tally.buckets, settings.audit.sample_users)
    if made.is_lists and not made.published and facts.run.figures.get("seen"):
        facts = replace(facts, seen=_seen_again(readers, made))
    if not made.is_lists:
        return _with_outputs(settings, facts, made, tally, buckets)
    return _with_lists(readers, facts, made, tally, buckets)


def _model(readers: Readers, run: Recorded, name: str, version: str) -> ModelFacts:
    where = {"kind": ["train"], "model": [f"{name} version {version}"]}
    rows = (recorded(row) for row in records(readers.table("runs").rows(where=where)))
    trained = max((row for row in rows if row.started_at < run.started_at), key=lambda r: r.started_at, default=None)
    return model_facts(readers.settings, name, version, trained.figures if trained else None)


def _tallied(readers: Readers, made: Made, run_id: str) -> Tally:
    """All rows of the run, counted in one pass."""
    tally = Tally()
    for batch in made.rows.batches([BUCKET, "source"], made.where, made.version):
        tally.add(batch)
    columns = [USER_ID, "code", "message"]
    if not made.published:
        failed = made.rows.batches(columns, {"outcome": ["failed"]})
    else:
        errors = readers.table("scoring_errors")
        if not errors.exists():
            return tally
        failed = errors.batches(columns, {"run_id": [run_id]})
    for batch in failed:
        tally.add_failures(batch)
    return tally


def _with_lists(readers: Readers, facts: RunFacts, made: Made, tally: Tally, buckets: list[int]) -> RunFacts:
    """The lists of at most `audit.sample_users` users, in a few buckets, against those that they replace."""
    columns, most = [USER_ID, "source", RECOMMENDATIONS], readers.settings.audit.sample_users
    schema = _lists_schema(made.rows, made.version)
    rows = made.rows.batches(columns, {**made.where, BUCKET: buckets}, made.version)
    new = few(_unnested(rows, schema), schema, most)
    users = new[USER_ID].combine_chunks()
    rows = made.target.batches(columns, {BUCKET: buckets}, made.before)
    old = of_users(_unnested(rows, schema), schema, users)
    history = readers.table("user_history")
    watched: dict[Any, int] = {}
    lengths: dict[Any, int] = {}
    for batch in history.batches([USER_ID, "item_ids"], {BUCKET: buckets}, made.input_version):
        here = batch.filter(pc.is_in(batch[USER_ID], value_set=users))
        lengths.update(zip(here[USER_ID].to_pylist(), pc.list_value_length(here["item_ids"]).to_pylist(), strict=True))
        for item, count in counted(here["item_ids"]).items():
            watched[item] = watched.get(item, 0) + count
    chosen = choose_listed(new, old, lengths, seed=facts.run.run_id)
    chosen = histories_of(chosen, history, buckets, made.input_version)
    catalogue = read_catalogue(readers.table("items"), {*watched, *counted(new["item_ids"]), *counted(old["item_ids"])})
    lists = compare_lists(
        new, old, of=tally.scored, watched=watched, genres=catalogue.genres, catalogue=catalogue.genre_sizes
    )
    return replace(facts, lists=lists, examples=chosen, titles=catalogue.titles)


def _seen_again(readers: Readers, made: Made) -> SeenAgain:
    """Who is recommended what they have seen: all staged rows are counted, and a few users looked up."""
    users, buckets = [], []
    for batch in made.rows.batches([USER_ID, BUCKET, "seen_count"], made.where):
        there = batch.filter(pc.greater(batch["seen_count"], 0))
        users += there[USER_ID].to_pylist()
        buckets += there[BUCKET].to_pylist()
    few_users = sorted(zip(users, buckets, strict=True))[:_SEEN_SHOWN]
    where: Where = {USER_ID: [user for user, _ in few_users], BUCKET: sorted({bucket for _, bucket in few_users})}
    histories = readers.table("user_history").rows([USER_ID, "item_ids"], where, made.input_version)
    watched = {row[USER_ID]: set(row["item_ids"]) for row in records(histories)}
    lists = records(made.rows.rows([USER_ID, RECOMMENDATIONS], {**made.where, **where}))
    listed = {row[USER_ID]: [item["item_id"] for item in row[RECOMMENDATIONS]] for row in lists}
    examples = (
        (user, next((item for item in listed.get(user, ()) if item in watched.get(user, ())), None))
        for user, _ in few_users
    )
    return SeenAgain(len(users), tuple(examples))


def _lists_schema(rows: TableReader, version: int | None) -> pa.Schema:
    head = rows.rows([USER_ID, RECOMMENDATIONS], {BUCKET: []}, version).schema
    item = head.field(RECOMMENDATIONS).type.value_type.field("item_id").type
    return pa.schema(
        {
            USER_ID: head.field(USER_ID).type,
            "source": pa.string(),
            "item_ids": pa.list_(item),
            "scores": pa.list_(pa.float32()),
        }
    )


def _unnested(batches: pa.RecordBatchReader, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Lists of structs as two lists."""
    for batch in batches:
        nested = batch[RECOMMENDATIONS]
        flat = nested.flatten()
        ends = np.concatenate([[0], np.cumsum(pc.fill_null(pc.list_value_length(nested), 0).to_numpy())])
        parts = [
            pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pc.struct_field(flat, name))
            for name in ("item_id", "score")
        ]
        columns = [batch[USER_ID], batch["source"], *parts]
        yield pa.RecordBatch.from_arrays(
            [column.cast(field.type) for column, field in zip(columns, schema, strict=True)], schema=schema
        )


def _with_outputs(settings: Settings, facts: RunFacts, made: Made, tally: Tally, buckets: list[int]) -> RunFacts:
    """The outputs of at most `audit.sample_users` users against those that they replace."""
    there = set(made.target.rows(where={BUCKET: []}, version=made.before).column_names)
    head = made.rows.rows(where={BUCKET: []}, version=made.version)
    names = [n for n in head.column_names if n in there and n not in {USER_ID, BUCKET, *_LINEAGE, *_STAGED}]
    columns = [USER_ID, "source", *names]
    kept = pa.schema([head.schema.field(name) for name in columns])
    rows = made.rows.batches(columns, {**made.where, BUCKET: buckets}, made.version)
    new = few(rows, kept, settings.audit.sample_users)
    new = new.append_column("model_version", pa.array([made.model[1]] * new.num_rows, pa.string()))
    before = [USER_ID, "source", *names, "model_version"]
    old_schema = kept.append(pa.field("model_version", pa.string()))
    rows = made.target.batches(before, {BUCKET: buckets}, made.before)
    old = of_users(rows, old_schema, new[USER_ID].combine_chunks())
    outputs = compare_outputs(new, old, names, of=tally.scored)
    return replace(facts, outputs=outputs, examples=choose_scored(new, old, names, seed=facts.run.run_id))


def _versions(made: Made, run: Recorded) -> tuple[tuple[str, str], ...]:
    target, history = made.target.name, f"version {made.input_version}"
    after = f"{made.version} after" if made.published else "nothing was published"
    written = f"version {made.before} before, {after}"
    lines = [
        (target, written),
        ("input", history if made.input_version is not None else "has no versions"),
        ("rules", made.rules_hash or "not recorded"),
        *_software(run),
    ]
    return tuple(lines)


def _tables_of(run: Recorded) -> list[tuple[str, str]]:
    """The versions that a run says it has read and written."""
    found = [(run.figures.get(what), how) for what, how in (("read", "read"), ("written", "written"))]
    return [
        (str(name), f"version {version} {how}")
        for tables, how in found
        if isinstance(tables, Mapping)
        for name, version in tables.items()
    ]


def _software(run: Recorded) -> list[tuple[str, str]]:
    """How it was configured, what worked, and where."""
    said = run.figures
    versions = said.get("versions")
    software = (
        ", ".join(f"{name} {version}" for name, version in versions.items()) if isinstance(versions, dict) else ""
    )
    lines = [
        ("configuration", said.get("configuration") or "not recorded"),
        ("engine", said.get("engine") or "not recorded"),
        ("software", software),
        ("host", said.get("host")),
        ("command", said.get("command")),
    ]
    return [(name, str(text)) for name, text in lines if text]
