"""RePlay's `ALSWrap.predict(filter_seen_items=True)` on Spark 3.5, in its own environment; reads and writes Parquet."""

from pathlib import Path

from pyspark.sql import SparkSession
from pyspark.sql import functions as F
from replay.data import Dataset, FeatureHint, FeatureInfo, FeatureSchema, FeatureType
from replay.models import ALSWrap
from replay.utils.session_handler import State

from als_model import load_als_model
from job import Job, read_job
from measure import Stages


class GivenFactors(ALSWrap):
    """ALSWrap whose factors were trained elsewhere."""

    def __init__(self, spark: SparkSession, job: Job) -> None:
        super().__init__(rank=job.items().shape[1])
        self._given = (spark, job)

    def _fit(self, dataset: Dataset) -> None:
        self.model = load_als_model(*self._given)


def session(job: Job) -> SparkSession:
    settings = {
        "spark.master": f"local[{job.cores}]",
        "spark.driver.memory": "4g",
        "spark.driver.host": "127.0.0.1",
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "8",
        "spark.sql.warehouse.dir": str(job.out / "warehouse"),
    }
    builder = SparkSession.builder
    for key, value in settings.items():
        builder = builder.config(key, value)
    spark = builder.getOrCreate()
    spark.range(1_000).write.mode("overwrite").parquet(str(job.out / "warm-up"))
    return State(spark).session


def events(spark: SparkSession, job: Job) -> Dataset:
    rows = spark.read.parquet(str(job.histories)).where(f"user_id <= {job.users}")
    pairs = rows.select("user_id", F.explode("item_ids").alias("item_id"))
    one_each = pairs.select(F.col("user_id").cast("int"), F.col("item_id").cast("int"), F.lit(1.0).alias("rating"))
    schema = FeatureSchema(
        [
            FeatureInfo("user_id", FeatureType.CATEGORICAL, FeatureHint.QUERY_ID),
            FeatureInfo("item_id", FeatureType.CATEGORICAL, FeatureHint.ITEM_ID),
            FeatureInfo("rating", FeatureType.NUMERICAL, FeatureHint.RATING),
        ]
    )
    return Dataset(schema, one_each, check_consistency=False, categorical_encoded=False)


def work(spark: SparkSession, job: Job, model: ALSWrap, place: Path) -> None:
    model.predict(events(spark, job), k=job.k, filter_seen_items=True, recs_file_path=str(place))


def main() -> None:
    job, stages = read_job(__doc__), Stages()
    with stages.stage("session"):
        spark = session(job)
    model = GivenFactors(spark, job)
    with stages.stage("fit"):
        model.fit(events(spark, job))
    for number in range(1, job.passes + 1):
        with stages.stage(f"job {number}"):
            work(spark, job, model, job.place(number))
        lists = spark.read.parquet(str(job.place(number))).withColumnRenamed("rating", "score")
        lists.write.mode("overwrite").parquet(str(job.out / f"lists-{number}"))
    stages.report(users=job.users, lists="lists-1")
    spark.stop()


if __name__ == "__main__":
    main()
