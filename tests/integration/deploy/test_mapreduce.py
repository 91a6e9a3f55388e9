"""The mapper of Hadoop streaming gives the lists of a run, line by line, without Spark."""

import io
import json
import pickle
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyspark.sql import SparkSession
from pyspark.sql.pandas.types import to_arrow_schema

from faults.poison import save
from integration.truth import expected
from scoreline import __version__
from scoreline.deploy.hadoop_streaming.job import json_lines, write_files
from scoreline.deploy.hadoop_streaming.mapper import TASK, _batches, score_lines
from scoreline.engine.frames import collected
from scoreline.errors import InputError
from scoreline.scoring.task import ScoringTask, WorkerLimits

SOURCE = str(Path(__file__).parents[3] / "src")


COLUMNS = ["user_id", "outcome", "recommendations", "source", "code", "message"]


def unpacked(folder: Path) -> bytes:
    """What `-archives` does on each node, and the lines of all splits."""
    with zipfile.ZipFile(folder / "model.zip") as packed:
        packed.extractall(folder / "model")
    return b"".join(path.read_bytes() for path in sorted((folder / "histories").glob("part-*")))


def mapped(folder: Path, lines: bytes, *options: str, **environment: str) -> "subprocess.CompletedProcess[bytes]":
    command = [sys.executable, *options, "-m", "scoreline.deploy.hadoop_streaming.mapper"]
    known = {"PYTHONPATH": SOURCE, **environment}
    return subprocess.run(command, input=lines, capture_output=True, check=False, cwd=folder, env=known)


@pytest.mark.spark  # the job writes by it
def test_the_mapper_scores_as_a_run_does(filled: Any, registry: Any, tmp_path: Path) -> None:
    made = filled()
    written = write_files(made, tmp_path)
    lines = unpacked(tmp_path)
    assert (written.users, lines.count(b"\n")) == (60, 60)
    done = mapped(tmp_path, lines, "-X", "importtime")
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    assert all(list(row) == COLUMNS for row in rows)
    found = {row["user_id"]: [item["item_id"] for item in row["recommendations"]] for row in rows}
    assert found == expected(made, registry.films["1"], k=5)
    counters = re.findall(rb"reporter:counter:scoreline,(\w+,\d+)", done.stderr)
    assert counters == [b"scored,60", b"failed,0", b"seen_count,0", b"forbidden_count,0"]
    assert b"pyspark" not in done.stderr  # of what was imported

    _, task, schema, _ = pickle.loads((tmp_path / TASK).read_bytes())
    scoring, audit = made.settings.scoring, made.settings.audit
    limits = (scoring.batch_timeout.total_seconds(), scoring.row_timeout.total_seconds(), scoring.worker_memory_share)
    assert task.guard == WorkerLimits(audit.tolerated(60, 60), *limits)
    # one budget for all batches of the task, not one for each
    told = replace(task, guard=replace(task.guard, failures=0), params={"k": "not a number"})
    codes = [row for b in score_lines(replace(told, model_path=str(tmp_path / "model")), schema, io.BytesIO(lines),
                                      rows=20) for row in b.column("code").to_pylist()]  # fmt: skip
    assert (codes.count("MODEL_RAISED"), codes.count("NOT_TRIED")) == (2, 58)

    (tmp_path / "model" / "sitecustomize.py").touch()
    refused = mapped(tmp_path, lines)
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert refused.stderr.startswith(b"error: the model in model is not the one that was promoted")


def test_a_second_attempt_names_the_user_who_ends_the_process(tmp_path: Path) -> None:
    save(tmp_path / "model")
    lists = pa.list_(pa.struct([("item_id", pa.int64()), ("score", pa.float32())]))
    carried = [("user_id", pa.int64()), ("bucket", pa.int32()), ("history_hash", pa.int64())]
    results = [("recommendations", lists), ("source", pa.string()), ("seen_count", pa.int32())]
    told = [("forbidden_count", pa.int32()), ("code", pa.string()), ("message", pa.string())]
    outputs = pa.schema([("item_ids", pa.list_(pa.int64())), ("scores", pa.list_(pa.float32()))])
    task = ScoringTask(
        model_path="model", kind="recommender", carried=("user_id", "bucket", "history_hash"),
        inputs=("item_ids",), outputs=outputs,
        staged=pa.schema([*carried, ("outcome", pa.string()), *results, *told]),
        params={}, k=3, seen=(), blocked=None, allowed=None, guard=WorkerLimits(row_seconds=5.0, batch_seconds=20.0),
    )  # fmt: skip
    schema = pa.schema([*carried, ("item_ids", pa.list_(pa.int64()))])
    (tmp_path / TASK).write_bytes(pickle.dumps((__version__, task, schema, 100)))
    row = {"bucket": 0, "history_hash": 1}
    given = [row | {"user_id": 1, "item_ids": [1]}, row | {"user_id": 2, "item_ids": [9009]}]
    lines = "".join(json.dumps(each) + "\n" for each in given).encode()
    assert mapped(tmp_path, lines, mapreduce_task_attempt_id="attempt_1_0001_m_000000_0").returncode < 0
    again = mapped(tmp_path, lines, mapreduce_task_attempt_id="attempt_1_0001_m_000000_1")
    rows = [json.loads(line) for line in again.stdout.splitlines()]
    assert [(r["user_id"], r["outcome"], r["code"]) for r in rows] == [
        (1, "scored", None),
        (2, "failed", "MODEL_CRASHED"),
    ]


def test_a_line_is_read_as_the_row_was(spark: SparkSession) -> None:
    rows = spark.sql(
        "select timestamp'2026-01-02 12:30:00.123456' t, timestamp_ntz'2026-01-02 12:30:00.123456' n, "
        "cast(1.5 as decimal(10, 2)) d, array(named_struct('a', cast(null as int), 'b', 'x')) r, tinyint(3) i"
    )
    line = json_lines(rows).first()[0].encode() + b"\n"
    (read,) = _batches(to_arrow_schema(rows.schema), io.BytesIO(line), 10)
    assert read.to_pylist() == collected(rows).to_pylist()
    for column, kind in (("X'00'", "binary"), ("map('a', 1)", "map<string,int>"), ("array(date'2026-01-02')", "date")):
        with pytest.raises(InputError, match=f"column x has values of type {kind}, and histories go to a mapper as JS"):
            json_lines(spark.sql(f"select {column} x"))
