"""Commits for tests that need no table: notes as they stand in a log, with only what matters spelled out."""

import json
from datetime import datetime
from typing import Any

from scoreline.tables.commit_note import Note, Publication, read_note
from scoreline.tables.history import Commit


def noted(**said: Any) -> Note | None:
    """A note as it is read from a log that says just this."""
    return read_note(json.dumps(said, default=lambda value: value.isoformat()))


def publication(**said: Any) -> Publication:
    """A publication's note that says just this."""
    return Publication(
        **{name: None for name in Publication.model_fields if name not in ("format", "kind", "attempt")} | said
    )


def commit(version: int, at: datetime, operation: str, *, parameters: Any = None, **said: Any) -> Commit:
    return Commit(version, at, operation, noted(**said) if said else None, {}, parameters or {})
