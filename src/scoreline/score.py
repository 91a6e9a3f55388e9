"""Score Arrow batches of users: the whole of what a Python worker does, without Spark.

A batch that raises, or whose result cannot be right, is halved until the rows that cause it are alone; those become
`failed` rows with a code and a message, the rest is scored. As many rows come out as went in, in the same order.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from scoreline.engine import BadOutput, Engine, load_engine
from scoreline.lists import codes_of, common_count

ITEM_IDS, SCORES, SOURCE = "item_ids", "scores", "source"


@dataclass(frozen=True)
class ScoringTask:
    """What travels to the workers.

    `carried` columns ride along from the input, `inputs` go to the model; `optional` outputs may be null.
    """

    model_path: str
    kind: Literal["recommender", "tabular"]
    carried: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: pa.Schema
    staged: pa.Schema
    params: Mapping[str, Any]
    k: int
    exclude_seen: bool
    blocked: pa.Array | None
    allowed: pa.Array | None
    threads: int = 1
    optional: frozenset[str] = frozenset({SOURCE})


@dataclass(frozen=True)
class _Failure:
    code: str
    message: str


def score_batches(task: ScoringTask, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Score each batch; the model is loaded before the first one, once per process."""
    engine = load_engine(task.model_path, task.outputs, task.threads)
    for batch in batches:
        if batch.num_rows:
            yield score_batch(task, engine, batch)


def score_batch(task: ScoringTask, engine: Engine, batch: pa.RecordBatch) -> pa.RecordBatch:
    """One batch in (carried and input columns), one batch of staged rows out."""
    inputs = batch.select(list(task.inputs))
    parts = list(_bisected(lambda rows: _checked(task, engine, rows), inputs))
    pieces, start = [], 0
    for length, part in parts:
        rows = batch.slice(start, length)
        pieces.append(_failed(task, rows, part) if isinstance(part, _Failure) else _scored(task, rows, part))
        start += length
    if len(pieces) == 1:
        return pieces[0]
    return pa.Table.from_batches(pieces, schema=task.staged).combine_chunks().to_batches()[0]


def _bisected(
    call: Callable[[pa.RecordBatch], pa.RecordBatch], rows: pa.RecordBatch
) -> Iterator[tuple[int, pa.RecordBatch | _Failure]]:
    """Halve what fails until it is one row; yields (number of rows, outputs or failure) in the rows' order."""
    try:
        yield rows.num_rows, call(rows)
    except Exception as error:
        if rows.num_rows == 1:
            code = error.code if isinstance(error, BadOutput) else "MODEL_RAISED"
            yield 1, _Failure(code, f"{type(error).__name__}: {error}"[:1000])
            return
        half = rows.num_rows // 2
        yield from _bisected(call, rows.slice(0, half))
        yield from _bisected(call, rows.slice(half))


def _checked(task: ScoringTask, engine: Engine, inputs: pa.RecordBatch) -> pa.RecordBatch:
    outputs = engine.call(inputs, task.params)
    if outputs.num_rows != inputs.num_rows:
        raise BadOutput("ROW_COUNT", f"the model returned {outputs.num_rows} rows for {inputs.num_rows}")
    for name in outputs.schema.names:
        _require_values(name, outputs.column(name), nullable=name in task.optional)
    if task.kind == "recommender":
        _require_lists(outputs, task.k)
    return outputs


def _require_values(name: str, values: pa.Array, *, nullable: bool) -> None:
    if values.null_count and not nullable:
        raise BadOutput("NULL_OUTPUT", f"output {name} is null")
    leaf = values.flatten() if pa.types.is_list(values.type) else values
    if leaf.null_count and not nullable:
        raise BadOutput("NULL_OUTPUT", f"output {name} has a null in it")
    if pa.types.is_floating(leaf.type) and not np.isfinite(leaf.drop_null().to_numpy()).all():
        raise BadOutput("NOT_FINITE", f"output {name} is NaN or infinite")


def _require_lists(outputs: pa.RecordBatch, k: int) -> None:
    ids, scores = outputs.column(ITEM_IDS), outputs.column(SCORES)
    lengths = ids.value_lengths().to_numpy()
    if not np.array_equal(lengths, scores.value_lengths().to_numpy()):
        raise BadOutput("LENGTHS_DIFFER", "item_ids and scores have different lengths")
    if lengths.max(initial=0) > k:
        raise BadOutput("TOO_MANY_ITEMS", f"{lengths.max()} items recommended, {k} asked for")
    codes = codes_of(ids.flatten())
    pairs = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths) * (codes.max(initial=0) + 1) + codes
    if len(np.unique(pairs)) < len(pairs):
        raise BadOutput("DUPLICATE_ITEM", "an item is recommended twice to the same user")


def _scored(task: ScoringTask, rows: pa.RecordBatch, outputs: pa.RecordBatch) -> pa.RecordBatch:
    n = rows.num_rows
    columns = {name: rows.column(name) for name in task.carried}
    columns["outcome"] = _constant("scored", n)
    if task.kind == "recommender":
        columns["recommendations"] = _lists(outputs, task.staged.field("recommendations").type)
        columns["violations"] = pa.array(_violations(task, rows, outputs.column(ITEM_IDS)), pa.int32())
    else:
        columns |= {name: outputs.column(name) for name in outputs.schema.names}
        columns["violations"] = pa.array(np.zeros(n, np.int32))
    columns["source"] = outputs.column(SOURCE) if SOURCE in outputs.schema.names else _constant("model", n)
    return _staged(task, columns, n)


def _failed(task: ScoringTask, rows: pa.RecordBatch, failure: _Failure) -> pa.RecordBatch:
    n = rows.num_rows
    columns = {name: rows.column(name) for name in task.carried}
    columns |= {"outcome": _constant("failed", n), "code": _constant(failure.code, n)}
    columns["message"] = _constant(failure.message, n)
    return _staged(task, columns, n)


def _staged(task: ScoringTask, columns: Mapping[str, pa.Array], n: int) -> pa.RecordBatch:
    arrays = [columns[f.name] if f.name in columns else pa.nulls(n, f.type) for f in task.staged]
    arrays = [a if a.type.equals(f.type) else a.cast(f.type) for a, f in zip(arrays, task.staged, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=task.staged)


def _constant(text: str, n: int) -> pa.Array:
    return pa.repeat(pa.scalar(text, pa.string()), n)


def _lists(outputs: pa.RecordBatch, kind: pa.ListType) -> pa.Array:
    ids, scores = outputs.column(ITEM_IDS), outputs.column(SCORES)
    offsets = np.zeros(len(ids) + 1, np.int32)
    np.cumsum(ids.value_lengths().to_numpy(), out=offsets[1:])
    values = [ids.flatten(), scores.flatten()]
    structs = pa.StructArray.from_arrays(values, fields=list(kind.value_type))
    return pa.ListArray.from_arrays(pa.array(offsets), structs, type=kind)


def _violations(task: ScoringTask, rows: pa.RecordBatch, recommended: pa.Array) -> np.ndarray[Any, Any]:
    """Per row, how many recommended items the rules forbid; counted here, apart from the model that should know."""
    found = np.zeros(rows.num_rows, np.int32)
    items = recommended.flatten()
    owner = np.repeat(np.arange(rows.num_rows), recommended.value_lengths().to_numpy())
    for allowed, wanted in ((task.allowed, True), (task.blocked, False)):
        if allowed is not None:
            wrong = pc.is_in(items, value_set=allowed).to_numpy(zero_copy_only=False) != wanted
            found += np.bincount(owner[wrong], minlength=rows.num_rows).astype(np.int32)
    if task.exclude_seen and ITEM_IDS in rows.schema.names:
        found += common_count(rows.column(ITEM_IDS), recommended)
    return found
