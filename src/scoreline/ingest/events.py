"""Raw rows to checked events: one pass of native expressions, every rule a row breaks named."""

from collections.abc import Mapping, Set
from datetime import datetime

from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.config.settings import EventsSettings
from scoreline.config.sources import LONGEST_ID, KeyType
from scoreline.sources.values import instant, is_float, key, number, text, valid_text
from scoreline.tables.names import MALFORMED, RAW, SOURCE
from scoreline.tables.schema import Keys


def checked_events(rows: DataFrame, settings: EventsSettings, keys: Keys, *, now: datetime) -> DataFrame:
    """Parse and check each row; `reasons` is empty for a good one.

    Gives `user_id, item_id, weight float, event_at timestamp (UTC), reasons array<string>`, SOURCE and RAW. A value
    that can't be parsed is null and named in `reasons`; no row is dropped.
    """
    named, kinds = settings.columns, {field.name: field.dataType for field in rows.schema}
    floats = {role for role, name in named.model_dump(exclude_none=True).items() if is_float(kinds[name])}
    parsed = rows.select(
        key(named.user_id, kinds[named.user_id], keys.user).alias("user_id"),
        key(named.item_id, kinds[named.item_id], keys.item).alias("item_id"),
        _weight(settings, kinds).alias("weight"),
        instant(named.time, kinds[named.time], settings.time).alias("event_at"),
        _present(named.user_id).alias("_has_user"),
        _present(named.item_id).alias("_has_item"),
        F.col(MALFORMED),
        F.col(SOURCE),
        F.col(RAW),
    )
    reasons = F.array_compact(F.array(*_rules(settings, keys, now, floats)))
    weight = F.col("weight").cast("float").alias("weight")
    return parsed.select("user_id", "item_id", weight, "event_at", reasons.alias("reasons"), SOURCE, RAW)


def _rules(settings: EventsSettings, keys: Keys, now: datetime, floats: Set[str]) -> list[Column]:
    low, high = settings.weight_range
    weight, at = F.col("weight"), F.col("event_at")
    fine = ~F.col(MALFORMED)
    latest = F.lit(now + settings.future_tolerance)
    earliest = F.lit(datetime(settings.not_before, 1, 1, tzinfo=now.tzinfo))
    has_user, has_item = F.col("_has_user"), F.col("_has_item")
    whole = {role: "an exact whole number" if role in floats else "a whole number" for role in ("user_id", "item_id")}
    return [
        _rule("malformed line", F.col(MALFORMED)),
        _rule("user_id is missing", fine & ~has_user),
        *_bounds("user_id", keys.user),
        _rule(f"user_id is not {whole['user_id']}", fine & has_user & F.col("user_id").isNull()),
        _rule("item_id is missing", fine & ~has_item),
        *_bounds("item_id", keys.item),
        _rule(f"item_id is not {whole['item_id']}", fine & has_item & F.col("item_id").isNull()),
        _rule("weight is not a number", fine & weight.isNull()),
        _rule(f"weight is outside {low:g} to {high:g}", fine & ~weight.between(low, high)),
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
        # and bytes that are not UTF-8, which a text of Parquet may have: other readers would refuse user_history
        _rule(
            f"{column} has a character that is not in the encoding", fine & valid_text(F.col(column)).contains("\ufffd")
        ),
    ]


def _rule(reason: str, broken: Column) -> Column:
    # a condition that is null (its value could not be parsed) breaks another rule, not this one
    return F.when(F.coalesce(broken, F.lit(False)), F.lit(reason))


def _present(column: str) -> Column:
    return F.coalesce(F.length(text(column)) > 0, F.lit(False))


def _weight(settings: EventsSettings, kinds: Mapping[str, T.DataType]) -> Column:
    named = settings.columns
    if named.kind and settings.kinds:
        pairs = [F.when(text(named.kind) == kind, F.lit(weight)) for kind, weight in settings.kinds.items()]
        return F.coalesce(*pairs).cast("double")
    if named.weight is None:
        return F.lit(1.0)
    return number(named.weight, kinds[named.weight])


def good(events: DataFrame) -> DataFrame:
    """The rows that broke no rule: `user_id, item_id, weight, event_at`."""
    return events.where(F.size("reasons") == 0).select("user_id", "item_id", "weight", "event_at")
