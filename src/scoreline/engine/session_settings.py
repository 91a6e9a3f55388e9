"""Settings that a session has for a while. It may be somebody else's: what it had before comes back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import lru_cache

from pyspark.sql import SparkSession

__all__ = ["RUNTIME", "modifiable", "session_settings"]

# what a session has to have while we work in it
RUNTIME = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",
    "spark.sql.execution.arrow.pyspark.enabled": "true",
    "spark.sql.sources.parallelPartitionDiscovery.parallelism": "2",
    "spark.databricks.delta.snapshotPartitions": "2",
}


@contextmanager
def session_settings(spark: SparkSession, wanted: Mapping[str, str]) -> Iterator[None]:
    """The session has `wanted` inside, and what it had before afterwards, also after an error.

    What was not set is not set again. Settings belong to a session, so other threads that use it see ours meanwhile.
    An error inside comes out as it is, also where the session is gone by then.
    """
    before = {key: spark.conf.get(key, None) for key in wanted}
    different = {key: value for key, value in wanted.items() if before[key] != value}
    try:
        for key, value in different.items():
            spark.conf.set(key, value)
        yield
    except BaseException:
        with suppress(Exception):
            _put_back(spark, {key: before[key] for key in different})
        raise
    _put_back(spark, {key: before[key] for key in different})


def _put_back(spark: SparkSession, before: Mapping[str, str | None]) -> None:
    for key, old in before.items():
        if old is None:
            spark.conf.unset(key)
        else:
            spark.conf.set(key, old)


def modifiable(spark: SparkSession, wanted: Mapping[str, str]) -> dict[str, str]:
    """Those of `wanted` that a session which is there already lets us set."""
    return {key: value for key, value in wanted.items() if _is_modifiable(spark, key)}


@lru_cache(128)
def _is_modifiable(spark: SparkSession, key: str) -> bool:
    """Asked once: it is an engine's nature, and each question a call."""
    return bool(spark.conf.isModifiable(key))
