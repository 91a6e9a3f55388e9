"""What every session can do with a DataFrame, of any Spark from 3.5."""

from collections.abc import Sequence

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_schema

__all__ = ["collected", "count", "one_row"]


def collected(rows: DataFrame) -> pa.Table:
    """The rows on the driver, as Arrow."""
    if hasattr(rows, "toArrow"):
        return rows.toArrow()
    # Spark 3.5
    return pa.Table.from_pandas(rows.toPandas(), schema=to_arrow_schema(rows.schema), preserve_index=False)


def count(rows: DataFrame) -> int:
    """How many rows, as a column of an aggregate so that it also runs where `count` is not offered."""
    return int(rows.agg(F.count(F.lit(1))).first()[0])  # type: ignore[index]


def one_row(spark: SparkSession, values: Sequence[object], schema: T.StructType) -> DataFrame:
    """A row of constants in the order of `schema`. Spark's `createDataFrame` would start Python workers to make it."""
    constants = [F.lit(v).cast(f.dataType).alias(f.name) for v, f in zip(values, schema, strict=True)]
    return spark.range(0, 1, 1, numPartitions=1).select(*constants)
