"""Which engines are installed, and where this process runs: asked before anything of PySpark is imported.

`pyspark` and `pyspark-client` own the same files; of the latter there is no classic session, and no jar.
"""

import os
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec

from scoreline.errors import ConfigurationError

__all__ = ["has_classic_spark", "is_on_platform", "is_submitted", "missing_for_embedded", "require_pyspark"]

_EMBEDDED = ("pysail",)
_WHICH = (
    "pip install 'scoreline[embedded]' on one machine, without Java; 'scoreline[spark]' for Spark; 'scoreline[both]' "
    "for both in one environment"
)


def require_pyspark() -> None:
    """Raise ConfigurationError where nothing computes, or where two packages have written over each other."""
    if find_spec("pyspark") is None:
        raise ConfigurationError(f"Nothing that computes is installed here. Choose one: {_WHICH}.")
    if _is_installed("pyspark") and _is_installed("pyspark-client"):
        raise ConfigurationError(
            "pyspark and pyspark-client are both installed, and each has written over files of the other. "
            "Remove both (pip uninstall -y pyspark pyspark-client), then pip install 'scoreline[both]'."
        )


def has_classic_spark() -> bool:
    """Whether the PySpark that is here can start Spark; its client alone cannot."""
    return any(find_spec(name) is not None for name in ("pyspark.core", "pyspark.rdd"))  # the latter before Spark 4


def is_submitted() -> bool:
    """Whether `spark-submit` or a platform started this process, so that master and jars are its business."""
    return any(name in os.environ for name in ("PYSPARK_GATEWAY_PORT", "DATABRICKS_RUNTIME_VERSION"))


def is_on_platform() -> bool:
    """Whether a path or a store means what a platform, a cluster or a server of Spark Connect says it does."""
    return is_submitted() or any(name in os.environ for name in ("HADOOP_CONF_DIR", "SPARK_REMOTE"))


def missing_for_embedded() -> list[str]:
    """The packages that the embedded engine lacks here."""
    return [name for name in _EMBEDDED if find_spec(name) is None]


def _is_installed(name: str) -> bool:
    try:
        distribution(name)
    except PackageNotFoundError:
        return False
    return True
