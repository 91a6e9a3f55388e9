"""Score a batch in a forked child, so that a model that crashes, exits or hangs takes nothing with it but the child.

Used only for a slice whose Python worker died. The child answers through a pipe. Where it dies, the batch is gone
through again row by row: the child writes the row it is at to shared memory, so the parent knows which one it was,
fails that row, and forks again behind it.
"""

import faulthandler
import mmap
import os
import select
import signal
import struct
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import pyarrow as pa

__all__ = ["ChildDied", "Timeouts", "sandboxed"]

Score = Callable[[pa.RecordBatch, float | None], pa.RecordBatch]
Fail = Callable[[pa.RecordBatch, str, str], pa.RecordBatch]
Write = Callable[[pa.RecordBatch], None]

_NUMBER = struct.Struct("q")
_END = -1
_LOOK_MS = 50  # so often it is looked whether a silent child is still alive


class ChildDied(Exception):
    """The child ended before its last answer; `code` and the message say how."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Timeouts:
    """Seconds a model has to answer for a batch and for one row (None: for ever), and whether to go on looking.

    `is_over()` says that so many rows have failed that the run is lost: the rest is not tried.
    """

    batch_seconds: float | None
    row_seconds: float | None
    is_over: Callable[[], bool]


def sandboxed(score: Score, fail: Fail, rows: pa.RecordBatch, patience: Timeouts) -> Iterator[pa.RecordBatch]:
    """Batches for all of `rows`, in order: `score(rows, seconds)`, or `fail(row, code, message)` where it dies."""
    seconds = patience.batch_seconds
    try:
        yield from list(_answers(lambda write: write(score(rows, seconds)), seconds))
    except ChildDied:
        yield from _row_by_row(score, fail, rows, patience)


def _row_by_row(score: Score, fail: Fail, rows: pa.RecordBatch, patience: Timeouts) -> Iterator[pa.RecordBatch]:
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
    with suppress(OSError):  # the child does it, too: whoever is first
        os.setpgid(child, child)
    answers = _Answers(source, child)
    try:
        while (answer := answers.next()) is not None:
            yield answer
    finally:
        os.close(source)
        with suppress(ProcessLookupError):  # what the model has forked would go on without it
            os.killpg(child, signal.SIGKILL)
        status = answers.ended()
    if not answers.whole:
        raise _death(status, seconds)


class _Answers:
    """What a child writes, until it says that it is through or is dead: a helper of its own may keep the pipe open."""

    def __init__(self, source: int, child: int) -> None:
        self.whole = False
        self._source, self._child = source, child
        self._status: int | None = None
        self._poll = select.poll()
        self._poll.register(source, select.POLLIN | select.POLLHUP)

    def next(self) -> pa.RecordBatch | None:
        """The next batch; None if there is none any more."""
        head = self._read(_NUMBER.size)
        if len(head) < _NUMBER.size:
            return None
        size = int(_NUMBER.unpack(head)[0])
        if size == _END:
            self.whole = True
            return None
        answer = self._read(size)
        return pa.ipc.open_stream(answer).read_next_batch() if len(answer) == size else None

    def ended(self) -> int:
        """The status that the child ended with."""
        if self._status is None:
            _, self._status = os.waitpid(self._child, 0)
        return self._status

    def _read(self, size: int) -> bytes:
        """So many bytes, fewer if no more can come."""
        parts: list[bytes] = []
        while size > 0:
            if not self._poll.poll(_LOOK_MS):
                if self._is_dead():
                    break
                continue
            if not (part := os.read(self._source, size)):
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _is_dead(self) -> bool:
        if self._status is None:
            ended, status = os.waitpid(self._child, os.WNOHANG)
            self._status = status if ended else None
            return False  # what it wrote at last is still to be read
        return True


def _be_child(work: Callable[[Write], None], sink: int) -> None:
    """Never returns, and runs none of the parent's cleanup."""

    def write(batch: pa.RecordBatch) -> None:
        answer = pa.BufferOutputStream()
        with pa.ipc.new_stream(answer, batch.schema) as stream:
            stream.write_batch(batch)
        _send(sink, answer.getvalue())

    with suppress(OSError):
        os.setpgid(0, 0)
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
