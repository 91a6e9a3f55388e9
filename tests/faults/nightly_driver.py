"""A driver with a JVM of its own that works through night after night until it is killed; started by `random_kills`.

Arguments: folder of the tables, folder of the model, options of the JVM. Says `ready`, reads a line with the first
night and the one to end before, and says `done N` after each night.
"""

import random
import sys
import warnings
from datetime import timedelta
from pathlib import Path
from typing import Any

from builders import NOW, context, write_events
from quick import QUICK
from scoreline.context import Context
from scoreline.engine.session import get_session
from scoreline.ingest.ingest import ingest_events
from scoreline.pipeline.run import run

USERS = 60


def events_of(night: int) -> list[tuple[Any, ...]]:
    """The same events for the same night: everybody's on the first, those of ten users on each later one."""
    dice = random.Random(night)
    if night == 0:
        return [(user, dice.randint(1, 40), 5, 1_700_000_000 + user) for user in range(USERS)] + [(7, 9001, 5, 1)]
    return [(dice.randrange(USERS), 1_000 + night, 4, 1_700_000_000 + 1_000 * night + i) for i in range(10)]


def made_for(spark: Any, root: Path, model: Path, night: int) -> Context:
    return context(
        spark,
        root / "tables",
        now=NOW + timedelta(days=night),
        model={"uri": str(model), "folder": str(root / "fetched")},
        scoring={"k": 3, "slice_users": 20},
    )


def main(root: Path, model: Path, java: str) -> None:
    warnings.simplefilter("ignore")
    options = f"{QUICK['spark.driver.extraJavaOptions']} {java}"
    own = {"spark.sql.warehouse.dir": str(root / "warehouse"), "spark.driver.extraJavaOptions": options}
    spark = get_session("nights", {**QUICK, **own})
    print("ready", flush=True)
    for night in range(*map(int, input().split())):
        made = made_for(spark, root, model, night)
        ingest_events(made, write_events(root / f"{night}.csv", events_of(night)))
        # every other night everybody: the table is replaced as a whole, and merged into on the others
        run(made, full_refresh=night % 2 == 0)
        print("done", night, flush=True)
    gateway: Any = spark.sparkContext._gateway
    spark.stop()
    gateway.proc.stdin.close()
    gateway.proc.wait()  # it may have something to write at its end


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
