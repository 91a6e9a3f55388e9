"""`mlflow.pyfunc.spark_udf` on histories, written to Delta; variants `usual` and `kernel`.

usual: the model as it is usually written: ids by dict, the scores of 1,024 users at once, argpartition of the negated
scores. kernel: this project's model behind the same `spark_udf`.
"""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema
from mlflow.types.schema import Array
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

import spark as sessions
from job import Job, read_job
from measure import Stages
from model import quietly_tracked, recommender
from scoreline.models.mlflow_model import log_recommender

_CHUNK = 1024
_LISTS = "item_ids array<long>, scores array<float>"


class Usual(mlflow.pyfunc.PythonModel):
    """Fold in by dict, score everything, mask what was seen, argpartition."""

    def load_context(self, context: Any) -> None:
        self.items = np.load(context.artifacts["items"])
        self.row_of = {item_id: row for row, item_id in enumerate(range(1, len(self.items) + 1))}

    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> pd.DataFrame:
        k, found, values = 20, [], []
        histories = model_input["item_ids"].tolist()
        for first in range(0, len(histories), _CHUNK):
            seen = [[self.row_of[i] for i in ids if i in self.row_of] for ids in histories[first : first + _CHUNK]]
            scores = np.stack([self.items[rows].sum(axis=0) for rows in seen]) @ self.items.T
            for user, rows in enumerate(seen):
                scores[user, rows] = -np.inf
            best = np.argpartition(-scores, k, axis=1)[:, :k]
            order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
            best = np.take_along_axis(best, order, axis=1)
            found += (best + 1).tolist()
            values += np.take_along_axis(scores, best, axis=1).tolist()
        return pd.DataFrame({"item_ids": found, "scores": values})


def log_usual(job: Job) -> str:
    ids, scores = Array(DataType.long), Array(DataType.float)
    signature = ModelSignature(
        Schema([ColSpec(ids, "item_ids")]), Schema([ColSpec(ids, "item_ids"), ColSpec(scores, "scores")])
    )
    artifacts = {"items": str(job.workload / "als_items.npy")}
    with mlflow.start_run():
        return mlflow.pyfunc.log_model(
            name="model", python_model=Usual(), artifacts=artifacts, signature=signature, pip_requirements=[]
        ).model_uri


def work(spark: SparkSession, job: Job, uri: str, place: Path) -> None:
    kind = _LISTS if job.variant == "usual" else f"{_LISTS}, source string"
    udf = mlflow.pyfunc.spark_udf(spark, uri, result_type=kind, env_manager="local")
    lists = sessions.histories(spark, job).withColumn("found", udf(F.struct("item_ids")))
    lists.select("user_id", "found.item_ids", "found.scores").write.format("delta").save(str(place))


def main() -> None:
    job, stages = read_job(__doc__), Stages()
    with quietly_tracked(job.out):
        with stages.stage("prepare"):
            uri = log_usual(job) if job.variant == "usual" else log_recommender(recommender(job.items())).model_uri
        with stages.stage("session"):
            spark = sessions.start(job)
        for number in range(1, job.passes + 1):
            with stages.stage(f"job {number}"):
                work(spark, job, uri, job.place(number))
    stages.report(users=job.users)
    spark.stop()


if __name__ == "__main__":
    main()
