"""What engines throw, whichever of them are here: what a clause of `except` names."""

import sys

from pyspark.errors import PySparkException

__all__ = ["engine_errors"]


def engine_errors() -> tuple[type[Exception], ...]:
    """PySpark's errors, the JVM's, and delta-rs'; looked up when something was thrown: nothing is imported for it."""
    found: list[type[Exception]] = [PySparkException]
    if (gateway := sys.modules.get("py4j.protocol")) is not None:
        found.append(gateway.Py4JJavaError)
    if (delta := sys.modules.get("deltalake.exceptions")) is not None:
        found.append(delta.DeltaError)
    return tuple(found)
