"""The workload's factors as a saved Spark `ALSModel`; needs PySpark only, as RePlay's environment has it."""

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pyspark.ml.recommendation import ALS, ALSModel
from pyspark.sql import SparkSession

from job import Job


def load_als_model(spark: SparkSession, job: Job) -> ALSModel:
    """An `ALSModel` with the job's factors: a tiny one is trained and saved, and its factors are replaced on disk."""
    place = job.out / "als-model"
    if not place.exists():
        tiny = spark.createDataFrame([(1, 1, 1.0), (2, 2, 1.0)], "user_id int, item_id int, rating float")
        named = {"userCol": "user_id", "itemCol": "item_id", "ratingCol": "rating"}
        rank = job.items().shape[1]
        ALS(rank=rank, maxIter=1, coldStartStrategy="drop", **named).fit(tiny).save(str(place))
        _replace(place / "userFactors", job.factors())
        _replace(place / "itemFactors", job.items())
    return ALSModel.load(str(place))


def _replace(folder: Path, factors) -> None:  # type: ignore[no-untyped-def]
    shutil.rmtree(folder)
    folder.mkdir()
    ids = pa.array(range(1, len(factors) + 1), pa.int32())
    lists = pa.FixedSizeListArray.from_arrays(pa.array(factors.ravel()), factors.shape[1])
    table = pa.table({"id": ids, "features": lists.cast(pa.list_(pa.float32()))})
    pq.write_table(table, folder / "part-00000.parquet", row_group_size=8_192)
