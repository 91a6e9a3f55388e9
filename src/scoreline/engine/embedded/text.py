"""Values as text in Spark's notation, where Sail's cast has another."""

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

__all__ = ["written_as_spark"]


def written_as_spark(column: Column, kind: T.DataType) -> Column:
    """What Spark's cast to text gives: `1.0E7` where Sail has `10000000.0`, `null` inside of lists and records."""
    if isinstance(kind, T.FloatType | T.DoubleType):
        return _float(column)
    if isinstance(kind, T.ArrayType):
        return _within(column, "[", F.transform(column, lambda one: _inner(one, kind.elementType)), "]")
    if isinstance(kind, T.StructType):
        return _within(column, "{", F.array(*[_inner(column[f.name], f.dataType) for f in kind]), "}")
    if isinstance(kind, T.MapType):

        def entry(one: Column) -> Column:
            return F.concat(_inner(one["key"], kind.keyType), F.lit(" -> "), _inner(one["value"], kind.valueType))

        return _within(column, "{", F.transform(F.map_entries(column), entry), "}")
    return column.cast("string")


def _inner(column: Column, kind: T.DataType) -> Column:
    return F.coalesce(written_as_spark(column, kind), F.lit("null"))


def _within(column: Column, begin: str, parts: Column, end: str) -> Column:
    return F.when(column.isNotNull(), F.concat(F.lit(begin), F.array_join(parts, ", "), F.lit(end)))


def _float(column: Column) -> Column:
    """From 0.001 to below 10,000,000 with a point, otherwise as `1.5E-5`."""
    said = F.lower(F.abs(column).cast("string"))
    mantissa = F.substring_index(said, "e", 1)
    exponent = F.when(F.instr(said, "e") > 0, F.substring_index(said, "e", -1).cast("int")).otherwise(F.lit(0))
    before = F.substring_index(mantissa, ".", 1)
    after = F.when(F.instr(mantissa, ".") > 0, F.substring_index(mantissa, ".", -1)).otherwise(F.lit(""))
    digits = F.concat(before, after)
    figures = F.regexp_replace(digits, "^0+", "")
    zeros = F.length(digits) - F.length(figures)
    figures = F.regexp_replace(figures, "0+$", "")
    tail = F.when(F.length(figures) > 1, F.substring(figures, 2, 400)).otherwise(F.lit("0"))
    power = (exponent + F.length(before) - zeros - 1).cast("string")
    scientific = F.concat(F.substring(figures, 1, 1), F.lit("."), tail, F.lit("E"), power)
    magnitude = F.abs(column)
    sign = F.when(F.substring(column.cast("string"), 1, 1) == "-", F.lit("-")).otherwise(F.lit(""))
    plain = F.isnan(column) | (magnitude == 0) | ((magnitude >= 0.001) & (magnitude < 10_000_000))
    infinite = magnitude == F.lit(float("inf"))
    return (
        F.when(column.isNull(), F.lit(None).cast("string"))
        .when(plain, column.cast("string"))
        .when(infinite, F.concat(sign, F.lit("Infinity")))
        .otherwise(F.concat(sign, scientific))
    )
