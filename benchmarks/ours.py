"""This project, end to end: `run` on tables that hold the workload, then 1 % of the users, then nothing due.

python benchmarks/ours.py WORKLOAD [--share 0.01] [--cores 2]
"""

import argparse
import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F

from measure import Stages
from scoreline import schema
from scoreline.context import Context, open_context
from scoreline.histories import bucket_of
from scoreline.ingest import history_table
from scoreline.models.artifacts import FittedModel
from scoreline.models.catalogue import Catalogue
from scoreline.models.latent_factors import LatentFactors
from scoreline.models.mlflow_model import log_recommender
from scoreline.models.norm_sorted import NormSortedItems
from scoreline.models.popularity import Popularity
from scoreline.quiet import quiet_mlflow
from scoreline.run import run
from scoreline.settings import Settings


def settings(root: Path, cores: int, k: int, options: dict[str, Any]) -> Settings:
    return Settings.model_validate(
        {
            "name": "bench",
            "tables": {"root": str(root)},
            "model": {"uri": "models:/bench@champion"},
            "scoring": {"k": k},
            "spark": {"spark.master": f"local[{cores}]", **options},
        }
    )


def register(made: Settings, factors: np.ndarray) -> None:
    """Log the factors as one of our models, as `train` would."""
    import mlflow

    model = LatentFactors(factors=factors.shape[1])
    model.items_ = NormSortedItems.from_factors(factors)
    model.fold_scale_ = np.ones(len(factors), np.float32)
    popularity = Popularity()
    popularity.popularity_ = np.arange(len(factors), 0, -1, dtype=np.float32)
    popularity.order_ = np.arange(len(factors), dtype=np.int32)
    fitted = FittedModel(Catalogue.from_ids(pa.array(np.arange(1, len(factors) + 1))), model, popularity)
    with quiet_mlflow():
        mlflow.set_tracking_uri(made.tracking_uri)
        mlflow.create_experiment("models", artifact_location=str(made.home / "artifacts"))
        mlflow.set_experiment("models")
        with mlflow.start_run():
            version = log_recommender(model=fitted, registered_name="bench").registered_model_version
        mlflow.MlflowClient().set_registered_model_alias("bench", "champion", version)


def fill(context: Context, histories: Path) -> None:
    """`user_history` as `ingest` leaves it, from histories that are grouped already."""
    table = history_table(context)
    rows = context.spark.read.parquet(str(histories))
    buckets = context.settings.histories.buckets
    full = rows.select(
        "user_id",
        bucket_of(F.col("user_id"), buckets).alias("bucket"),
        "item_ids",
        "weights",
        "event_times",
        F.size("item_ids").alias("event_count"),
        F.array_max("event_times").alias("last_event_at"),
        F.xxhash64("item_ids", "weights", "event_times").alias("history_hash"),
        F.lit(context.now).cast("timestamp").alias("added_at"),
        F.lit(context.now).cast("timestamp").alias("updated_at"),
    ).select(*[f.name for f in schema.user_history(context.keys)])
    files = full.repartitionByRange(context.partitions, "bucket").sortWithinPartitions("bucket", "user_id")
    note = {"kind": "ingest", "updated_at": context.now.isoformat()}
    table.write(files, "append", {"userMetadata": json.dumps(note)})


def touch(context: Context, share: float) -> int:
    """Change the histories of a share of the users, as an ingest would."""
    table = history_table(context)
    chosen = F.pmod(F.xxhash64("user_id", F.lit(5)), F.lit(10_000)) < int(share * 10_000)
    news = table.read().where(chosen).select("user_id")
    table.merge(news, "old.user_id = new.user_id", "WHEN MATCHED THEN UPDATE SET history_hash = old.history_hash + 1")
    return table.read().where(chosen).count()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("workload", type=Path)
    parser.add_argument("--share", type=float, default=0.01)
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--conf", action="append", default=[])
    given = parser.parse_args()
    root = Path(tempfile.mkdtemp(prefix="scoreline-bench-"))
    stages = Stages()
    options = dict(pair.split("=", 1) for pair in given.conf)
    made = settings(root, given.cores, given.k, options)
    register(made, np.load(given.workload / "factors.npy"))
    with stages.stage("session"):
        context = open_context(made)
        context.spark.range(1).count()
    with stages.stage("fill"):
        fill(context, given.workload / "histories.parquet")
    with stages.stage("first run"):
        report = run(context)
    with stages.stage("full run"):
        full = run(open_context(made, now=datetime.now(UTC)), everyone=True)
    touched = touch(context, given.share)
    with stages.stage("partial run"):
        part = run(open_context(made, now=datetime.now(UTC)))
    with stages.stage("nothing due"):
        run(open_context(made, now=datetime.now(UTC)))
    if given.out:
        lists = context.tables.table("recommendations").read().select("user_id", "recommendations")
        lists.write.parquet(str(given.out))
    stages.report(
        users=report.figures["scored"],
        touched=touched,
        steps={"first": report.seconds, "full": full.seconds, "partial": part.seconds},
    )
    context.spark.stop()
    shutil.rmtree(root)


if __name__ == "__main__":
    main()
