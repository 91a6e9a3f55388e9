"""Settings that a session has for a while. It may be somebody else's: what it had before comes back."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress

from pyspark.sql import SparkSession

__all__ = ["modifiable", "session_settings"]


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
    return {key: value for key, value in wanted.items() if spark.conf.isModifiable(key)}
