"""MLlib's `ALSModel` with an anti-join of what was seen, written to Delta; variants `as_is` and `correct`.

as_is: `recommendForAllUsers(K)`, minus what was seen: lists are too short. correct: users in classes by history length,
each asked for K + its longest history by `recommendForUserSubset`, so that K unseen items are among them; then the
anti-join, and the K best by a window.
"""

from pyspark.ml.recommendation import ALSModel
from pyspark.sql import DataFrame, SparkSession, Window
from pyspark.sql import functions as F

import spark as sessions
from als_model import load_als_model
from job import Job, read_job
from measure import Stages


def recommended(model: ALSModel, histories: DataFrame, job: Job) -> DataFrame:
    """`user_id, recommendations` with seen items still among them."""
    if job.variant == "as_is":
        return model.recommendForAllUsers(job.k)
    lengths = histories.select("user_id", F.size("item_ids").alias("length")).cache()
    longest = lengths.agg(F.max("length")).first()[0]
    lists, lower, upper = None, 0, 32
    while lower < longest:
        users = lengths.where((F.col("length") > lower) & (F.col("length") <= upper)).select("user_id")
        own = model.recommendForUserSubset(users, job.k + min(upper, longest))
        lists = own if lists is None else lists.unionByName(own)
        lower, upper = upper, upper * 2
    return lists


def unseen(lists: DataFrame, histories: DataFrame, k: int) -> DataFrame:
    """The K best of each list that the user has not seen, as an array again."""
    seen = histories.select("user_id", F.explode("item_ids").alias("item_id"))
    pairs = lists.select("user_id", F.explode("recommendations").alias("r"))
    fresh = pairs.select("user_id", "r.item_id", "r.rating").join(seen, on=["user_id", "item_id"], how="left_anti")
    order = Window.partitionBy("user_id").orderBy(F.desc("rating"), F.asc("item_id"))
    best = fresh.withColumn("rank", F.row_number().over(order)).where(F.col("rank") <= k)
    array = F.sort_array(F.collect_list(F.struct("rank", "item_id", "rating")))
    lists = best.groupBy("user_id").agg(array.alias("ranked"))
    return lists.select("user_id", F.expr("transform(ranked, r -> struct(r.item_id, r.rating)) AS recommendations"))


def work(spark: SparkSession, job: Job, number: int) -> None:
    histories = sessions.histories(spark, job)
    lists = recommended(load_als_model(spark, job), histories, job)
    unseen(lists, histories, job.k).write.format("delta").save(str(job.place(number)))
    spark.catalog.clearCache()


def main() -> None:
    job, stages = read_job(__doc__), Stages()
    with stages.stage("session"):
        spark = sessions.start(job)
    load_als_model(spark, job)
    for number in range(1, job.passes + 1):
        with stages.stage(f"job {number}"):
            work(spark, job, number)
    stages.report(users=job.users)
    spark.stop()


if __name__ == "__main__":
    main()
