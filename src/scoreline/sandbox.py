"""Score a batch in a forked child, so that a model that crashes, exits or hangs takes nothing with it but the child.

Used only for a slice whose Python worker died. The child answers through a pipe. Where it dies, the batch is gone
through again row by row: the child writes the row it is at to shared memory, so the parent knows which one it was,
fails that row, and forks again behind it.
"""

import faulthandler
import mmap
import os
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import BinaryIO

import pyarrow as pa

__all__ = ["ChildDied", "Patience", "sandboxed"]

Score = Callable[[pa.RecordBatch, float | None], pa.RecordBatch]
Fail = Callable[[pa.RecordBatch, str, str], pa.RecordBatch]
Write = Callable[[pa.RecordBatch], None]

_NUMBER = struct.Struct("q")
_END = -1


class ChildDied(Exception):
    """The child ended before its last answer; `code` and the message say how."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Patience:
    """Seconds a model has to answer for a batch and for one row (None: for ever), and whether to go on looking.

    `is_over()` says that so many rows have failed that the run is lost: the rest is not tried.
    """

    batch_seconds: float | None
    row_seconds: float | None
    is_over: Callable[[], bool]


def sandboxed(score: Score, fail: Fail, rows: pa.RecordBatch, patience: Patience) -> Iterator[pa.RecordBatch]:
    """Batches for all of `rows`, in order: `score(rows, seconds)`, or `fail(row, code, message)` where it dies."""
    seconds = patience.batch_seconds
    try:
        yield from list(_answers(lambda write: write(score(rows, seconds)), seconds))
    except ChildDied:
        yield from _row_by_row(score, fail, rows, patience)


def _row_by_row(score: Score, fail: Fail, rows: pa.RecordBatch, patience: Patience) -> Iterator[pa.RecordBatch]:
    with mmap.mmap(-1, _NUMBER.size) as bookmark:
        first = 0
        while first < rows.num_rows:
            if patience.is_over():
                yield fail(rows.slice(first), "NOT_TRIED", "so many users have failed that the run is refused anyway")
                return

            def rest(write: Write, first: int = first) -> None:
                for row in range(first, rows.num_rows):
                    # moved on when the answer before is in the pipe: no row before this one is ever lost
                    _NUMBER.pack_into(bookmark, 0, row)
                    write(score(rows.slice(row, 1), patience.row_seconds))

            _NUMBER.pack_into(bookmark, 0, first)
            try:
                yield from _answers(rest, patience.row_seconds)
                return
            except ChildDied as death:
                row = int(_NUMBER.unpack_from(bookmark, 0)[0])
                yield fail(rows.slice(row, 1), death.code, str(death))
                first = row + 1


def _answers(work: Callable[[Write], None], seconds: float | None) -> Iterator[pa.RecordBatch]:
    """Fork, do `work(write)` there, and yield what it writes; raises ChildDied if it ends before it is through."""
    source, sink = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(source)
        _be_child(work, sink)
    os.close(sink)
    whole = False
    try:
        with os.fdopen(source, "rb") as pipe:
            while (size := _size(pipe)) is not None:
                if size == _END:
                    whole = True
                    break
                answer = pipe.read(size)
                if len(answer) < size:
                    break
                yield pa.ipc.open_stream(answer).read_next_batch()
    finally:
        _, status = os.waitpid(child, 0)
    if not whole:
        raise _death(status, seconds)


def _size(pipe: BinaryIO) -> int | None:
    head = pipe.read(_NUMBER.size)
    return int(_NUMBER.unpack(head)[0]) if len(head) == _NUMBER.size else None


def _be_child(work: Callable[[Write], None], sink: int) -> None:
    """Never returns, and runs none of the parent's cleanup."""

    def write(batch: pa.RecordBatch) -> None:
        answer = pa.BufferOutputStream()
        with pa.ipc.new_stream(answer, batch.schema) as stream:
            stream.write_batch(batch)
        _send(sink, answer.getvalue())

    faulthandler.disable()  # the parent says how it died
    with suppress(BaseException):
        work(write)
        os.write(sink, _NUMBER.pack(_END))
    os._exit(0)


def _send(sink: int, answer: pa.Buffer) -> None:
    left = memoryview(_NUMBER.pack(answer.size) + answer.to_pybytes())
    while left:
        left = left[os.write(sink, left) :]


def _death(status: int, seconds: float | None) -> ChildDied:
    if not os.WIFSIGNALED(status):
        return ChildDied("MODEL_EXITED", f"the model ended the process with exit code {os.WEXITSTATUS(status)}")
    number = os.WTERMSIG(status)
    if number == signal.SIGALRM:
        return ChildDied("MODEL_HANGS", f"the model gave no answer within {seconds or 0:g} s")
    if number == signal.SIGKILL:
        return ChildDied("OUT_OF_MEMORY", "the process was killed (SIGKILL), most likely for the memory it took")
    return ChildDied("MODEL_CRASHED", f"the model crashed the process ({signal.Signals(number).name})")
