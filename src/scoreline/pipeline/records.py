"""What happened, for people and dashboards: a row of `runs`, an MLflow run. Nothing reads it to decide."""

import json
import logging
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Literal

from scoreline.config.settings import Settings
from scoreline.engine.engine import engine_of
from scoreline.engine.frames import one_row
from scoreline.errors import told
from scoreline.pipeline.audit import AuditMetrics
from scoreline.pipeline.manifest import Manifest
from scoreline.redaction import redacted
from scoreline.registry.run_log import log_run
from scoreline.tables import schema
from scoreline.tables.delta import Tables

log = logging.getLogger(__name__)

# how what is recorded ended; docs/codes.md says what each means
State = Literal["published", "approved", "only_failures", "refused", "superseded", "failed", "done"]


class Clock:
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


def record_run(
    tables: Tables,
    settings: Settings,
    manifest: Manifest,
    metrics: AuditMetrics | None,
    *,
    state: State,
    started_at: datetime,
    version: int | None = None,
    figures: Mapping[str, object] | None = None,
) -> None:
    """Record a scoring run in both places; `version` is what it published, None if it did not.

    `figures`: what there is to say beside the metrics.
    """
    lineage, known = manifest.lineage, {**(metrics.known() if metrics else {}), **(figures or {})}
    model = f"{lineage.model} version {lineage.model_version}"
    record(
        tables,
        run_id=manifest.run_id,
        kind="run",
        state=state,
        started_at=started_at,
        users=metrics.scored if metrics else 0,
        model=model,
        figures={
            **known,
            "input_version": lineage.input_version,
            "version": version,
            "engine": engine_of(tables.spark).name,
        },
    )
    read = {"input": (lineage.input, lineage.input_version)}
    written = {} if version is None else {"output": (tables.table(lineage.target).location, version)}
    log_run(
        settings,
        run_id=manifest.run_id,
        state=state,
        params={"model": model, "rules_hash": lineage.rules_hash, "k": lineage.k, "fraction": manifest.fraction},
        figures=known,
        tables={**read, **written},
    )


def record(
    tables: Tables,
    *,
    run_id: str,
    kind: str,
    state: State,
    started_at: datetime,
    users: int,
    model: str | None = None,
    figures: Mapping[str, object] | None = None,
) -> None:
    """Append one row; a failure to do so is logged and does not fail the work that it is about."""
    table = tables.table("runs")
    finished = datetime.now(UTC)
    text = redacted(json.dumps(dict(figures or {}), default=str, sort_keys=True))
    row = (run_id, kind, state, started_at, finished, model, users, text)
    try:
        table.create(schema.runs())
        table.write(one_row(tables.spark, row, schema.runs()), "append")
    except Exception as error:
        log.warning("the runs table could not be written run_id=%s state=%s reason=%s", run_id, state, told(error))
        log.debug("the runs table failed", exc_info=True)
