"""This project, end to end, by the functions that its command calls.

Variants: `prepare` fills `OUT/tables` (model registered, histories as ingest leaves them); `run` then does, in a
process of its own: first run, full run of everybody, then each time an ingest and the run after it: of one user to
warm up, and in turn of one user and of SHARE of the users, five and four times (a session still gets faster and a
machine is not always as fast, so both are means, and the small runs stand around the large ones), and at last a run
with nothing due. `short` is `run` with one such pair of runs. `embedded` is a run on the embedded engine and nothing
else, `embedded-all` of everybody, `embedded-news-WHOSE-TURN` the ingest before one, `whole` as `embedded` but on Spark;
`lists` writes what was published as Parquet. `first` stops after the first run and has no warm-up, whose idle workers
would count as memory; `full` stops after the full run; `shares` runs for each of SHARES instead.
"""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from deltalake import DeltaTable, QueryBuilder
from pyspark.sql import functions as F

import spark as sessions
from job import Job, read_job
from measure import Stages
from model import quietly_tracked, recommender
from scoreline.config.settings import Settings
from scoreline.context import Context, open_context
from scoreline.ingest.histories import bucket_of
from scoreline.ingest.ingest import ingest_events
from scoreline.ingest.merge import history_table
from scoreline.models.mlflow_model import log_recommender
from scoreline.pipeline.run import run
from scoreline.pipeline.run_report import RunReport
from scoreline.tables import schema
from scoreline.tables.commit_note import Ingested

SHARE = 0.01
_ALONE = ("embedded", "embedded-all", "whole")
_PAIRS = {"run": 4, "short": 1}
SHARES = (0.001, 0.01, 0.03, 0.1, 0.3)
_NAMED = {"user_id": "user_id", "item_id": "item_id", "weight": "weight", "time": "event_at"}


def settings(job: Job, **more: Any) -> Settings:
    return Settings.model_validate(
        {
            "name": "bench",
            "engine": "spark",
            "tables": {"root": str(job.out / "tables")},
            "events": {"format": "parquet", "columns": _NAMED},
            "histories": {"max_items": 100_000},
            "model": {"uri": "models:/bench@champion"},
            "scoring": {"k": job.k},
            "spark": {"spark.master": f"local[{job.cores}]"},
            **more,
        }
    )


def prepare(job: Job) -> None:
    """A registered model, and `user_history` as `ingest` leaves it, from histories that are grouped already."""
    shutil.rmtree(job.out / "tables", ignore_errors=True)
    made = settings(job)
    with quietly_tracked(made.home, made.tracking_uri):
        info = log_recommender(recommender(job.items()), registered_name="bench")
        mlflow.MlflowClient().set_registered_model_alias("bench", "champion", info.registered_model_version)
    context = open_context(made)
    key = F.col("user_id")
    rows = context.spark.read.parquet(str(job.histories)).where(key <= job.users)
    full = rows.select(
        "*",
        bucket_of(key, made.histories.buckets).alias("bucket"),
        F.size("item_ids").alias("event_count"),
        F.array_max("event_times").alias("last_event_at"),
        F.xxhash64("item_ids", "weights", "event_times").alias("history_hash"),
        F.lit(context.now).cast("timestamp").alias("added_at"),
        F.lit(context.now).cast("timestamp").alias("updated_at"),
        F.lit(None).cast("array<long>").alias("older_item_ids"),
        F.lit(None).cast("array<long>").alias("since_first_us"),
    ).select(*[f.name for f in schema.user_history(context.keys)])
    partitions = int(context.spark.conf.get("spark.sql.shuffle.partitions") or 8)
    files = full.repartitionByRange(partitions, "bucket").sortWithinPartitions("bucket", "user_id")
    note = Ingested(columns=None, updated_at=context.now)
    table = history_table(context.tables, context.keys, buckets=context.settings.histories.buckets)
    table.write(files, "append", {"userMetadata": note.text()})
    context.spark.stop()


def news(job: Job, name: str, users: np.ndarray) -> Path:
    """One new event for each of `users`, as a file to ingest."""
    dice = np.random.default_rng(len(users))
    moment = pa.array(np.full(len(users), int(datetime.now(UTC).timestamp() * 1e6))).cast(pa.timestamp("us", "UTC"))
    events = {
        "user_id": pa.array(users.astype(np.int64)),
        "item_id": pa.array(dice.integers(1, len(job.items()) + 1, len(users))),
        "weight": pa.array(np.ones(len(users), np.float32)),
        "event_at": moment,
    }
    path = job.out / f"{name}.parquet"
    pq.write_table(pa.table(events), path)
    return path


def write_lists(job: Job) -> None:
    """The published lists as Parquet, for the comparison with brute force."""
    table = DeltaTable(str(job.out / "tables" / "recommendations"))
    rows = QueryBuilder().register("published", table).execute("SELECT user_id, recommendations FROM published")
    job.place(1).mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(rows.read_all()), job.place(1) / "lists.parquet")


def opened(job: Job) -> Context:
    return open_context(settings(job), now=datetime.now(UTC))


def ingest_and_run(job: Job, stages: Stages, name: str, users: np.ndarray) -> RunReport:
    """New events for `users`, then the run that finds those users due."""
    source = news(job, name, users)
    with stages.stage(f"ingest {name}"):
        ingest_events(opened(job), str(source))
    with stages.stage(f"run {name}"):
        return run(opened(job))


def main() -> None:
    job, stages = read_job(__doc__), Stages()
    if job.variant == "prepare":
        with stages.stage("prepare"):
            prepare(job)
        stages.report(users=job.users)
        return
    if job.variant == "lists":
        write_lists(job)
        stages.report(users=job.users)
        return
    if job.variant in _ALONE:
        made = settings(job) if job.variant == "whole" else settings(job, engine="embedded", spark={})
        with stages.stage("job 1"):
            report = run(open_context(made, now=datetime.now(UTC)), full_refresh=job.variant == "embedded-all")
        stages.report(users=report.audit.scored, steps={"job 1": dict(report.seconds)}, due={})
        return
    if job.variant.startswith("embedded-news-"):
        which, turn = job.variant.removeprefix("embedded-news-").split("-")
        some = np.arange(1 + int(turn), job.users + 1, round(1 / SHARE))
        users = some[:1] if which == "one" else some
        ingest_events(open_context(settings(job, engine="embedded", spark={})), str(news(job, job.variant, users)))
        stages.report(users=len(users))
        return
    with stages.stage("session"):
        context = opened(job)
        if job.variant != "first":
            sessions.warm_up(context.spark, job.out / "warm-up")
    with stages.stage("job 1"):
        first = run(opened(job))
    steps, due = {"job 1": dict(first.seconds)}, {}
    if job.variant != "first":
        with stages.stage("job 2"):
            steps["job 2"] = dict(run(opened(job), full_refresh=True).seconds)
    write_lists(job)
    for name, users in partly_due(job):
        report = ingest_and_run(job, stages, name, users)
        steps[f"run {name}"], due[name] = dict(report.seconds), report.audit.scored
    if job.variant in _PAIRS:
        with stages.stage("nothing due"):
            run(opened(job))
    stages.report(users=first.audit.scored, steps=steps, due=due)
    context.spark.stop()


def partly_due(job: Job) -> list[tuple[str, np.ndarray]]:
    """Whose events come in, in turn; the first of them pays for what a session does once."""
    warm = ("first", np.array([3]))
    everyone = np.arange(1, job.users + 1)
    if pairs := _PAIRS.get(job.variant):
        shares = [(f"share {n + 1}", everyone[n :: round(1 / SHARE)]) for n in range(pairs)]
        ones = [(f"one {n + 1}", np.array([5 + n])) for n in range(pairs)]
        in_turn = [step for pair in zip(ones, shares, strict=True) for step in pair]
        in_turn = in_turn if pairs == 1 else [warm, *in_turn]
        return [*in_turn, (f"one {pairs + 1}", np.array([5 + pairs]))]
    if job.variant == "shares":
        return [warm, *((f"{share:g}", everyone[: round(share * job.users)]) for share in SHARES)]
    return []


if __name__ == "__main__":
    main()
