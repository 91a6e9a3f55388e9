"""What Spark throws, as errors of ours; of what fails in a Python worker its death and an error with a name apart."""

import errno
import logging
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from tempfile import gettempdir

from pyspark.errors import AnalysisException

from scoreline.engine.jars import hadoop_version
from scoreline.engine.thrown import engine_errors
from scoreline.engine.worker_errors import from_worker
from scoreline.errors import ConfigurationError, InputError, RunFailed, ScorelineError, WorkerEnded, WorkerFailed, told

__all__ = ["WorkerDied", "explained", "worker_explained"]

log = logging.getLogger(__name__)

# Spark has no error class for these (seen with 3.5 and 4.1)
_DEATHS = (
    "exited unexpectedly", "EOFException", "Connection reset", "Broken pipe", "ExecutorLostFailure", "idle timeout",
)  # fmt: skip
_EXHAUSTED = {
    r"Failed to allocate additional|Failed to reserve memory|Resources exhausted": (
        "the work needs more memory than the embedded engine takes, and not all of it can be put on disk. "
        "Ingest the events in smaller files, or say engine: spark, which spills."
    ),
    r"No space left on device|allowable limit of .*temp": (
        "there is no space left where the tables are, or where the embedded engine keeps its scratch files ({scratch}, "
        "{free:,.1f} GiB free now). Make room, or set TMPDIR to a folder on a larger disk, and run again."
    ),
    r"Channel closed!|closed channel": (
        "the embedded engine's server in this process has hung for minutes, and was given up. Run again; what was "
        "begun is taken up. If it hangs again, say engine: spark, and please report it."
    ),
    r"(?s)Connection refused.*127\.0\.0\.1|127\.0\.0\.1.*Connection refused": (
        "the embedded engine's server in this process has died. Run again; what was begun is taken up. If it dies "
        "again, say engine: spark, and please report it."
    ),
}


# what Hadoop says where it has no client for a store
_NO_CLIENT = re.compile(
    r'No FileSystem for scheme "(\w+)"|Class org\.apache\.hadoop\.fs\.(s3a|azurebfs)\.\w+ not found'
)
_CLIENTS = {
    "s3": ("s3", "org.apache.hadoop:hadoop-aws:{hadoop}"),
    "s3a": ("s3a", "org.apache.hadoop:hadoop-aws:{hadoop}"),
    "azurebfs": ("abfss", "org.apache.hadoop:hadoop-azure:{hadoop}"),
    "gs": ("gs", "com.google.cloud.bigdataoss:gcs-connector:VERSION"),
}


class WorkerDied(RunFailed):
    """A Python worker or its executor ended in the middle of a slice."""


@contextmanager
def explained(action: str, *, otherwise: type[ScorelineError] = RunFailed) -> Iterator[None]:
    """Turn what Spark throws at a user into one message; the full text goes to the debug log.

    What Spark finds before it begins is an InputError, a store without a client a ConfigurationError; what goes wrong
    on the way is `otherwise`.
    """
    try:
        yield
    except AnalysisException as error:
        log.debug("analysis failed", exc_info=True)
        _raise_no_client(action, error)
        _raise_exhausted(action, error)
        raise InputError(f"{action}: {told(error)}") from None
    except engine_errors() as error:
        # a full disk, a storage that refuses: Java's own errors, which PySpark does not translate
        log.debug("spark failed", exc_info=True)
        _raise_no_client(action, error)
        _raise_exhausted(action, error)
        raise otherwise(f"{action}: {told(error)}") from None
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        _raise_exhausted(action, error)


def _raise_exhausted(action: str, error: Exception) -> None:
    """Raise RunFailed in words where the embedded engine was out of memory or disk, or is gone."""
    if "pysail" not in sys.modules:
        return
    for sign, what in _EXHAUSTED.items():
        if re.search(sign, str(error)):
            place = gettempdir()
            said = what.format(scratch=place, free=shutil.disk_usage(place).free / 2**30)
            raise RunFailed(f"{action}: {said}") from None


def _raise_no_client(action: str, error: Exception) -> None:
    """Raise ConfigurationError where the address is of a store that this Spark has no client for."""
    if (found := _NO_CLIENT.search(str(error))) is None:
        return
    name = found[1] or found[2]
    if name not in _CLIENTS:
        raise ConfigurationError(
            f"{action}: Spark has no client for {name}:// here. Correct the address, or put the client on Spark's "
            "class path."
        ) from None
    scheme, package = _CLIENTS[name]
    instead = ", and s3a:// for s3://, which only EMR knows" if scheme == "s3" else ""
    raise ConfigurationError(
        f"{action}: Spark has no client for {scheme}:// here. Say spark: {{spark.jars.packages: "
        f"{package.format(hadoop=hadoop_version())}}} in the configuration{instead}, or run where the client is "
        "installed (docs/deploy/storage.md)."
    ) from None


@contextmanager
def worker_explained(action: str) -> Iterator[None]:
    """`explained` for work done by Python workers: WorkerDied if one ended, else RunFailed with what Python raised.

    An error of ours that was raised in a worker comes out as it was raised there.
    """
    with explained(action):
        try:
            yield
        except WorkerEnded as error:
            raise WorkerDied(f"{action}: {error}") from None
        except WorkerFailed as error:
            raise from_worker(action, error) from None
        except engine_errors() as error:
            has_ended = "exited unexpectedly" in str(error) or "Traceback (most recent call last)" not in str(error)
            if has_ended and (sign := next((sign for sign in _DEATHS if sign in str(error)), None)):
                raise WorkerDied(f"{action}: a Python worker died ({sign})") from None
            if not has_ended:
                raise from_worker(action, error) from None
            raise
