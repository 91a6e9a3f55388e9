"""Bad rows are kept with their reasons, each once."""

from datetime import datetime

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from scoreline.engine.engine import engine_of
from scoreline.errors import plain
from scoreline.tables import schema
from scoreline.tables.delta import Table, Tables
from scoreline.tables.names import RAW, SOURCE


def quarantine_table(tables: Tables) -> Table:
    """`quarantine`, created on first use."""
    table = tables.table("quarantine")
    table.create(schema.quarantine())
    return table


def quarantine_bad(table: Table, checked: DataFrame, *, now: datetime) -> tuple[dict[str, int], str]:
    """Keep the rows that have `reasons`, each once; returns how many rows broke each rule, and one of the most."""
    with engine_of(table.spark).kept(_bad(checked, now=now)) as rows:
        table.upsert(rows, "row_hash", update=False)
        reasons = rows.select(F.explode("reasons").alias("reason"), "row_count", "raw_row").groupBy("reason")
        one = F.substring(F.min(F.coalesce("raw_row", F.lit(""))), 1, 200).alias("one")
        found: list[Row] = reasons.agg(F.sum("row_count").alias("rows"), one).collect()
    found.sort(key=lambda row: (-row["rows"], row["reason"]))
    return {row["reason"]: int(row["rows"]) for row in found}, plain(found[0]["one"]) if found else ""


def _bad(checked: DataFrame, *, now: datetime) -> DataFrame:
    """The rows that have `reasons`, as the table wants them; rows that are the same become one with a count."""
    return (
        checked.where(F.size("reasons") > 0)
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
