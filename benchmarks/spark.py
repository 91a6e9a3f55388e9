"""The session that this project and its Spark peers share: same settings, same warm-up, so ratios are of the work."""

from pathlib import Path

from pyspark.sql import DataFrame, SparkSession

from job import Job
from scoreline.engine.session import get_session


def start(job: Job) -> SparkSession:
    """A session with Delta on the job's cores, warmed up."""
    spark = get_session("bench", {"spark.master": f"local[{job.cores}]"})
    warm_up(spark, job.out / "warm-up")
    return spark


def warm_up(spark: SparkSession, folder: Path) -> None:
    """First use of Delta and of Python workers: paid once a session, whoever asks first."""
    rows = spark.range(1_000).mapInArrow(lambda batches: batches, "id long")
    rows.write.format("delta").mode("overwrite").save(str(folder))
    spark.read.format("delta").load(str(folder)).count()


def histories(spark: SparkSession, job: Job) -> DataFrame:
    """`user_id, item_ids` of the job's users."""
    rows = spark.read.parquet(str(job.histories)).where(f"user_id <= {job.users}")
    return rows.select("user_id", "item_ids")
