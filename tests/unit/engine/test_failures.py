"""What Spark says when Python fails in a worker, told apart."""

import pytest
from pyspark.errors import PySparkException

from scoreline.engine.failures import WorkerDied, explained, worker_explained
from scoreline.engine.jars import hadoop_version
from scoreline.errors import ConfigurationError, InputError, RunFailed, WorkerFailed

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


NOT_FOUND = "java.lang.RuntimeException: java.lang.ClassNotFoundException: Class org.apache.hadoop.fs.{} not found"
NO_SCHEME = 'org.apache.hadoop.fs.UnsupportedFileSystemException: No FileSystem for scheme "{}"'
HADOOP = hadoop_version()


@pytest.mark.parametrize(
    ("said", "scheme", "package", "instead"),
    [
        (NOT_FOUND.format("s3a.S3AFileSystem"), "s3a", f"org.apache.hadoop:hadoop-aws:{HADOOP}", ""),
        (
            NO_SCHEME.format("s3"),
            "s3",
            f"org.apache.hadoop:hadoop-aws:{HADOOP}",
            ", and s3a:// for s3://, which only EMR knows",
        ),
        (NO_SCHEME.format("gs"), "gs", "com.google.cloud.bigdataoss:gcs-connector:VERSION", ""),
        (
            NOT_FOUND.format("azurebfs.SecureAzureBlobFileSystem"),
            "abfss",
            f"org.apache.hadoop:hadoop-azure:{HADOOP}",
            "",
        ),
    ],
)
def test_a_store_without_its_client_is_told_with_what_to_install(
    said: str, scheme: str, package: str, instead: str
) -> None:
    with pytest.raises(ConfigurationError) as caught, explained("e.csv could not be ingested"):
        raise PySparkException(said)
    assert str(caught.value) == (
        f"e.csv could not be ingested: Spark has no client for {scheme}:// here. Say spark: {{spark.jars.packages: "
        f"{package}}} in the configuration{instead}, or run where the client is installed (docs/deploy/storage.md)."
    )


def test_a_scheme_that_nobody_knows_is_told() -> None:
    told = r"^no: Spark has no client for s4:// here\. Correct the address"
    with pytest.raises(ConfigurationError, match=told), explained("no"):
        raise PySparkException(NO_SCHEME.format("s4"))
