"""The hash of a row of features: rows that differ for a model differ in what is hashed.

Spark's own hash skips nulls, and with them the difference between ("a", NULL, 5) and ("a", 5, NULL), between [[1], [2]]
and [[1, 2], []]; 0.0 and -0.0 are one to it, and a map has no hash. So each column brings a mark in front of its value,
and what is nested is hashed as its JSON with every null in it. Two rows share a hash only if 64 bits collide.
"""

from collections.abc import Sequence

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.engine.engine import Engine

_NESTED = (T.ArrayType, T.MapType, T.StructType, T.VariantType) if hasattr(T, "VariantType") else (
    T.ArrayType, T.MapType, T.StructType
)  # fmt: skip


def row_hash(fields: Sequence[tuple[Column, T.DataType]], engine: Engine) -> Column:
    """A long over columns with their types, in this order. NaN is one value; entries of a map count in their order."""
    return F.xxhash64(*(part for column, kind in fields for part in _parts(column, kind, engine)))


def _parts(column: Column, kind: T.DataType, engine: Engine) -> tuple[Column, Column]:
    missing = F.when(column.isNull(), 0)
    if isinstance(kind, T.FloatType | T.DoubleType):
        return missing.when((column == 0) & (column.cast("string") == "-0.0"), 1).otherwise(2), column
    if isinstance(kind, _NESTED):
        return missing.otherwise(2), engine.json({"v": (column, kind)})
    return missing.otherwise(2), engine.hashable(column, kind)
