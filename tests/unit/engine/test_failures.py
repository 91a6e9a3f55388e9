"""What Spark says when Python fails in a worker, told apart."""

import pytest
from pyspark.errors import PySparkException

from scoreline.engine.failures import WorkerDied, worker_explained
from scoreline.errors import InputError, RunFailed, WorkerFailed

CRASHED = "Job aborted due to stage failure: org.apache.spark.SparkException: Python worker exited unexpectedly"
LOST = "Job aborted: ExecutorLostFailure (executor 1 exited caused by one of the running tasks) Reason: worker lost"
TRACE = "An exception was thrown from the Python worker:\nTraceback (most recent call last):\n  File x\n"
RAISED = f"{TRACE}ValueError: bad\n"
TAMPERED = f"{TRACE}scoreline.errors.InputError: the model in /m is not the one that was promoted\n"


@pytest.mark.parametrize(
    ("said", "kind", "message"),
    [
        (CRASHED, WorkerDied, r"slice 3: a Python worker died \(exited unexpectedly\)"),
        (f"{RAISED} {CRASHED}", WorkerDied, "a Python worker died"),
        (LOST, WorkerDied, "ExecutorLostFailure"),
        (RAISED, RunFailed, "slice 3: ValueError: bad"),
        (TAMPERED, InputError, "^the model in /m is not the one that was promoted$"),
        ("No space left on device", RunFailed, "slice 3: .*[Nn]o space left"),
    ],
)
def test_a_worker_that_died_is_told_from_one_that_raised(said: str, kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message) as caught, worker_explained("slice 3"):
        raise PySparkException(said)
    assert type(caught.value) is kind


def test_what_a_worker_of_ours_raised_is_told_by_its_last_line() -> None:
    with pytest.raises(RunFailed, match=r"^slice 3: ValueError: bad$"), worker_explained("slice 3"):
        raise WorkerFailed("Traceback (most recent call last):\n  File x\nValueError: bad\n")
    with pytest.raises(InputError, match=r"^no such param$"), worker_explained("slice 3"):
        raise WorkerFailed("Traceback (most recent call last):\n  File x\nscoreline.errors.InputError: no such param\n")
