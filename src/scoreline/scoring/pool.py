"""Worker processes of our own for an engine that has none, forked from a small process that has imported it all.

`python -m scoreline.scoring.pool FD MODEL` is that process. It has one thread, so forking it is safe, whatever the
process that asks runs. A worker scores in its main thread, so its time limits hold, and dies alone: whoever waits for
it reads the end of its socket.
"""

import contextlib
import ctypes
import os
import pickle
import resource
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
import weakref
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pyarrow as pa

from scoreline.errors import WorkerEnded, WorkerFailed
from scoreline.scoring.loaded_model import import_for, is_shipped

__all__ = ["Pool", "forget_pools", "pool_for", "worker_peak"]

_SIZE = struct.Struct("q")
_ERROR = b"E"  # stands where the size of a worker's memory does


class Pool:
    """As many workers as asked for, started when they are needed, until `close`.

    What the model in the folder `model` needs of what is installed is imported once, for all of them. peak_bytes: the
    most memory that one of them had; 0 while none has answered.
    """

    def __init__(self, workers: int, model: str) -> None:
        self.workers = workers
        self.peak_bytes = 0
        _POOLS.add(self)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._server = ours
        closed = threading.Event()
        process = _started(theirs.fileno(), model, closed)
        theirs.close()
        self.close = weakref.finalize(self, _close, ours, process, closed)  # at the latest when this process ends

    def scored(self, job: Any, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """`job` is `(shipment, task)`; the batches' answers in their order. Raises WorkerEnded or WorkerFailed."""
        idle: SimpleQueue[socket.socket] = SimpleQueue()
        sockets: list[socket.socket] = []

        def ask(batch: pa.RecordBatch) -> pa.RecordBatch:
            worker = idle.get()
            try:
                with contextlib.suppress(WorkerEnded):  # what it said before it ended is still to be read
                    _send(worker, _packed(batch))
                answer, peak = _answer(worker)
                self.peak_bytes = max(self.peak_bytes, peak)
                return answer
            finally:
                idle.put(worker)

        waiting: deque[Future[pa.RecordBatch]] = deque()
        threads = ThreadPoolExecutor(self.workers, thread_name_prefix="scoring")
        try:
            for batch in batches:
                if not batch.num_rows:
                    continue
                if len(sockets) < self.workers and sum(not one.done() for one in waiting) >= len(sockets):
                    sockets.append(self._worker(job))  # each loads the model: a few users need but one
                    idle.put(sockets[-1])
                waiting.append(threads.submit(ask, batch))
                if len(waiting) > 2 * self.workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for one in sockets:
                with contextlib.suppress(OSError):
                    one.shutdown(socket.SHUT_RDWR)
            threads.shutdown(cancel_futures=True)
            for one in sockets:
                one.close()

    def _worker(self, job: Any) -> socket.socket:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        socket.send_fds(self._server, [b"w"], [theirs.fileno()])
        theirs.close()
        with contextlib.suppress(WorkerEnded):  # told when its first answer is read
            _send(ours, pickle.dumps(job))
        return ours


_POOLS: "weakref.WeakSet[Pool]" = weakref.WeakSet()


def pool_for(model: str | None, workers: int) -> Pool:
    """The pool of this process for the model in this folder, begun if need be; its imports take a second and more.

    None: for any model of ours.
    """
    return _kept("" if model is None or is_shipped(Path(model)) else model, workers)


def worker_peak() -> int | None:
    """The most bytes of memory that a worker of this process's pools had; None if none has answered."""
    return max((pool.peak_bytes for pool in _POOLS), default=0) or None


def forget_pools() -> None:
    """After this, `pool_for` begins new ones."""
    _kept.cache_clear()


@lru_cache(maxsize=2)
def _kept(model: str, workers: int) -> Pool:
    return Pool(workers, model)


def _started(fd: int, model: str, closed: threading.Event) -> "subprocess.Popen[bytes]":
    """The small process, by a thread that lives until `closed`: Linux kills it with the thread that started it."""
    made: Future[subprocess.Popen[bytes]] = Future()

    def keep() -> None:
        command = [sys.executable, "-m", "scoreline.scoring.pool", str(fd), model]
        try:
            few_threads = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
            made.set_result(
                # Ctrl-C is for the process that asks: this one ends with it
                subprocess.Popen(command, pass_fds=[fd], env={**os.environ, **few_threads}, start_new_session=True)
            )
        except BaseException as error:
            made.set_exception(error)
        closed.wait()

    threading.Thread(target=keep, name="scoring-workers", daemon=True).start()
    return made.result()


def _close(server: socket.socket, process: "subprocess.Popen[bytes]", closed: threading.Event) -> None:
    server.close()
    try:
        process.wait(timeout=10)
    except subprocess.TimeoutExpired:  # a worker whose answers nobody fetches any more
        process.kill()
        process.wait()
    closed.set()


def _packed(batch: pa.RecordBatch) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as stream:
        stream.write_batch(batch)
    return memoryview(sink.getvalue())  # type: ignore[return-value]


def _answer(worker: socket.socket) -> tuple[pa.RecordBatch, int]:
    """What a worker has made of a batch, and the most memory in bytes that it had so far."""
    head, body = _receive(worker), _receive(worker)
    if head is None or body is None:
        raise WorkerEnded("a Python worker exited unexpectedly")
    if head == _ERROR:
        raise WorkerFailed(bytes(body).decode("utf-8", "replace"))
    return pa.ipc.open_stream(pa.py_buffer(body)).read_next_batch(), _SIZE.unpack(head)[0]


def _send(to: socket.socket, what: Any) -> None:
    try:
        to.sendall(_SIZE.pack(len(what)))
        to.sendall(what)
    except (BrokenPipeError, ConnectionResetError):
        raise WorkerEnded("a Python worker exited unexpectedly") from None


def _receive(source: socket.socket) -> bytearray | None:
    """A message; None at the end."""
    head = _exactly(source, _SIZE.size)
    return None if head is None else _exactly(source, _SIZE.unpack(head)[0])


def _exactly(source: socket.socket, size: int) -> bytearray | None:
    data = bytearray(size)
    left = memoryview(data)
    while left:
        try:
            got = source.recv_into(left)
        except ConnectionResetError:
            return None
        if not got:
            return None
        left = left[got:]
    return data


def _serve(fd: int, model: str) -> None:
    """Fork a worker for each socket that comes, until the asking process is gone."""
    _die_with_parent()
    import pandas  # noqa: F401  # by Arrow, as soon as a value of Python's comes in
    import threadpoolctl  # noqa: F401

    import scoreline.models.scoring
    import scoreline.scoring.node  # noqa: F401

    if model:
        before = _threads()  # Arrow's allocator has one, and minds forks
        import_for(Path(model))
        if _threads() > before:  # forking would no longer be safe: each worker imports for itself
            os.execv(sys.executable, [sys.executable, "-m", "scoreline.scoring.pool", str(fd), ""])
    server = socket.socket(fileno=fd)
    while True:
        word, fds, _, _ = socket.recv_fds(server, 1, 1)
        with contextlib.suppress(ChildProcessError):  # waited for, so that their CPU seconds count as this process's
            while os.waitpid(-1, os.WNOHANG if word else 0)[0]:
                pass
        if not word:
            return
        if os.fork() == 0:
            server.close()
            _die_with_parent()
            _work(socket.socket(fileno=fds[0]))
            os._exit(0)
        os.close(fds[0])


def _threads() -> int:
    try:
        return len(list(Path("/proc/self/task").iterdir()))
    except FileNotFoundError:  # not Linux: those of libraries are not seen
        return threading.active_count()


def _die_with_parent() -> None:
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG; Linux only


def _work(asking: socket.socket) -> None:
    from scoreline.scoring.node import score_shipped

    job = _receive(asking)
    if job is None:
        return

    def incoming() -> Iterator[pa.RecordBatch]:
        while (message := _receive(asking)) is not None:
            yield pa.ipc.open_stream(pa.py_buffer(message)).read_next_batch()

    try:
        shipment, task = pickle.loads(job)
        for answer in score_shipped(shipment, task, str, incoming()):
            _send(asking, _SIZE.pack(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024))
            _send(asking, _packed(answer))
    except WorkerEnded:
        return
    except BaseException:
        said = traceback.format_exc().encode()
        with contextlib.suppress(WorkerEnded):  # another worker has failed before, and nobody listens any more
            _send(asking, _ERROR)
            _send(asking, said)


if __name__ == "__main__":
    _serve(int(sys.argv[1]), sys.argv[2])
