"""What tables and columns are called, and where a table is: names that two modules share stand here, once."""

from collections.abc import Mapping
from pathlib import Path
from typing import Literal, get_args

import pyarrow as pa

from scoreline.config.settings import TablesSettings
from scoreline.config.sources import KeyType

USER_ID = "user_id"
BUCKET = "bucket"
HISTORY_HASH = "history_hash"
OLDER = "older_item_ids"
SINCE_FIRST = "since_first_us"
ADDED_AT = "added_at"
UPDATED_AT = "updated_at"
SCORED_AT = "scored_at"
RECOMMENDATIONS = "recommendations"
KEY_TYPES: Mapping[KeyType, pa.DataType] = {"long": pa.int64(), "string": pa.string()}  # of ids in Arrow
SOURCE = "_source"  # of a row that is read: where it came from,
RAW = "_raw"  # the row as text,
MALFORMED = "_malformed"  # and whether it is a line that does not fit the format
# what a model's results go to: lists of a recommender, outputs of any other
TARGETS: Mapping[Literal["recommender", "tabular"], str] = {"recommender": "recommendations", "tabular": "predictions"}
# of each table that is made
PROPERTIES = {"delta.enableDeletionVectors": "true", "delta.dataSkippingNumIndexedCols": "2"}
PUBLISHED = tuple(TARGETS.values())
# all that a pipeline may have
TABLES = ("user_history", *PUBLISHED, "quarantine", "scoring_errors", "items", "runs", "ingested_files")

# of `runs`: what was done,
Kind = Literal["ingest", "train", "promote", "run", "approve", "rollback", "export", "optimize", "vacuum", "repair"]
# and how it ended; docs/codes.md says what each means
State = Literal[
    "done", "published", "approved", "nothing_due", "only_failures", "refused", "superseded", "failed", "interrupted"
]
KINDS: tuple[Kind, ...] = get_args(Kind)
STATES: tuple[State, ...] = get_args(State)
ENDED_WELL: frozenset[State] = frozenset({"done", "published", "approved", "nothing_due", "only_failures"})


def place(settings: TablesSettings, name: str) -> str:
    """Where a table is: `<root>/<name>`, or `<catalog.schema>.<name>`.

    >>> place(TablesSettings(root="s3a://bucket/films/"), "runs"), place(TablesSettings(catalog="main.films"), "runs")
    ('s3a://bucket/films/runs', 'main.films.runs')
    """
    if settings.catalog:
        return f"{settings.catalog}.{name}"
    root = str(settings.root)
    base = root if "://" in root else str(Path(root).expanduser().absolute())
    return f"{base.rstrip('/')}/{name}"
