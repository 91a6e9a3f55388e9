"""What no job can be faster than: reading the histories and writing the lists, and all scores by GEMM."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import spark as sessions
from job import Job, as_matrix, read_histories, read_job, write_lists
from kernel import gemm
from measure import Stages


def random_lists(job: Job, users: pa.ChunkedArray) -> None:
    """Lists of the right size, to be written again by Spark."""
    dice = np.random.default_rng(0)
    items = dice.integers(0, len(job.items()), (job.users, job.k))
    write_lists(job.out / "given", users, items, dice.random((job.users, job.k), np.float32))


def main() -> None:
    job, stages = read_job(__doc__), Stages()
    histories = read_histories(job)
    random_lists(job, histories.column("user_id"))
    given = pq.read_table(job.out / "given")
    with stages.stage("read and write, pyarrow"):
        read_histories(job)
        (job.out / "written").mkdir(exist_ok=True)
        pq.write_table(given, job.out / "written" / "lists.parquet")
    seen = as_matrix(histories, items=len(job.items()))
    with stages.stage("gemm"):
        gemm(job.factors(), job.items(), seen)
    del histories, seen, given
    with stages.stage("session"):
        spark = sessions.start(job)
    for number in range(1, job.passes + 1):
        with stages.stage(f"read and write, Spark and Delta {number}"):
            sessions.histories(spark, job).selectExpr("sum(element_at(item_ids, -1))").collect()
            lists = spark.read.parquet(str(job.out / "given"))
            lists.write.format("delta").mode("overwrite").save(str(job.out / "delta"))
    stages.report(users=job.users)
    spark.stop()


if __name__ == "__main__":
    main()
