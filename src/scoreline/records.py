"""The `runs` table: what happened, for people and dashboards. Nothing reads it to decide."""

import json
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from scoreline import schema
from scoreline.context import Context
from scoreline.redaction import redacted
from scoreline.tables import one_row

log = logging.getLogger(__name__)


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
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        log.warning("the runs table could not be written run_id=%s state=%s reason=%s", run_id, state, reason)
        log.debug("the runs table failed", exc_info=True)
