"""What other writers do to a table: by Spark's SQL, or by delta-rs where there is no Spark."""

from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

import builders


def restore(table: Any, version: int) -> None:
    if builders.ENGINE == "spark":
        table.spark.sql(f"RESTORE TABLE {table.identifier} TO VERSION AS OF {version}")
    else:
        _log(table).restore(version)


def update(table: Any, changes: dict[str, str], where: str) -> None:
    """`changes` are expressions of SQL by column."""
    if builders.ENGINE == "spark":
        assigned = ", ".join(f"{column} = {value}" for column, value in changes.items())
        table.spark.sql(f"UPDATE {table.identifier} SET {assigned} WHERE {where}")
    else:
        _log(table).update(updates=changes, predicate=where)


def remake(table: Any, rows: DataFrame) -> None:
    """The table's rows and columns are those of `rows`, which are not read from it any more."""
    if builders.ENGINE == "spark":
        rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true").save(table.location)
    else:
        from deltalake import write_deltalake

        write_deltalake(table.location, rows.toArrow(), mode="overwrite", schema_mode="overwrite")


def forget(table: Any) -> None:
    """Whoever has the table's log in memory reads it again."""
    for stale in Path(table.location, "_delta_log").glob(".*.crc"):
        stale.unlink()
    if builders.ENGINE == "spark":
        table.spark._jvm.org.apache.spark.sql.delta.DeltaLog.clearCache()


def another(spark: SparkSession) -> SparkSession:
    """A session as another process has one; without Spark no session keeps anything."""
    return spark.newSession() if builders.ENGINE == "spark" else spark


def held(rows: DataFrame) -> DataFrame:
    """The rows as they are now, whatever becomes of the table they are from."""
    if builders.ENGINE == "spark":
        return rows.localCheckpoint()
    return rows.sparkSession.createDataFrame(rows.toArrow(), rows.schema)


def _log(table: Any) -> Any:
    from deltalake import DeltaTable

    return DeltaTable(table.location)
