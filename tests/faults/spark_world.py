"""The same steps as in `world`, on real tables too: by the product's own opening, comparing, staging and publishing.

Only the model is left out: lists are empty. After each step both worlds have to agree on who is due, and why not.
"""

from collections.abc import Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from builders import write_events
from faults.world import Begun, Log, Row, World
from scoreline.context import Context
from scoreline.errors import Superseded
from scoreline.ingest.ingest import ingest_events
from scoreline.pipeline.audit import AuditMetrics
from scoreline.pipeline.changes import read_changes
from scoreline.pipeline.due_users import Due, count_due, find_due
from scoreline.pipeline.fence import rollback
from scoreline.pipeline.plan import DesiredState, due_by_changes, due_users
from scoreline.pipeline.publish import publication, publish_staged
from scoreline.pipeline.run import new_manifest, told_next
from scoreline.pipeline.slices import departures
from scoreline.pipeline.snapshot import open_run
from scoreline.pipeline.staging import LEFT, Staging, stage
from scoreline.tables import schema
from strangers import restore, update


class Both(World):
    """A world and its tables. `pipeline` makes contexts over them: `pipeline("films/1", now=...)`."""

    def __init__(self, pipeline: Any, folder: Path) -> None:
        super().__init__()
        self.pipeline, self.folder, self.events = pipeline, folder, 0
        self.open: dict[str, Any] = {}
        self.kept = ExitStack()
        made: Context = pipeline("films/1")
        self.spark = made.spark
        self.tables = {
            id(self.target): made.tables.table("recommendations"),
            id(self.history): made.tables.table("user_history"),
        }
        self.real_target, self.real_history = self.tables.values()
        self.real_target.create(schema.recommendations(made.keys))

    # what we do

    def ingest(self, users: Sequence[int], now: datetime) -> None:
        self.events += 1
        rows = [(user, 1 + self.events % 30, 1 + self.events % 5, 1_700_000_000 + self.events) for user in users]
        ingest_events(self.pipeline("films/1", now=now), write_events(self.folder / "events.csv", rows))
        super().ingest(users, now)

    def begin(
        self,
        now: datetime,
        *,
        model: str,
        quarter: bool = False,
        verify: bool = False,
        users: frozenset[int] | None = None,
    ) -> Begun:
        made = self.pipeline(f"films/{model}", now=now)
        opened = open_run(made, fraction=1.0, full_refresh=False, verify=verify, users=users)
        due = self.kept.enter_context(find_due(opened))
        plan = count_due(opened, due, made.settings)
        begun = super().begin(now, model=model, verify=verify, users=users)
        assert {row[0]: None for row in due.keys.collect()} == dict.fromkeys(begun.due)
        assert (opened.sequence, opened.target_version) == (begun.sequence, begun.base)
        if plan.due:
            manifest = new_manifest(made, opened, plan, compared=due.compared)
            staging = Staging.new(made.tables, opened.dependencies(made.settings), manifest)
            rows = opened.inputs.rows if plan.whole_table else due.rows(F.lit(True))
            self.open[begun.name] = (made, opened, staging, due, rows)
        return begun

    def finish(self, run: Begun, failed: frozenset[int] = frozenset(), slipped_in: Row | None = None) -> bool:
        published = False
        scored = set(run.to_score) - failed
        left = {user for user in run.chosen if run.due[user] == "left"}
        if scored or left:
            made, opened, staging, due, rows = self.open.pop(run.name)
            _stage(opened, staging, due, rows, failed)
            metrics = AuditMetrics(scored=len(scored), failed=len(failed), left=len(left))
            told = told_next(opened, staging.manifest)
            note = publication(staging.manifest, pipeline=made.settings.name, metrics=metrics, told=told)
            try:
                publish_staged(opened.target, staging, metrics, note)
                published = True
            except Superseded:
                pass
            staging.table.drop()
        assert super().finish(run, failed) == published
        return published

    def rollback(self, to: int, *, base: int, slipped_in: Row | None = None) -> None:
        rollback(self.real_target, run_id=self.real_target.commits()[-1 - to].note.run_id)
        super().rollback(to, base=base)

    # what strangers do

    def restore(self, log: Log, to: int, *, by_time: bool = False) -> None:
        restore(self.tables[id(log)], to)
        super().restore(log, to)

    def harmless(self, log: Log, operation: str) -> None:
        table = self.tables[id(log)]
        table.set_property("somebody", operation)
        super().harmless(log, "SET TBLPROPERTIES")
        table.optimize()
        if table.version() > log.version:  # there was something to compact
            super().harmless(log, "OPTIMIZE")

    def append(self, user: int, model: str) -> None:
        super().append(user, model)
        row = self.target.commits[-1]
        values = {"user_id": user, "bucket": 0, "history_hash": 0, "model_name": "films", "model_version": model}
        fields = [F.lit(values.get(f.name)).cast(f.dataType).alias(f.name) for f in self.real_target.read().schema]
        self.real_target.write(self.spark.range(1).select(*fields), "append")
        assert self.real_target.version() == row.version

    def delete(self, users: frozenset[int]) -> None:
        self.real_target.delete(_in(users))
        super().delete(users)

    def update(self, users: frozenset[int]) -> None:
        update(self.real_target, {"history_hash": "-1"}, _in(users))
        super().update(users)

    def forget(self, users: frozenset[int]) -> None:
        self.real_history.delete(_in(users))
        super().forget(users)

    def rewrite(self, users: frozenset[int]) -> None:
        update(self.real_history, {"history_hash": "history_hash + 1"}, _in(users))
        super().rewrite(users)

    # whether both agree

    def check(self, now: datetime, model: str) -> None:
        """Rows, logs and who is due, by the logs and by the keys, are the same in both worlds."""
        target, history = self.real_target.commits(), self.real_history.commits()
        assert [(c.version, c.kind) for c in target] == [(c.version, c.kind) for c in self.target.newest(10**6)]
        assert [(c.version, c.kind) for c in history] == [(c.version, c.kind) for c in self.history.newest(10**6)]
        assert _ids(self.real_target.read()) == sorted(row.user for row in self.target.rows)
        made = self.pipeline(f"films/{model}", now=now)
        wanted = DesiredState("films", model, open_run(made, fraction=1.0, full_refresh=False).rules.hash, None, now)
        rows = self.real_history.read()
        by_keys = due_users(rows.select("user_id", "bucket", "history_hash"), self.real_target.read(), wanted)
        assert _ids(by_keys) == sorted(self.due_by_keys(now, model))
        news, known = read_changes(target, history, input_name=self.real_history.location, too_old=None), self.news(now)
        assert (news is None) == (known is None)
        if news is not None and known is not None:
            assert _ids(due_by_changes(rows, news, wanted)) == sorted(self.due_by_logs(known, model))


def _stage(opened: Any, staging: Any, due: Due, rows: DataFrame, failed: frozenset[int]) -> None:
    outcome = F.when(F.col("user_id").isin(list(failed)), "failed").otherwise("scored")
    said = {"outcome": outcome, "source": F.lit("model"), "recommendations": F.array()}
    known = {name: F.col(name) for name in ("user_id", "bucket", "history_hash")}
    fields = opened.pinned.staged
    columns = [(known | said).get(f.name, F.lit(None)).cast(f.dataType).alias(f.name) for f in fields]
    stage(staging.table, rows.select(*columns), number=0, manifest=staging.manifest)
    stage(staging.table, departures(due.keys, fields), number=LEFT, manifest=None)


def _ids(rows: DataFrame) -> list[int]:
    return sorted(row[0] for row in rows.select("user_id").collect())


def _in(users: frozenset[int]) -> str:
    return f"user_id IN ({', '.join(map(str, sorted(users)))})"
