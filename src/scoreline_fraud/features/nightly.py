"""The batch half on Spark: tonight's features from the transactions, and the table of payments to decide on.

Plain `DataFrame -> DataFrame` functions; `jobs.py` beside this reads and writes.
"""

from datetime import UTC, datetime, timedelta
from typing import Final

from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.errors import InputError
from scoreline_fraud.serving.features import CARD_COLUMNS, LABEL_DELAY_DAYS, TERMINAL_COLUMNS, WINDOW_DAYS

__all__ = ["TRANSACTIONS", "card_features", "check_columns", "payments", "terminal_features"]


def _field(name: str, kind: T.DataType, comment: str, *, nullable: bool = True) -> T.StructField:
    return T.StructField(name, kind, nullable, {"comment": comment})


TRANSACTIONS: Final = T.StructType(
    [
        _field("transaction_id", T.StringType(), "id of the payment"),
        _field("card_id", T.StringType(), "token of the card, never its number"),
        _field("terminal_id", T.StringType(), "id of the terminal or shop"),
        _field("amount", T.DoubleType(), "amount in the ledger's currency"),
        _field("occurred_at", T.TimestampType(), "when it happened, UTC"),
    ]
)
LABELLED: Final = T.StructType([*TRANSACTIONS, _field("is_fraud", T.ByteType(), "1 if reported as fraud since")])
_INTEGERS: Final = {"tinyint", "smallint", "int", "bigint", "boolean"}


def check_columns(df: DataFrame, *, wanted: T.StructType, what: str) -> DataFrame:
    """`wanted` columns of `df`; raises InputError for one that is missing or of another type, for Spark would not."""
    found = {field.name: field.dataType.simpleString() for field in df.schema}
    for field in wanted:
        if field.name not in found:
            raise InputError(f"{what} has no column {field.name}; it has {', '.join(found)}")
        kind, expected = found[field.name], field.dataType.simpleString()
        if kind != expected and not (field.name == "is_fraud" and kind in _INTEGERS):
            raise InputError(f"{what}: column {field.name} is {kind}, expected {expected}")
    return df.select(*(F.col(field.name).cast(field.dataType).alias(field.name) for field in wanted))


def card_features(transactions: DataFrame, *, as_of: datetime) -> DataFrame:
    """`card_id, CARD_COLUMNS` of every card seen before `as_of`, in one pass."""
    return _windows(transactions, "card_id", "card", as_of=as_of, end=as_of, value="amount", mean="mean_amount")


def terminal_features(transactions: DataFrame, *, as_of: datetime, delay_days: int = LABEL_DELAY_DAYS) -> DataFrame:
    """`terminal_id, TERMINAL_COLUMNS` of every terminal; the windows end `delay_days` earlier: labels are known."""
    end = as_of - timedelta(days=delay_days)
    return _windows(transactions, "terminal_id", "terminal", as_of=as_of, end=end, value="is_fraud", mean="risk")


def _windows(
    transactions: DataFrame, key: str, prefix: str, *, as_of: datetime, end: datetime, value: str, mean: str
) -> DataFrame:
    figures = []
    for days in WINDOW_DAYS:
        inside = (F.col("occurred_at") >= F.lit(end - timedelta(days=days))) & (F.col("occurred_at") < F.lit(end))
        average = F.avg(F.when(inside, F.col(value).cast("double")))
        figures += [
            F.count_if(inside).cast("double").alias(f"{prefix}_count_{days}d"),
            F.coalesce(average, F.lit(0.0)).alias(f"{prefix}_{mean}_{days}d"),
        ]
    before = transactions.where(F.col("occurred_at") < F.lit(as_of))
    return before.where(F.col(key).isNotNull()).groupBy(key).agg(*figures)


def with_counters(transactions: DataFrame) -> DataFrame:
    """`card_count_24h, card_amount_24h` as the card system would have sent them: a day up to the payment."""
    day = Window.partitionBy("card_id").orderBy(F.col("occurred_at").cast("long")).rangeBetween(-86_400, -1)
    return transactions.withColumns(
        {
            "card_count_24h": F.count(F.lit(1)).over(day),
            "card_amount_24h": F.round(F.coalesce(F.sum("amount").over(day), F.lit(0.0)), 2),
        }
    )


def payments(transactions: DataFrame, *, cards: DataFrame, terminals: DataFrame, as_of: datetime) -> DataFrame:
    """The batch pipeline's input: a row per transaction, its counters, its card's and its terminal's figures.

    Figures are null where nothing is known of the card or the terminal; such payments are reviewed.
    """
    known = transactions.join(cards, on="card_id", how="left").join(terminals, on="terminal_id", how="left")
    columns = [*TRANSACTIONS.names, "card_count_24h", "card_amount_24h", *CARD_COLUMNS, *TERMINAL_COLUMNS]
    return known.select(*columns, F.lit(as_of.astimezone(UTC).isoformat()).alias("features_as_of"))
