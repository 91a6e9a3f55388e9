"""A mapper of Hadoop streaming: histories on standard input, recommendations on standard output, no Spark.

    hadoop jar hadoop-streaming.jar -archives model.zip#model -files task.pickle \
        -mapper 'python -m scoreline.deploy.hadoop_streaming.mapper' ...

A line in is a JSON object with the task's columns (`scoreline mapreduce` writes them), a line out one with
`user_id, outcome, recommendations, source, code, message` (or the model's outputs). It is the worker of a run that
scores: the same limits, digest and budget of failures. When Hadoop tries a task again, a process died: then in forked
children, which name the user. Counters tell how many were scored, how many failed, and how many items break the rules,
which nothing audits here. docs/deploy/mapreduce.md
"""

import io
import json
import os
import pickle
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from scoreline import __version__
from scoreline.errors import InputError
from scoreline.redaction import redacted
from scoreline.scoring.task import ScoringTask, score_batches

TASK, MODEL = "task.pickle", "model"
RULES = ("seen_count", "forbidden_count")


def promised(task: ScoringTask) -> list[str]:
    """The columns of a line that comes out."""
    results = ["recommendations"] if task.kind == "recommender" else task.outputs.names
    return ["user_id", "outcome", *results, "source", "code", "message"]


def score_lines(task: ScoringTask, schema: pa.Schema, lines: IO[bytes], *, rows: int) -> Iterator[pa.RecordBatch]:
    """Score JSON lines of `schema`, `rows` at a time; gives staged rows, as many as there were lines."""
    return score_batches(task, _batches(schema, lines, rows))


def _batches(schema: pa.Schema, lines: IO[bytes], rows: int) -> Iterator[pa.RecordBatch]:
    # the key that Hadoop puts before a line's value may be empty: what counts is the object
    options = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    while chunk := b"".join(islice(lines, rows)):
        read = pyarrow.json.ReadOptions(block_size=len(chunk) + 1)
        yield from pyarrow.json.read_json(io.BytesIO(chunk), read_options=read, parse_options=options).to_batches()


def guarded(task: ScoringTask, environment: Mapping[str, str]) -> ScoringTask:
    """The task in its sandbox if this is not the first attempt (`attempt_…_m_000003_1`, as streaming tells it)."""
    attempt = environment.get("mapreduce_task_attempt_id", "").rpartition("_")[2]
    return replace(task, guard=replace(task.guard, sandbox=attempt not in ("", "0")))


def main() -> None:
    version, task, schema, rows = pickle.loads(Path(TASK).read_bytes())  # shipped with the job, by us
    if version != __version__:
        sys.exit(f"error: this node has scoreline {__version__}, {TASK} was made by {version}: install the same one")
    kept = promised(task)
    try:
        for batch in score_lines(guarded(task, os.environ), schema, sys.stdin.buffer, rows=rows):
            for row in batch.select(kept).to_pylist():
                sys.stdout.write(json.dumps(row, default=str) + "\n")
            _count(batch)
    except InputError as error:
        sys.exit(f"error: {redacted(str(error))}")


def _count(batch: pa.RecordBatch) -> None:
    failed = int(pc.sum(pc.equal(batch.column("outcome"), "failed")).as_py() or 0)
    counts = {"scored": batch.num_rows - failed, "failed": failed}
    counts |= {name: int(pc.sum(batch.column(name)).as_py() or 0) for name in RULES}
    for name, count in counts.items():
        sys.stderr.write(f"reporter:counter:scoreline,{name},{count}\n")


if __name__ == "__main__":
    main()
