"""Export to PostgreSQL beside Spark's JDBC writer: the same lists into the same server, seconds and ratios.

    make bench-export        (needs PostgreSQL; fetches its JDBC driver by mvn)

Each way loads `users` x 20 lines into an empty table. Ours does more: it checks the number of lines, builds the primary
key and turns the view in one transaction; JDBC leaves half a table behind when it fails.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

from integration.databases.server import postgres
from scoreline.engine.session import get_session
from scoreline.export.destinations import Change, Shown
from scoreline.export.destinations.postgres import open_postgres
from scoreline.sources.postgres import DRIVER, PostgresTable
from scoreline.tables.schema import Keys

CACHE = Path.home() / ".cache" / "scoreline" / "postgres"
LISTS = "array<struct<item_id: bigint, score: float>>"


def lists(spark: SparkSession, users: int, folder: Path) -> DataFrame:
    """`user_id, recommendations, source` from Parquet, so that no way pays for making them."""
    place = F.sequence(F.lit(0), F.lit(19))
    item = F.transform(
        place,
        lambda n: F.struct(F.pmod(F.xxhash64("id", n), F.lit(100_000)).alias("item_id"), (1 / (n + 1)).alias("score")),
    )
    rows = spark.range(0, users, 1, 8).select(
        F.col("id").alias("user_id"), item.cast(LISTS).alias("recommendations"), F.lit("model").alias("source")
    )
    rows.write.mode("overwrite").parquet(str(folder))
    return spark.read.parquet(str(folder))


def by_jdbc(rows: DataFrame, url: str, table: str, **options: str) -> None:
    given = PostgresTable.at(url, table)
    lines = rows.select("user_id", F.posexplode("recommendations").alias("place", "item"), "source").select(
        "user_id", (F.col("place") + 1).alias("rank"), "item.item_id", "item.score", "source"
    )
    address = given._jdbc + ("?reWriteBatchedInserts=true" if options.pop("rewrite", "") else "")
    lines.write.jdbc(address, given.quoted, mode="overwrite", properties={**given._properties, **options})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=100_000)
    parser.add_argument("--reps", type=int, default=3)
    parser.add_argument("--work", type=Path, default=Path("/tmp/scoreline-bench-export"))
    arguments = parser.parse_args()
    if not list(CACHE.glob("*.jar")):
        command = ["mvn", "-q", "-B", "dependency:copy", f"-Dartifact={DRIVER}", f"-DoutputDirectory={CACHE}"]
        subprocess.run(command, check=True)
    spark = get_session("bench", {"spark.master": "local[2]"})
    spark.sql(f"ADD JAR '{next(CACHE.glob('*.jar')).as_uri()}'")
    rows = lists(spark, arguments.users, arguments.work)
    with postgres() as url:
        measure(spark, rows, url, arguments.reps)
    spark.stop()


def measure(spark: SparkSession, rows: DataFrame, url: str, reps: int) -> None:
    nobody = rows.select("user_id").limit(0)

    def ours(rep: int) -> None:
        destination = open_postgres(url, f"ours_{rep}", Keys("long", "long"))
        destination.shown()
        destination.apply(Change(rows, nobody, True, None, Shown(1, 1, "bench")))

    ways: dict[str, Callable[[int], None]] = {
        "Spark JDBC, its defaults": lambda rep: by_jdbc(rows, url, "jdbc_defaults"),
        "Spark JDBC, batches rewritten": lambda rep: by_jdbc(rows, url, "jdbc_rewritten", rewrite="yes"),
        "scoreline export": ours,
    }
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for rep in range(reps + 1):  # the first is for warming up; ways take turns, so that a busy machine is fair to all
        for name, way in ways.items():
            began = time.perf_counter()
            way(rep)
            if rep:
                seconds[name].append(time.perf_counter() - began)
    best = min(seconds["Spark JDBC, its defaults"])
    for name, found in seconds.items():
        print(f"{name:32} {min(found):7.2f} s   {best / min(found):5.2f} times the defaults' speed")


if __name__ == "__main__":
    main()
