"""Raw rows to checked events: one pass of native expressions, every rule a row breaks named."""

from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.schema import Keys
from scoreline.settings import LONGEST_ID, EventsSettings, KeyType
from scoreline.sources import MALFORMED, RAW, SOURCE
from scoreline.tables import quoted

_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, the last that a Spark timestamp shows


def checked_events(rows: DataFrame, settings: EventsSettings, keys: Keys, *, now: datetime) -> DataFrame:
    """Parse and check each row; `reasons` is empty for a good one.

    Gives `user_id, item_id, weight float, event_at timestamp (UTC), reasons array<string>`, SOURCE and RAW. A value
    that can't be parsed is null and named in `reasons`; no row is dropped.
    """
    named = settings.columns
    user = _key(rows, named.user_id, keys.user)
    item = _key(rows, named.item_id, keys.item)
    weight = _weight(settings)
    event_at = _time(rows, named.time, settings.time)
    parsed = rows.select(
        user.alias("user_id"),
        item.alias("item_id"),
        weight.alias("weight"),
        event_at.alias("event_at"),
        _present(named.user_id).alias("_has_user"),
        _present(named.item_id).alias("_has_item"),
        F.col(MALFORMED),
        F.col(SOURCE),
        F.col(RAW),
    )
    reasons = F.array_compact(F.array(*_rules(settings, keys, now)))
    return parsed.select("user_id", "item_id", "weight", "event_at", reasons.alias("reasons"), SOURCE, RAW)


def _rules(settings: EventsSettings, keys: Keys, now: datetime) -> list[Column]:
    low, high = settings.weight_range
    weight, at = F.col("weight"), F.col("event_at")
    fine = ~F.col(MALFORMED)
    latest = F.lit(now + settings.future_tolerance)
    earliest = F.lit(datetime(settings.not_before, 1, 1, tzinfo=now.tzinfo))
    has_user, has_item = F.col("_has_user"), F.col("_has_item")
    return [
        _rule("malformed line", F.col(MALFORMED)),
        _rule("user_id is missing", fine & ~has_user),
        *_bounds("user_id", keys.user),
        _rule("user_id is not a whole number", fine & has_user & F.col("user_id").isNull()),
        _rule("item_id is missing", fine & ~has_item),
        *_bounds("item_id", keys.item),
        _rule("item_id is not a whole number", fine & has_item & F.col("item_id").isNull()),
        _rule("weight is not a number", fine & (weight.isNull() | F.isnan(weight))),
        _rule(f"weight is outside {low:g} to {high:g}", fine & ~F.isnan(weight) & ~weight.between(low, high)),
        _rule("time is not readable", fine & at.isNull()),
        _rule("time is in the future", fine & (at > latest)),
        _rule(f"time is before {settings.not_before}", fine & (at < earliest)),
    ]


def _bounds(column: str, kind: KeyType) -> list[Column]:
    """What no id of text may be: the keys of databases have no room for it, and one such id would stop an export."""
    if kind != "string":
        return []
    fine = ~F.col(MALFORMED)
    return [
        _rule(f"{column} is longer than {LONGEST_ID} characters", fine & (F.length(column) > LONGEST_ID)),
        _rule(f"{column} has a control character", fine & F.col(column).rlike(r"[\p{Cc}&&[^\t]]")),
    ]


def _rule(reason: str, broken: Column) -> Column:
    # a condition that is null (its value could not be parsed) breaks another rule, not this one
    return F.when(F.coalesce(broken, F.lit(False)), F.lit(reason))


def _text(column: str) -> Column:
    return F.trim(F.col(quoted(column)).cast("string"))


def tried(column: str, kind: str) -> Column:
    """The trimmed text of a column as a SQL type, null where it cannot be that. As SQL: Spark 3.5 has it only there."""
    return F.expr(f"try_cast(trim(CAST({quoted(column)} AS STRING)) AS {kind})")


def _present(column: str) -> Column:
    return F.coalesce(F.length(_text(column)) > 0, F.lit(False))


def _key(rows: DataFrame, column: str, kind: KeyType) -> Column:
    if kind == "string":
        return F.nullif(_text(column), F.lit(""))
    if isinstance(rows.schema[column].dataType, T.DoubleType | T.FloatType | T.DecimalType):
        # pandas writes nullable whole numbers as floating point, databases as decimals
        value = F.col(quoted(column))
        return F.when(value == F.floor(value), F.expr(f"try_cast({quoted(column)} AS BIGINT)"))
    return tried(column, "BIGINT")


def _weight(settings: EventsSettings) -> Column:
    named = settings.columns
    if named.kind and settings.kinds:
        pairs = [F.when(_text(named.kind) == kind, F.lit(weight)) for kind, weight in settings.kinds.items()]
        return F.coalesce(*pairs).cast("float")
    if named.weight is None:
        return F.lit(1.0).cast("float")
    return tried(named.weight, "FLOAT")


def _time(rows: DataFrame, column: str, how: str) -> Column:
    kind = rows.schema[column].dataType
    if isinstance(kind, T.TimestampType | T.TimestampNTZType | T.DateType):
        return F.col(quoted(column)).cast("timestamp")
    if how in ("epoch_seconds", "epoch_millis"):
        number = tried(column, "DOUBLE") / (1 if how == "epoch_seconds" else 1000)
        believable = number.between(0, _LAST_SECOND)
        return F.when(believable, F.timestamp_micros(F.round(number * 1_000_000).cast("long")))
    pattern = () if how == "iso" else (F.lit(how),)
    return F.try_to_timestamp(_text(column), *pattern)


def good(events: DataFrame) -> DataFrame:
    """The rows that broke no rule: `user_id, item_id, weight, event_at`."""
    return events.where(F.size("reasons") == 0).select("user_id", "item_id", "weight", "event_at")


def bad(events: DataFrame, *, now: datetime) -> DataFrame:
    """The rows that did, as the quarantine table wants them; rows that are the same become one with a count."""
    return (
        events.where(F.size("reasons") > 0)
        .groupBy(F.col(SOURCE).alias("source_file"), F.col(RAW).alias("raw_row"), "reasons")
        .agg(F.count(F.lit(1)).alias("row_count"))
        .withColumns(
            {
                "row_hash": F.xxhash64("source_file", "raw_row", "reasons"),
                "ingested_at": F.lit(now).cast("timestamp"),
            }
        )
        .select("source_file", "raw_row", "reasons", "row_count", "row_hash", "ingested_at")
    )
