"""What the jobs read and write: transactions in, features and their snapshot out; transactions in, decisions out."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pyspark.sql import DataFrame, Row, SparkSession
from pyspark.sql import functions as F

from scoreline.errors import InputError
from scoreline.online.features import CARD_COLUMNS, TERMINAL_COLUMNS
from scoreline.online.model import kernel_of
from scoreline.online.nightly import (
    LABELLED,
    TRANSACTIONS,
    card_features,
    check_columns,
    score_transactions,
    terminal_features,
    with_counters,
)
from scoreline.online.rules import Limits, Rules
from scoreline.online.scorer import Scorer
from scoreline.online.serving import FetchedModel
from scoreline.online.snapshot import publish, write_snapshot

__all__ = ["build_features", "midnight", "score_table"]


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

    Both tables and the snapshot are new files under the date, so that a rerun replaces and nothing is half visible.
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
    return written


def score_table(
    spark: SparkSession,
    *,
    transactions: str,
    tables: str,
    as_of: datetime,
    model: FetchedModel,
    rules: Rules,
    output: str,
) -> int:
    """Decide on every transaction of the day after `as_of` and write the decisions; how many there are.

    The history before that day is read too, for the counters of the last 24 hours.
    """
    found = check_columns(_read(spark, transactions), wanted=TRANSACTIONS, what=transactions)
    day = as_of.date().isoformat()
    moment, one_day = F.col("occurred_at"), timedelta(days=1)
    recent = found.where((moment >= F.lit(as_of - one_day)) & (moment < F.lit(as_of + one_day)))
    decisions = score_transactions(
        with_counters(recent).where(moment >= F.lit(as_of)),
        cards=_read(spark, f"{tables}/card_features/{day}"),
        terminals=_read(spark, f"{tables}/terminal_features/{day}"),
        as_of=as_of,
        scorer=batch_scorer(model, rules),
    )
    decisions.write.format("delta").mode("overwrite").save(output)
    return _read(spark, output).count()


def batch_scorer(model: FetchedModel, rules: Rules) -> Scorer:
    """The server's scorer without what belongs to a server: its clock, its snapshot file, its limit of rows."""
    limits = Limits(largest_amount=rules.limits.largest_amount, max_clock_difference_s=None)
    return Scorer(
        kernel=kernel_of(model.folder / "artifacts" / "kernel"),
        source=None,
        rules=rules.model_copy(update={"limits": limits, "shadow": None}),
        model_version=rules.model_version or model.version,
    )


def _ordered(spark: SparkSession, path: str, key: str, columns: tuple[str, ...]) -> Iterator[Row]:
    return iter(_read(spark, path).select(key, *columns).orderBy(key).toLocalIterator())


def _read(spark: SparkSession, path: str) -> DataFrame:
    from delta.tables import DeltaTable
    from pyspark.errors import AnalysisException

    kind = "delta" if DeltaTable.isDeltaTable(spark, path) else "parquet"
    try:
        return spark.read.format(kind).load(path)
    except AnalysisException as error:
        raise InputError(f"{path} cannot be read as {kind}: {str(error).splitlines()[0]}") from None
