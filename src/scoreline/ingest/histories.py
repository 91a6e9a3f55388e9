"""Events to one row per user, and the merging of new events into such rows.

A history is a pure function of the set of events: per (user, item) the newest event, and of those the `max_items`
newest; of what lies beyond this window the items, in `older_item_ids`, since who has seen them must not get them again.
That makes ingest idempotent and blind to order: truncating, then merging, keeps what merging, then truncating, would.
An item beyond the window needs no time for that: until a newer event of it comes, `max_items` others are newer.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F

from scoreline.tables.names import ADDED_AT, BUCKET, HISTORY_HASH, OLDER, SINCE_FIRST, UPDATED_AT, USER_ID

_NEVER = -(2**63)  # before all times: of an item whose time is not known


def bucket_of(user_id: Column, buckets: int) -> Column:
    """The bucket of a user: 0 to buckets - 1, by Spark's xxhash64 of the id, the same on every cluster."""
    return F.pmod(F.xxhash64(user_id), F.lit(buckets)).cast("int")


def histories(
    events: DataFrame, *, max_items: int, buckets: int, now: datetime, partitions: int, carried: Sequence[str] = ()
) -> DataFrame:
    """Group `user_id, item_id, weight, event_at` to rows of `user_history`.

    The newest event of an item wins, of two at the same time the one with the larger weight. An event without a time is
    an item of which is known only that it was seen before all others. One shuffle: both groupings work on rows that lie
    together by user. `carried` are columns that come through, with the greatest value
    that a user's events have in them.

    `first_at`, if the events have it, is when the item was first met. Where items are cut off, nothing is known of what
    was before the oldest that is kept: first times before it become that one, whatever the order of the ingests.
    """
    greatest = [F.max(name).alias(name) for name in carried]
    first_at = F.min("first_at" if "first_at" in events.columns else "event_at")
    # no null in what is compared: Sail's greatest struct of those with nulls is any of them
    last = F.struct(
        F.coalesce(F.unix_micros("event_at"), F.lit(_NEVER)).alias("micros"),
        F.coalesce("weight", F.lit(0.0).cast("float")).alias("weight"),
    )
    at = F.when(F.col("last.micros") != _NEVER, F.timestamp_micros("last.micros"))
    newest = (
        events.repartition(partitions, USER_ID)
        .groupBy(USER_ID, "item_id")
        .agg(F.max(last).alias("last"), first_at.alias("first_at"), *greatest)
        .select(
            USER_ID,
            F.struct(at.alias("event_at"), F.col("item_id"), F.col("last.weight"), F.col("first_at")).alias("event"),
            *carried,
        )
    )
    by_time = newest.groupBy(USER_ID).agg(
        F.sort_array(F.collect_list("event")).alias("events"), F.count("event.event_at").alias("timed"), *greatest
    )
    length, kept = F.size("events"), F.least("timed", F.lit(max_items)).cast("int")
    older = F.when(length > kept, F.sort_array(F.slice(F.col("events.item_id"), 1, length - kept)))
    window = F.when(length > kept, F.slice("events", length - kept + 1, kept)).otherwise(F.col("events"))
    # once for each event: Sail copies what a lambda takes from outside of its array, and with it what that is made of
    known_since = F.array_repeat(F.when(length > kept, window[0]["event_at"]), kept).alias("known_since")
    rows = by_time.select(USER_ID, window.alias("events"), older.alias(OLDER), known_since, *carried)
    return rows.transform(_as_arrays, buckets=buckets, now=now, carried=carried)


def _as_arrays(rows: DataFrame, *, buckets: int, now: datetime, carried: Sequence[str]) -> DataFrame:
    spans = F.transform(
        F.arrays_zip("events", "known_since"),
        lambda both: (
            F.unix_micros(both["events"]["event_at"])
            - F.unix_micros(F.greatest(both["events"]["first_at"], both["known_since"]))
        ),
    )
    arrays = rows.select(
        USER_ID,
        *carried,
        bucket_of(F.col(USER_ID), buckets).alias(BUCKET),
        F.col("events.item_id").alias("item_ids"),
        F.col("events.weight").alias("weights"),
        F.col("events.event_at").alias("event_times"),
        OLDER,
        spans.alias("spans"),
    )
    return arrays.select(
        *[name for name in arrays.columns if name != "spans"],
        F.size("item_ids").alias("event_count"),
        F.array_max("event_times").alias("last_event_at"),
        # Spark's hash passes over a null: who was not cut has the hash of the three arrays
        F.xxhash64("item_ids", "weights", "event_times", OLDER).alias(HISTORY_HASH),
        F.lit(now).cast("timestamp").alias(ADDED_AT),
        F.lit(now).cast("timestamp").alias(UPDATED_AT),
        F.when(F.array_max("spans") > 0, F.col("spans")).alias(SINCE_FIRST),
    )


def _as_events(rows: DataFrame, before: Mapping[str, Column]) -> DataFrame:
    """Take rows of `user_history` apart again: `user_id, item_id, weight, event_at, first_at` and those of `before`.

    An item beyond the window comes without weight and time; it was first met before all that are in it.
    """
    seen = F.coalesce(F.concat("item_ids", OLDER), F.col("item_ids")).alias("seen")
    # a row without spans has none for any item
    spans = F.coalesce(SINCE_FIRST, F.array().cast("array<bigint>")).alias("spans")
    kept = [column.alias(name) for name, column in before.items()]
    arrays = rows.select(USER_ID, *kept, seen, "weights", "event_times", spans)
    # the shorter arrays are filled with nulls
    zipped = F.explode(F.arrays_zip("seen", "weights", "event_times", "spans")).alias("event")
    oldest = F.get("event_times", F.lit(0)).alias("oldest")
    first_at = F.timestamp_micros(F.unix_micros("event.event_times") - F.coalesce("event.spans", F.lit(0)))
    return arrays.select(USER_ID, *before, oldest, zipped).select(
        USER_ID,
        F.col("event.seen").alias("item_id"),
        F.col("event.weights").alias("weight"),
        F.col("event.event_times").alias("event_at"),
        F.coalesce(first_at, "oldest").alias("first_at"),
        *before,
    )


def merged(
    known: DataFrame, incoming: DataFrame, *, max_items: int, buckets: int, now: datetime, partitions: int
) -> DataFrame:
    """Rows of `user_history` that the incoming ones change: new users, and users whose history becomes another.

    Both frames have the table's columns; `user_id` is unique in each. Users that stay as they are do not come out.
    """
    touched = known.join(incoming.select(USER_ID), on=USER_ID, how="left_semi")
    # what a user's row said comes along with its events: no second join to find it again
    spans = F.when(F.col(SINCE_FIRST).isNotNull(), F.xxhash64(SINCE_FIRST))
    said: dict[str, Column] = {
        "_hash": F.col(HISTORY_HASH),
        "_spans": spans,
        "_added_at": F.col(ADDED_AT),
        "_updated_at": F.col(UPDATED_AT),
    }
    kinds = ("long", "long", "timestamp", "timestamp")
    nothing = {name: F.lit(None).cast(kind) for name, kind in zip(said, kinds, strict=True)}
    events = _as_events(touched, said).unionByName(_as_events(incoming, nothing))
    together = histories(
        events, max_items=max_items, buckets=buckets, now=now, partitions=partitions, carried=tuple(said)
    )
    same = F.col("_hash").eqNullSafe(F.col(HISTORY_HASH))
    changed = together.where(~(same & F.col("_spans").eqNullSafe(spans)))
    stamps = {
        ADDED_AT: F.coalesce("_added_at", ADDED_AT),
        # an item met earlier than was known is no reason to score the user again: nobody is due by the stamp either
        UPDATED_AT: F.when(same, F.col("_updated_at")).otherwise(F.col(UPDATED_AT)),
    }
    return changed.withColumns(stamps).select(*known.columns)
