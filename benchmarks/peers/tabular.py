"""A scikit-learn model on a table of 15 columns: this project's generic path against `mlflow.pyfunc.spark_udf`.

Variants `MODEL-ours`, `MODEL-embedded` (on the embedded engine), `MODEL-spark_udf` and `MODEL-bare` (ours between a
read and one write: nothing is compared, staged, audited or recorded). MODEL is `logistic` (StandardScaler and
LogisticRegression, where the way of the data is most of the work) or `trees` (HistGradientBoostingClassifier, where the
model is). WORKLOAD/features.parquet has to be there.
"""

from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder
from mlflow.models import infer_signature
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import spark as sessions
from job import Job, read_job
from measure import Stages
from model import quietly_tracked
from scoreline.config.settings import Settings
from scoreline.context import Context, open_context
from scoreline.engine.batch_size import batch_limits
from scoreline.pipeline.due_users import find_due
from scoreline.pipeline.plan import Slice
from scoreline.pipeline.run import run
from scoreline.pipeline.slices import scored_slice
from scoreline.pipeline.snapshot import open_run
from scoreline.tables.delta import Tables

FEATURES = [f"f{n:02}" for n in range(15)]
_TRAINED_ON, _CHECKED = 50_000, 5_000


def write_features(path: Path, rows: int) -> None:
    """`id` and 15 columns of doubles, normally distributed."""
    dice = np.random.default_rng(0)
    columns = {name: pa.array(dice.normal(size=rows)) for name in FEATURES}
    pq.write_table(pa.table({"id": pa.array(np.arange(rows)), **columns}), path, row_group_size=250_000)


def fitted(kind: str, path: Path) -> tuple[Any, Any]:
    """A model trained on the first rows, and those rows."""
    rows = ds.dataset(path).head(_TRAINED_ON, columns=FEATURES).to_pandas()
    label = (rows["f00"] * rows["f01"] + rows["f02"] > 0.3).astype("int64")
    trees = HistGradientBoostingClassifier(max_iter=50, random_state=0)
    model = trees if kind == "trees" else make_pipeline(StandardScaler(), LogisticRegression())
    return model.fit(rows, label), rows


def logged(model: Any, rows: Any) -> str:
    """The version's URI."""
    signature = infer_signature(rows.head(), model.predict(rows.head()))
    with mlflow.start_run():
        info = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=signature,
            registered_model_name="tabular",
            serialization_format="cloudpickle",
            pip_requirements=[],
        )
    return f"models:/tabular/{info.registered_model_version}"


def with_spark_udf(spark: SparkSession, job: Job, uri: str, place: Path) -> None:
    udf = mlflow.pyfunc.spark_udf(spark, uri, result_type="long", env_manager="local")
    rows = spark.read.parquet(str(job.features))
    scored = rows.withColumn("prediction", udf(F.struct(*FEATURES)))
    scored.select("id", "prediction").write.format("delta").save(str(place))


def with_ours(made: Settings, number: int) -> None:
    run(open_context(made), full_refresh=number > 1)


def opened_bare(spark: SparkSession, made: Settings) -> DataFrame:
    """What our workers make of the table."""
    context = Context(made, spark, Tables(spark, made.tables), datetime.now(UTC))
    opened = open_run(context, fraction=1, full_refresh=True)
    everybody = Slice(0, tuple(range(made.histories.buckets)), 0)
    guard = opened.pinned.task.guard
    rows = opened.inputs.rows.select(*opened.pinned.task.columns)
    for key, value in batch_limits(rows.schema, made.scoring).items():
        spark.conf.set(key, value)
    with find_due(opened) as due:
        return scored_slice(opened, everybody, due, whole_table=True, guard=guard)


def settings(job: Job, uri: str, *, engine: str = "spark") -> Settings:
    return Settings.model_validate(
        {
            "name": "tabular",
            "engine": engine,
            "tables": {"root": str(job.out / "tables")},
            "input": {"path": str(job.features), "format": "parquet", "key": "id"},
            "model": {"uri": uri},
            "scoring": {"slice_users": 10_000_000},
            "spark": {"spark.master": f"local[{job.cores}]"} if engine == "spark" else {},
        }
    )


def differing(model: Any, rows: Any, found: pa.Table) -> int:
    """How many of the first rows' predictions are not the model's own."""
    first = found.filter(pa.compute.less(found["id"], _CHECKED)).sort_by("id")
    wanted = model.predict(rows.head(_CHECKED))
    return int((first["prediction"].to_numpy() != wanted).sum()) + abs(len(wanted) - first.num_rows)


def published(place: Path, key: str) -> pa.Table:
    """`id, prediction` of the rows to be checked."""
    query = f"SELECT {key} AS id, prediction FROM scored WHERE {key} < {_CHECKED}"
    return pa.table(QueryBuilder().register("scored", DeltaTable(str(place))).execute(query).read_all())


def main() -> None:
    job, stages = read_job(__doc__), Stages()
    kind, way = job.variant.split("-")
    made = settings(job, "models:/tabular/1", engine="embedded" if way == "embedded" else "spark")
    with ExitStack() as tracked:
        with stages.stage("fit"):
            tracked.enter_context(quietly_tracked(made.home, made.tracking_uri))
            model, rows = fitted(kind, job.features)
            uri = logged(model, rows)
        if way == "embedded":
            with stages.stage("job 1"):
                with_ours(made, 1)
        else:
            on_spark(job, stages, made, way, uri)
    place = job.out / ("tables/predictions" if way in ("ours", "embedded") else "pass-1")
    with stages.stage("check"):
        wrong = differing(model, rows, published(place, "id" if way == "spark_udf" else "user_id"))
    stages.report(users=job.users, differing=wrong)


def on_spark(job: Job, stages: Stages, made: Settings, way: str, uri: str) -> None:
    with stages.stage("session"):
        spark = sessions.start(job)
    scored = opened_bare(spark, made) if way == "bare" else None
    for number in range(1, job.passes + 1):
        with stages.stage(f"job {number}"):
            if scored is not None:
                scored.select("user_id", "prediction").write.format("delta").save(str(job.place(number)))
            elif way == "ours":
                with_ours(made, number)
            else:
                with_spark_udf(spark, job, uri, job.place(number))
    spark.stop()


if __name__ == "__main__":
    main()
