"""What happened, for people and dashboards: a row of `runs`, an MLflow run. Nothing reads it to decide."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from scoreline.context import Context
from scoreline.engine.frames import one_row
from scoreline.errors import told
from scoreline.pipeline.staging import Manifest
from scoreline.redaction import redacted
from scoreline.registry.run_log import log_run
from scoreline.tables import schema

log = logging.getLogger(__name__)


def record_run(
    context: Context, manifest: Manifest, *, state: str, figures: Mapping[str, Any], version: int | None = None
) -> None:
    """Record a scoring run in both places; `version` is what it published, None if it did not."""
    lineage = manifest.lineage
    model = f"{lineage.model} version {lineage.model_version}"
    record(
        context,
        run_id=manifest.run_id,
        kind="run",
        state=state,
        users=int(figures.get("scored", 0)),
        model=model,
        figures={**figures, "input_version": lineage.input_version, "version": version},
    )
    tables = {"input": (lineage.input, lineage.input_version)}
    output = {} if version is None else {"output": (context.tables.table(lineage.target).location, version)}
    log_run(
        context.settings,
        run_id=manifest.run_id,
        state=state,
        params={"model": model, "rules_hash": lineage.rules_hash, "k": lineage.k, "fraction": manifest.fraction},
        figures=figures,
        tables={**tables, **output},
    )


def record(
    context: Context,
    *,
    run_id: str,
    kind: str,
    state: str,
    users: int,
    model: str | None = None,
    figures: Mapping[str, Any] | None = None,
) -> None:
    """Append one row; a failure to do so is logged and does not fail the work that it is about."""
    table = context.tables.table("runs")
    finished = datetime.now(UTC)
    text = redacted(json.dumps(dict(figures or {}), default=str, sort_keys=True))
    row = (run_id, kind, state, context.now, finished, model, users, text)
    try:
        table.create(schema.runs())
        table.write(one_row(context.spark, row, schema.runs()), "append")
    except Exception as error:
        log.warning("the runs table could not be written run_id=%s state=%s reason=%s", run_id, state, told(error))
        log.debug("the runs table failed", exc_info=True)
