"""Take a run back by RESTORE, which moves no data, and by an overwrite with the old rows: CPU and wall, in turn.

python benchmarks/rollback.py [users]
"""

import sys
import tempfile
import time
from pathlib import Path

import psutil
from pyspark.sql import functions as F

from scoreline.config.settings import TablesSettings
from scoreline.engine.session import get_session
from scoreline.tables.delta import Table, Tables

USERS = int(sys.argv[1]) if len(sys.argv) > 1 else 160_000


def cpu() -> float:
    """CPU seconds of this process and all below it."""
    me = psutil.Process()
    times = [process.cpu_times() for process in (me, *me.children(recursive=True))]
    return sum(one.user + one.system for one in times)


def main() -> None:
    spark = get_session("rollback", {"spark.driver.memory": "4g"})
    with tempfile.TemporaryDirectory() as folder:
        table = Tables(spark, TablesSettings(root=str(Path(folder)))).table("recommendations")
        item = F.struct((F.rand(1) * 100_000).cast("long").alias("item_id"), F.rand(2).cast("float").alias("score"))
        lists = F.transform(F.sequence(F.lit(1), F.lit(20)), lambda _: item).alias("recommendations")
        users = spark.range(USERS).select(F.col("id").alias("user_id"), lists)
        for _ in range(2):
            table.write(users.repartition(8), "overwrite")
        for turn in range(4):
            for name, act in (("RESTORE", _restore), ("overwrite", _overwrite)):
                before, began = cpu(), time.perf_counter()
                act(table)
                spent, took = cpu() - before, time.perf_counter() - began
                print(f"{turn} {name:<10} {spent:6.1f} CPU s {took:6.1f} s")


def _restore(table: Table) -> None:
    table.spark.sql(f"RESTORE TABLE {table.identifier} TO VERSION AS OF {table.version() - 1}")


def _overwrite(table: Table) -> None:
    table.write(table.read(table.version() - 1), "overwrite")


if __name__ == "__main__":
    main()
