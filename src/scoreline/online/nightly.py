"""The batch half on Spark: tonight's features from the transactions, and a whole table scored as the server would.

Plain `DataFrame -> DataFrame` functions; `jobs.py` beside this reads and writes.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import pyarrow as pa
from pyspark.sql import DataFrame, Window
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.errors import InputError
from scoreline.online.features import CARD_COLUMNS, LABEL_DELAY_DAYS, TERMINAL_COLUMNS, WINDOW_DAYS
from scoreline.online.scorer import Scorer

__all__ = ["DECISIONS", "TRANSACTIONS", "card_features", "check_columns", "score_transactions", "terminal_features"]


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
DECISIONS: Final = T.StructType(
    [
        _field("transaction_id", T.StringType(), "id of the payment"),
        _field("fraud_probability", T.DoubleType(), "the model's score, NULL if it was not asked"),
        _field("decision", T.StringType(), "allow, review or deny"),
        _field("reasons", T.ArrayType(T.StringType()), "why it is not an allow"),
        _field("model_version", T.StringType(), "name and version of the model"),
        _field("features_as_of", T.StringType(), "midnight up to which cards and terminals were counted"),
    ]
)
_ARROW_DECISIONS: Final = pa.schema(
    [
        ("transaction_id", pa.string()),
        ("fraud_probability", pa.float64()),
        ("decision", pa.string()),
        ("reasons", pa.list_(pa.string())),
        ("model_version", pa.string()),
        ("features_as_of", pa.string()),
    ]
)
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


def score_transactions(
    transactions: DataFrame, *, cards: DataFrame, terminals: DataFrame, as_of: datetime, scorer: Scorer
) -> DataFrame:
    """`DECISIONS` for every transaction, by the very code that the server runs."""
    known = transactions.join(cards, on="card_id", how="left").join(terminals, on="terminal_id", how="left")
    columns = [*TRANSACTIONS.names, "card_count_24h", "card_amount_24h", *CARD_COLUMNS, *TERMINAL_COLUMNS]
    text = F.date_format("occurred_at", "yyyy-MM-dd'T'HH:mm:ss.SSSSSS'Z'")
    return known.select(*columns).withColumns({"occurred_at": text}).mapInArrow(_judge(scorer, as_of), DECISIONS)


@dataclass(frozen=True)
class _BatchKnowledge:
    """The joined features of one Arrow batch, in the shape of a snapshot."""

    as_of_s: float
    as_of_text: str
    cards: dict[str, tuple[float, ...]]
    terminals: dict[str, tuple[float, ...]]

    def card(self, card_id: str) -> tuple[float, ...] | None:
        return self.cards.get(card_id)

    def terminal(self, terminal_id: str) -> tuple[float, ...] | None:
        return self.terminals.get(terminal_id)

    def current(self) -> "_BatchKnowledge":
        return self


def _judge(scorer: Scorer, as_of: datetime) -> Any:
    as_of_s, as_of_text = as_of.timestamp(), as_of.astimezone(UTC).isoformat()

    def judge(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            known = _BatchKnowledge(
                as_of_s,
                as_of_text,
                _lookup(batch, "card_id", CARD_COLUMNS),
                _lookup(batch, "terminal_id", TERMINAL_COLUMNS),
            )
            posted = [*TRANSACTIONS.names, "card_count_24h", "card_amount_24h"]
            answers = scorer.judge(batch.select(posted).to_pylist(), known)
            yield pa.RecordBatch.from_pylist(answers, schema=_ARROW_DECISIONS)

    return judge


def _lookup(batch: pa.RecordBatch, key: str, columns: tuple[str, ...]) -> dict[str, tuple[float, ...]]:
    figures = zip(*(batch.column(name).to_pylist() for name in columns), strict=True)
    rows = zip(batch.column(key).to_pylist(), figures, strict=True)
    return {found: row for found, row in rows if found is not None and row[0] is not None}
