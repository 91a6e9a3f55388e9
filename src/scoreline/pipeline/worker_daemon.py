"""Spark's daemon of Python workers, with what scoring needs imported before it forks them.

A session that we build names this module in `spark.python.daemon.module`. The workers of a machine then share the
memory of these modules, and none of them imports anything for a second before its first row.
"""

import sklearn.base  # noqa: F401  # estimators
import threadpoolctl  # noqa: F401
from pyspark.daemon import manager

import scoreline.models.scoring
import scoreline.scoring.node  # noqa: F401

if __name__ == "__main__":
    manager()  # type: ignore[no-untyped-call]
