"""The tables: one StructType each, a comment per column.

Keys are long or string, as the pipeline's `keys` say, so a schema is made for a pair of key types. No array has a null
in it; Spark's types allow them all the same, since Delta's MERGE cannot narrow what an expression is declared to give.
"""

from dataclasses import dataclass

from pyspark.sql import types as T

from scoreline.config.sources import KeyType
from scoreline.tables.names import BUCKET, HISTORY_HASH, KINDS, OLDER, RECOMMENDATIONS, SINCE_FIRST, STATES, USER_ID

_SPARK: dict[KeyType, T.DataType] = {"long": T.LongType(), "string": T.StringType()}


@dataclass(frozen=True)
class Keys:
    """The types of the two ids."""

    user: KeyType
    item: KeyType

    @property
    def user_type(self) -> T.DataType:
        return _SPARK[self.user]

    @property
    def item_type(self) -> T.DataType:
        return _SPARK[self.item]


def _field(name: str, kind: T.DataType, comment: str, *, nullable: bool = True) -> T.StructField:
    return T.StructField(name, kind, nullable, {"comment": comment})


def user_history(keys: Keys) -> T.StructType:
    return T.StructType(
        [
            _field(USER_ID, keys.user_type, "the user", nullable=False),
            _field(BUCKET, T.IntegerType(), "hash of user_id, what slices and fractions count in", nullable=False),
            _field("item_ids", T.ArrayType(keys.item_type), "items by time, oldest first; each once"),
            _field("weights", T.ArrayType(T.FloatType()), "weight of the newest event of each item"),
            _field("event_times", T.ArrayType(T.TimestampType()), "time of that event, UTC"),
            _field("event_count", T.IntegerType(), "length of the arrays"),
            _field("last_event_at", T.TimestampType(), "newest of event_times, UTC"),
            _field(HISTORY_HASH, T.LongType(), "xxhash64 of the arrays", nullable=False),
            _field("added_at", T.TimestampType(), "when ingest first met the user, UTC"),
            _field("updated_at", T.TimestampType(), "when ingest last changed the row, UTC"),
            older_items(keys),
            since_first(),
        ]
    )


def older_items(keys: Keys) -> T.StructField:
    """One of the last columns: tables that were made before there were these have them added."""
    comment = "items seen before those of item_ids (histories.max_items), ascending, each once; null if there are none"
    return _field(OLDER, T.ArrayType(keys.item_type), comment)


def since_first() -> T.StructField:
    """How long before its newest event an item was first met; added like `older_items`."""
    comment = (
        "microseconds from the first event of each item, or from the oldest of event_times if that is later and items "
        "were cut off, to its newest; null if no item came twice"
    )
    return _field(SINCE_FIRST, T.ArrayType(T.LongType()), comment)


def recommended(keys: Keys) -> T.ArrayType:
    """The list itself: best first, ties by item id, no nulls."""
    return T.ArrayType(T.StructType([T.StructField("item_id", keys.item_type), T.StructField("score", T.FloatType())]))


def scored_columns() -> list[T.StructField]:
    """What every published row says about where it came from."""
    return [
        _field("source", T.StringType(), "model, or fallback for a user the model knows nothing of"),
        _field("model_name", T.StringType(), "registered model"),
        _field("model_version", T.StringType(), "version of it that was pinned at the run's start"),
        _field(HISTORY_HASH, T.LongType(), "the history the row was made from"),
        _field("rules_hash", T.StringType(), "the rules (k, exclusions, lists) it was made with"),
        _field("run_id", T.StringType(), "the run that made it"),
        _field("scored_at", T.TimestampType(), "start of that run, UTC"),
    ]


def recommendations(keys: Keys, outputs: list[T.StructField] | None = None) -> T.StructType:
    """One row per user. `outputs` are the columns a model that is no recommender returns."""
    found = [_field(RECOMMENDATIONS, recommended(keys), "best first, ties by item id")] if outputs is None else outputs
    return T.StructType(
        [
            _field(USER_ID, keys.user_type, "the user", nullable=False),
            _field(BUCKET, T.IntegerType(), "hash of user_id", nullable=False),
            *found,
            *scored_columns(),
        ]
    )


def staged(keys: Keys, outputs: list[T.StructField] | None = None) -> T.StructType:
    """What a slice of a run writes before the audit: results, failures and departures in one pass."""
    found = [_field(RECOMMENDATIONS, recommended(keys), "best first, ties by item id")] if outputs is None else outputs
    return T.StructType(
        [
            _field(USER_ID, keys.user_type, "the user", nullable=False),
            _field(BUCKET, T.IntegerType(), "hash of user_id", nullable=False),
            _field(HISTORY_HASH, T.LongType(), "the history the row was made from"),
            _field("outcome", T.StringType(), "scored, failed, or left (the user has no history any more)"),
            *found,
            _field("source", T.StringType(), "model or fallback"),
            _field("seen_count", T.IntegerType(), "recommended items that the user has seen and must not see again"),
            _field("forbidden_count", T.IntegerType(), "recommended items that the rules forbid"),
            _field("code", T.StringType(), "why the user failed, as a code"),
            _field("message", T.StringType(), "why the user failed, in words"),
        ]
    )


def quarantine() -> T.StructType:
    return T.StructType(
        [
            _field("source_file", T.StringType(), "file, table or database the row came from"),
            _field("raw_row", T.StringType(), "the row as text"),
            _field("reasons", T.ArrayType(T.StringType()), "every rule it breaks"),
            _field("row_count", T.LongType(), "how often the same row stands in the source"),
            _field(
                "row_hash",
                T.LongType(),
                "xxhash64 of source, row and reasons; the table's key",
                nullable=False,
            ),
            _field("ingested_at", T.TimestampType(), "when it was first met, UTC"),
        ]
    )


def scoring_errors(keys: Keys) -> T.StructType:
    return T.StructType(
        [
            _field(USER_ID, keys.user_type, "the user", nullable=False),
            _field(BUCKET, T.IntegerType(), "hash of user_id", nullable=False),
            _field("code", T.StringType(), "kind of failure"),
            _field("message", T.StringType(), "what the model said"),
            _field("model_version", T.StringType(), "version that failed"),
            _field("run_id", T.StringType(), "the run"),
            _field("failed_at", T.TimestampType(), "start of that run, UTC"),
        ]
    )


def items(keys: Keys) -> T.StructType:
    return T.StructType(
        [
            _field("item_id", keys.item_type, "the item", nullable=False),
            _field("title", T.StringType(), "what people call it"),
            _field("genres", T.StringType(), "kinds, as the source writes them"),
        ]
    )


def ingested_files() -> T.StructType:
    return T.StructType(
        [
            _field("path", T.StringType(), "the file, as its address", nullable=False),
            _field("size", T.LongType(), "bytes"),
            _field("modified_at", T.TimestampType(), "when it was changed last, UTC"),
            _field("digest", T.StringType(), "sha256 of its bytes"),
            _field("same_as", T.StringType(), "the file that was taken in its place, having the same bytes"),
            _field("refused", T.StringType(), "why it could not be taken; null if it was"),
            _field("ingested_at", T.TimestampType(), "when it was taken or tried last, UTC"),
        ]
    )


def runs() -> T.StructType:
    return T.StructType(
        [
            _field(
                "run_id",
                T.StringType(),
                "the command; a run taken up again has a row an attempt",
                nullable=False,
            ),
            _field("kind", T.StringType(), ", ".join(KINDS)),
            _field("state", T.StringType(), f"how it ended: {', '.join(STATES)}"),
            _field("started_at", T.TimestampType(), "UTC"),
            _field("finished_at", T.TimestampType(), "UTC; null for what was interrupted: nobody was there to say"),
            _field("model", T.StringType(), "name and version; null if no model was looked at"),
            _field("users", T.LongType(), "users that were scored, changed, sent or taken back"),
            _field("figures", T.StringType(), "all the rest as JSON: docs/operations.md, The run log"),
        ]
    )
