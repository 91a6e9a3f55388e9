"""What every session can do with a DataFrame, of any Spark from 3.5."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pandas as pd
import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.engine.engine import engine_of
from scoreline.engine.sql import quoted

__all__ = ["collected", "count", "framed", "one_row", "united"]


def collected(rows: DataFrame) -> pa.Table:
    """The rows on the driver, as Arrow."""
    return engine_of(rows.sparkSession).collected(rows)


def count(rows: DataFrame) -> int:
    """How many rows, as a column of an aggregate so that it also runs where `count` is not offered."""
    return int(rows.agg(F.count(F.lit(1))).first()[0])  # type: ignore[index]


def united(left: DataFrame, right: DataFrame) -> DataFrame:
    """Rows of both by the names of their columns; what one lacks is null in its rows, and of the other's type.

    Spark's `allowMissingColumns`, spelled out: Sail takes such nulls for a type of their own.
    """
    kinds = {field.name: field.dataType for field in [*right.schema, *left.schema]}
    names = [*left.columns, *(name for name in right.columns if name not in left.columns)]

    def whole(rows: DataFrame) -> DataFrame:
        there = set(rows.columns)
        return rows.select(*[F.col(quoted(n)) if n in there else F.lit(None).cast(kinds[n]).alias(n) for n in names])

    return whole(left).unionByName(whole(right))


def one_row(spark: SparkSession, values: Sequence[object], schema: T.StructType) -> DataFrame:
    """A row of constants in the order of `schema`. Spark's `createDataFrame` would start Python workers to make it."""
    constants = [F.lit(v).cast(f.dataType).alias(f.name) for v, f in zip(values, schema, strict=True)]
    return spark.range(0, 1, 1, numPartitions=1).select(*constants)


def framed(spark: SparkSession, columns: Mapping[str, Sequence[object]], schema: T.StructType) -> DataFrame:
    """Rows that are here, by columns, as a DataFrame: through Arrow, so that no Python worker is started for it."""
    made = {field.name: pd.Series(cast(Any, columns[field.name]), dtype="object") for field in schema}
    return spark.createDataFrame(pd.DataFrame(made), schema)
