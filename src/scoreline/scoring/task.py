"""Score Arrow batches of users: the whole of what a Python worker does, without Spark.

A batch that raises, or whose result cannot be right, is halved until the rows that cause it are alone; those become
`failed` rows with a code and a message, the rest is scored. As many rows come out as went in, in the same order.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Literal

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from scoreline.models.handover import BadInput
from scoreline.redaction import redacted
from scoreline.scoring.arrow_lists import codes_of
from scoreline.scoring.limits import alarm, limit_memory
from scoreline.scoring.loaded_model import LoadedModel, load_model
from scoreline.scoring.output_checks import InvalidOutput
from scoreline.scoring.sandbox import Timeouts, sandboxed
from scoreline.scoring.seen import ITEM_IDS, SCORES, seen_count, unseen

SOURCE, OLDER = "source", "older_item_ids"


@dataclass(frozen=True)
class WorkerLimits:
    """How a worker protects itself from the model.

    failures: so many users of a task are found one by one; beyond them the run is refused anyway. batch_seconds,
    row_seconds: how long the model may take for a batch, and for one row once it is looked for. memory_share: of the
    machine's memory, for one worker. sandbox: score in forked children, since the worker died before.
    """

    failures: int = 1_000
    batch_seconds: float | None = None
    row_seconds: float | None = None
    memory_share: float | None = None
    sandbox: bool = False


@dataclass(frozen=True)
class ScoringTask:
    """What travels to the workers.

    `carried` columns ride along from the input, `inputs` go to the model; `optional` outputs may be null. `seen` are
    the columns with items that must not be recommended, whatever of them the model is given; none if they may be.
    """

    model_path: str
    kind: Literal["recommender", "tabular"]
    carried: tuple[str, ...]
    inputs: tuple[str, ...]
    outputs: pa.Schema
    staged: pa.Schema
    params: Mapping[str, object]
    k: int
    seen: tuple[str, ...]
    blocked: pa.Array | None
    allowed: pa.Array | None
    threads: int = 1
    digest: str | None = None
    guard: WorkerLimits = WorkerLimits()
    optional: frozenset[str] = frozenset({SOURCE})

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the input that are read."""
        return tuple(dict.fromkeys([*self.carried, *self.inputs, *self.seen]))


@dataclass(frozen=True)
class _Failure:
    code: str
    message: str


class _Failures:
    """Counts the failed users of a task; `too_many` once the run is lost whatever comes."""

    def __init__(self, tolerated: int) -> None:
        self._left = tolerated

    def add(self, users: int) -> None:
        self._left -= users

    def too_many(self) -> bool:
        return self._left < 0


def score_batches(task: ScoringTask, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Score each batch; the model is loaded before the first one, once per process.

    BLAS and OpenMP get the task's threads for each task anew: whoever used this process before may have set others.
    """
    from threadpoolctl import threadpool_limits

    guard = task.guard
    with alarm(guard.batch_seconds):
        model = load_model(task.model_path, task.outputs, task.threads, digest=task.digest)
    threadpool_limits(limits=task.threads)
    _limit_memory_once(guard.memory_share)
    failures = _Failures(guard.failures)
    for batch in batches:
        if batch.num_rows:
            yield (_in_sandbox if guard.sandbox else score_batch)(task, model, batch, failures)


@cache
def _limit_memory_once(share: float | None) -> None:
    if share:
        limit_memory(share)


def _in_sandbox(task: ScoringTask, model: LoadedModel, batch: pa.RecordBatch, failures: _Failures) -> pa.RecordBatch:
    def score(rows: pa.RecordBatch, seconds: float | None) -> pa.RecordBatch:
        guard = replace(task.guard, batch_seconds=seconds)
        return score_batch(replace(task, guard=guard), model, rows, failures)

    def fail(rows: pa.RecordBatch, code: str, message: str) -> pa.RecordBatch:
        failures.add(rows.num_rows)
        return _failed(task, rows, _Failure(code, message))

    patience = Timeouts(task.guard.batch_seconds, task.guard.row_seconds, failures.too_many)
    return _joined(task, list(sandboxed(score, fail, batch, patience)))


def score_batch(
    task: ScoringTask, model: LoadedModel, batch: pa.RecordBatch, failures: _Failures | None = None
) -> pa.RecordBatch:
    """One batch in (the task's columns), one batch of staged rows out."""
    failures = failures or _Failures(task.guard.failures)
    pieces, start = [], 0
    for length, part in _bisected(lambda rows: _checked(task, model, rows), batch, failures):
        rows = batch.slice(start, length)
        pieces.append(_failed(task, rows, part) if isinstance(part, _Failure) else _scored(task, rows, part))
        start += length
    return _joined(task, pieces)


def _joined(task: ScoringTask, pieces: list[pa.RecordBatch]) -> pa.RecordBatch:
    if len(pieces) == 1:
        return pieces[0]
    return pa.Table.from_batches(pieces, schema=task.staged).combine_chunks().to_batches()[0]


def _bisected(
    call: Callable[[pa.RecordBatch], pa.RecordBatch], rows: pa.RecordBatch, failures: _Failures
) -> Iterator[tuple[int, pa.RecordBatch | _Failure]]:
    """Halve what fails until it is one row; yields (number of rows, outputs or failure) in the rows' order.

    Without bad rows it costs nothing. A model that fails for everybody would be called twice per user, so once more
    have failed than the run may have, what fails is not looked into any further.
    """
    try:
        yield rows.num_rows, call(rows)
        return
    except (Exception, SystemExit) as error:
        failure = _failure_of(error)
    if rows.num_rows == 1 or failures.too_many():
        failures.add(rows.num_rows)
        if rows.num_rows > 1:
            failure = _Failure("NOT_TRIED", f"so many users failed before that the run is refused: {failure.message}")
        yield rows.num_rows, failure
        return
    half = rows.num_rows // 2
    yield from _bisected(call, rows.slice(0, half), failures)
    yield from _bisected(call, rows.slice(half), failures)


def _failure_of(error: BaseException) -> _Failure:
    if isinstance(error, InvalidOutput | BadInput):
        return _Failure(error.code, redacted(str(error))[:1000])
    if isinstance(error, MemoryError | pa.ArrowMemoryError):
        code = "OUT_OF_MEMORY"
    else:
        code = "MODEL_EXITED" if isinstance(error, SystemExit) else "MODEL_RAISED"
    return _Failure(code, redacted(f"{type(error).__name__}: {error}")[:1000])


def _checked(task: ScoringTask, model: LoadedModel, rows: pa.RecordBatch) -> pa.RecordBatch:
    outputs = _answered(task, model, rows)
    if OLDER not in task.seen or OLDER in task.inputs:
        return outputs

    def ask(some: pa.RecordBatch, k: int) -> pa.RecordBatch:
        return _answered(replace(task, k=k, params={**task.params, "k": k}), model, some)

    return unseen(ask if "k" in task.params else None, rows, outputs, older=OLDER, k=task.k)


def _answered(task: ScoringTask, model: LoadedModel, rows: pa.RecordBatch) -> pa.RecordBatch:
    inputs = rows.select(list(task.inputs))
    with alarm(task.guard.batch_seconds):
        outputs = model(inputs, task.params)
    if outputs.num_rows != inputs.num_rows:
        raise InvalidOutput("ROW_COUNT", f"the model returned {outputs.num_rows} rows for {inputs.num_rows}")
    for name in outputs.schema.names:
        _require_values(name, outputs.column(name), nullable=name in task.optional)
    if task.kind == "recommender":
        _require_lists(outputs, task.k)
    return outputs


def _require_values(name: str, values: pa.Array, *, nullable: bool) -> None:
    if values.null_count and not nullable:
        raise InvalidOutput("NULL_OUTPUT", f"output {name} is null")
    if pa.types.is_list(values.type):
        leaf = values.flatten()
        if leaf.null_count and not nullable:
            raise InvalidOutput("NULL_OUTPUT", f"output {name} has a null in it")
        if pa.types.is_nested(leaf.type):
            _require_values(name, leaf, nullable=nullable)
            return
        values = leaf
    if pa.types.is_struct(values.type):
        for part, field in zip(values.flatten(), values.type, strict=True):
            _require_values(f"{name}.{field.name}", part, nullable=True)  # required ones were looked for when read
    if pa.types.is_floating(values.type) and not np.isfinite(values.drop_null().to_numpy()).all():
        raise InvalidOutput("NOT_FINITE", f"output {name} is NaN or infinite")


def _require_lists(outputs: pa.RecordBatch, k: int) -> None:
    ids, scores = outputs.column(ITEM_IDS), outputs.column(SCORES)
    lengths = ids.value_lengths().to_numpy()
    if not np.array_equal(lengths, scores.value_lengths().to_numpy()):
        raise InvalidOutput("LENGTHS_DIFFER", "item_ids and scores have different lengths")
    if lengths.max(initial=0) > k:
        raise InvalidOutput("TOO_MANY_ITEMS", f"{lengths.max()} items recommended, {k} asked for")
    codes = codes_of(ids.flatten())
    pairs = np.repeat(np.arange(len(lengths), dtype=np.int64), lengths) * (codes.max(initial=0) + 1) + codes
    pairs.sort(kind="stable")  # row by row already
    if (pairs[1:] == pairs[:-1]).any():
        raise InvalidOutput("DUPLICATE_ITEM", "an item is recommended twice to the same user")


def _scored(task: ScoringTask, rows: pa.RecordBatch, outputs: pa.RecordBatch) -> pa.RecordBatch:
    n = rows.num_rows
    columns = {name: rows.column(name) for name in task.carried}
    columns["outcome"] = _constant("scored", n)
    if task.kind == "recommender":
        columns["recommendations"] = _lists(outputs, task.staged.field("recommendations").type)
        # both are counted here, apart from the model, which should know
        columns["seen_count"] = pa.array(seen_count(rows, task.seen, outputs.column(ITEM_IDS)))
        columns["forbidden_count"] = pa.array(_forbidden(task, outputs.column(ITEM_IDS)))
    else:
        columns |= {name: outputs.column(name) for name in outputs.schema.names}
        columns["seen_count"] = columns["forbidden_count"] = pa.array(np.zeros(n, np.int32))
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


def _forbidden(task: ScoringTask, recommended: pa.Array) -> npt.NDArray[np.int32]:
    """Per row, how many recommended items are not allowed, or blocked."""
    found = np.zeros(len(recommended), np.int32)
    if task.allowed is None and task.blocked is None:
        return found
    items = recommended.flatten()
    owner = np.repeat(np.arange(len(recommended)), recommended.value_lengths().to_numpy())
    for listed, wanted in ((task.allowed, True), (task.blocked, False)):
        if listed is not None:
            wrong = pc.is_in(items, value_set=listed).to_numpy(zero_copy_only=False) != wanted
            found += np.bincount(owner[wrong], minlength=len(recommended)).astype(np.int32)
    return found
