"""A mapper of Hadoop streaming: histories on standard input, recommendations on standard output, no Spark.

    hadoop jar hadoop-streaming.jar -archives model.zip#model -files task.pickle \
        -mapper 'python -m scoreline.mapper' ...

A line in is a JSON object with the task's columns (`scoreline mapreduce` writes them), a line out one with
`user_id, outcome, recommendations, source, code, message` (or the model's outputs). Counters tell how many users were
scored and how many failed. docs/deploy/mapreduce.md
"""

import io
import json
import pickle
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import IO

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.json

from scoreline import __version__
from scoreline.engine import load_engine
from scoreline.score import ScoringTask, score_batch

TASK, MODEL = "task.pickle", "model"
_LEFT_OUT = ("bucket", "history_hash", "violations")


def score_lines(task: ScoringTask, schema: pa.Schema, lines: IO[bytes], *, rows: int) -> Iterator[pa.RecordBatch]:
    """Score JSON lines of `schema`, `rows` at a time; gives staged rows, as many as there were lines."""
    engine = load_engine(task.model_path, task.outputs, task.threads)
    # the key that Hadoop puts before a line's value may be empty: what counts is the object
    options = pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="ignore")
    while chunk := b"".join(islice(lines, rows)):
        read = pyarrow.json.ReadOptions(block_size=len(chunk) + 1)
        table = pyarrow.json.read_json(io.BytesIO(chunk), read_options=read, parse_options=options)
        for batch in table.combine_chunks().to_batches():
            yield score_batch(task, engine, batch)


def main() -> None:
    version, task, schema, rows = pickle.loads(Path(TASK).read_bytes())  # shipped with the job, by us
    if version != __version__:
        sys.exit(f"error: this node has scoreline {__version__}, {TASK} was made by {version}: install the same one")
    for batch in score_lines(task, schema, sys.stdin.buffer, rows=rows):
        kept = [name for name in batch.schema.names if name not in _LEFT_OUT]
        for row in batch.select(kept).to_pylist():
            sys.stdout.write(json.dumps(row) + "\n")
        failed = int(pc.sum(pc.equal(batch.column("outcome"), "failed")).as_py() or 0)
        sys.stderr.write(f"reporter:counter:scoreline,scored,{batch.num_rows - failed}\n")
        sys.stderr.write(f"reporter:counter:scoreline,failed,{failed}\n")


if __name__ == "__main__":
    main()
