"""What Spark says when Python fails in its workers, told apart: a worker that died, and an error with a name."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from py4j.protocol import Py4JJavaError
from pyspark.errors import PySparkException

from scoreline.errors import InputError, RunFailed, told
from scoreline.tables.delta import explained

__all__ = ["WorkerDied", "worker_explained"]

# Spark has no error class for these (seen with 3.5 and 4.1)
_DEATHS = (
    "exited unexpectedly", "EOFException", "Connection reset", "Broken pipe", "ExecutorLostFailure", "idle timeout",
)  # fmt: skip
_OURS = re.compile(r"scoreline\.errors\.(\w+): (.+)")


class WorkerDied(RunFailed):
    """A Python worker or its executor ended in the middle of a slice."""


@contextmanager
def worker_explained(action: str) -> Iterator[None]:
    """`explained` for work done by Python workers: WorkerDied if one ended, else RunFailed with what Python raised.

    An error of ours that was raised in a worker comes out as it was raised there.
    """
    with explained(action):
        try:
            yield
        except (PySparkException, Py4JJavaError) as error:
            has_ended = "exited unexpectedly" in str(error) or "Traceback (most recent call last)" not in str(error)
            if has_ended and (sign := next((sign for sign in _DEATHS if sign in str(error)), None)):
                raise WorkerDied(f"{action}: a Python worker died ({sign})") from None
            if not has_ended:
                raise _from_worker(action, error) from None
            raise


def _from_worker(action: str, error: Exception) -> Exception:
    if ours := _OURS.search(str(error)):
        kind = InputError if ours[1] == "InputError" else RunFailed
        return kind(ours[2].strip())
    return RunFailed(f"{action}: {told(error)}"[:500])
