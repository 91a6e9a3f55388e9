"""What the jobs read and write: transactions in; features and their snapshot out, or the batch pipeline's input."""

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from scoreline.context import Context, step
from scoreline.engine.filesystem import folders, remove
from scoreline.errors import ConfigurationError, InputError, told
from scoreline.sources.parquet import read_parquet
from scoreline_fraud.features.nightly import (
    LABELLED,
    TRANSACTIONS,
    card_features,
    check_columns,
    payments,
    terminal_features,
    with_counters,
)
from scoreline_fraud.serving.features import CARD_COLUMNS, TERMINAL_COLUMNS
from scoreline_fraud.serving.snapshot import publish, remove_old, write_snapshot

__all__ = ["KEPT_DAYS", "build_features", "midnight", "write_payments"]

KEPT_DAYS = 7
_DAY = re.compile(r"\d{4}-\d\d-\d\d")


def midnight(day: str) -> datetime:
    """The first moment of a day, UTC.

    >>> midnight("2026-03-10").isoformat()
    '2026-03-10T00:00:00+00:00'
    """
    try:
        return datetime.strptime(day, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise InputError(f"--as-of {day!r} is no day; write it as 2026-03-10") from None


def build_features(spark: SparkSession, *, transactions: str, as_of: datetime, tables: str, snapshots: Path) -> Path:
    """Write the two feature tables of that midnight and the snapshot the server reads; the snapshot's path.

    Both tables and the snapshot are new files under the date, so that a rerun replaces and nothing is half visible. The
    newest `KEPT_DAYS` days of each are kept.
    """
    labelled = check_columns(_read(spark, transactions), wanted=LABELLED, what=transactions)
    day = as_of.date().isoformat()
    cards, terminals = f"{tables}/card_features/{day}", f"{tables}/terminal_features/{day}"
    card_features(labelled, as_of=as_of).write.format("delta").mode("overwrite").save(cards)
    terminal_features(labelled, as_of=as_of).write.format("delta").mode("overwrite").save(terminals)
    written = write_snapshot(
        snapshots / f"features-{day}.sqlite",
        as_of=as_of,
        cards=((row[0], row[1:]) for row in _ordered(spark, cards, "card_id", CARD_COLUMNS)),
        terminals=((row[0], row[1:]) for row in _ordered(spark, terminals, "terminal_id", TERMINAL_COLUMNS)),
    )
    publish(written, snapshots / "current.sqlite")
    remove_old(snapshots, snapshots / "current.sqlite", keep=KEPT_DAYS)
    for kind in ("card_features", "terminal_features"):
        days = sorted(name for name in folders(spark, f"{tables}/{kind}") if _DAY.fullmatch(name))
        for old in days[:-KEPT_DAYS]:
            if old != day:  # made anew just now, for whoever needs it
                remove(spark, f"{tables}/{kind}/{old}")
    return written


@step
def write_payments(context: Context, *, transactions: str, tables: str, as_of: datetime) -> int:
    """Write the pipeline's input: all transactions of the day after `as_of` with their figures; how many there are.

    The history before that day is read too, for the counters of the last 24 hours.
    """
    spark, target = context.spark, context.settings.input
    if target is None or target.path is None or target.format != "delta" or target.key != "transaction_id":
        raise ConfigurationError("the payments are written to input.path, a Delta folder, with key: transaction_id")
    found = check_columns(_read(spark, transactions), wanted=TRANSACTIONS, what=transactions)
    day = as_of.date().isoformat()
    moment, one_day = F.col("occurred_at"), timedelta(days=1)
    recent = found.where((moment >= F.lit(as_of - one_day)) & (moment < F.lit(as_of + one_day)))
    rows = payments(
        with_counters(recent).where(moment >= F.lit(as_of)),
        cards=_read(spark, f"{tables}/card_features/{day}"),
        terminals=_read(spark, f"{tables}/terminal_features/{day}"),
        as_of=as_of,
    )
    rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(target.path)
    written = _read(spark, target.path).agg(
        F.count(F.lit(1)).alias("rows"), F.count_if(F.col("transaction_id").isNull()).alias("nameless")
    )
    count, nameless = written.collect()[0]
    if nameless:
        raise InputError(f"{transactions} has {nameless} rows of {day} without a transaction_id; give them one")
    return int(count)


def _ordered(spark: SparkSession, path: str, key: str, columns: tuple[str, ...]) -> Iterator[Row]:
    return iter(_read(spark, path).select(key, *columns).orderBy(key).toLocalIterator())


def _read(spark: SparkSession, path: str) -> DataFrame:
    from delta.tables import DeltaTable
    from pyspark.errors import AnalysisException

    kind = "delta" if DeltaTable.isDeltaTable(spark, path) else "parquet"
    try:
        return spark.read.format(kind).load(path) if kind == "delta" else read_parquet(spark, path).rows
    except AnalysisException as error:
        raise InputError(f"{path} cannot be read as {kind}: {told(error)}") from None
