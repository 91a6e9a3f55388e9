"""Values as text, JSON and bytes in Spark's notation, where Sail has another."""

import json
from collections.abc import Mapping
from decimal import Decimal

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

__all__ = ["has_json", "java_bytes", "json_as_spark", "written_as_spark"]

_WHOLE = T.ByteType | T.ShortType | T.IntegerType | T.LongType
_PLAIN = _WHOLE | T.BooleanType | T.NullType
_TIMES = T.DateType | T.TimestampType | T.TimestampNTZType
_QUOTED = T.StringType | T.BinaryType


def written_as_spark(column: Column, kind: T.DataType) -> Column:
    """What Spark's cast to text gives: `1.0E7` where Sail has `10000000.0`, `null` inside of lists and records."""
    if isinstance(kind, T.FloatType | T.DoubleType):
        return _float(column)
    if isinstance(kind, T.BinaryType):
        return F.make_valid_utf8(column)
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


def _within(column: Column, begin: str, parts: Column, end: str, between: str = ", ") -> Column:
    return F.when(column.isNotNull(), F.concat(F.lit(begin), F.array_join(parts, between), F.lit(end)))


def _float(column: Column) -> Column:
    """From 0.001 to below 10,000,000 with a point, otherwise as `1.5E-5`.

    Short, since each look at the column is planned anew: where Sail says `e` there is one digit before the point.
    """
    said, magnitude = column.cast("string"), F.abs(column)
    plain = F.isnan(column) | (magnitude == 0) | ((magnitude >= 0.001) & (magnitude < 10_000_000))
    large = F.regexp_replace(said, "^(-?[0-9])([0-9]*)[.]([0-9]*)$", "$1.$2$3")
    large = F.regexp_replace(large, "(.[.][0-9]*?)0*$", "$1")
    up = F.length(F.regexp_extract(said, "^-?[0-9]([0-9]*)[.]", 1)).cast("string")
    small = F.regexp_replace(said, "^(-?)0[.]0*([0-9])([0-9]*)$", "$1$2.$3")
    down = (F.length(F.regexp_extract(said, "^-?0[.](0*)", 1)) + 1).cast("string")
    return (
        F.when(plain, said)
        .when(magnitude == F.lit(float("inf")), F.when(column > 0, F.lit("Infinity")).otherwise(F.lit("-Infinity")))
        .when(F.instr(said, "e") > 0, F.upper(F.regexp_replace(said, "^(-?[0-9])e", "$1.0e")))
        .when(magnitude > 1, F.concat(F.regexp_replace(large, "[.]$", ".0"), F.lit("E"), up))
        .otherwise(F.concat(F.regexp_replace(small, "[.]$", ".0"), F.lit("E-"), down))
    )


def has_json(kind: T.DataType) -> bool:
    """Whether `json_as_spark` knows a type; of the keys of maps Spark writes some as no reader would think."""
    if isinstance(kind, T.ArrayType):
        return has_json(kind.elementType)
    if isinstance(kind, T.StructType):
        return all(has_json(field.dataType) for field in kind)
    if isinstance(kind, T.MapType):
        return isinstance(kind.keyType, _WHOLE | T.BooleanType | T.StringType) and has_json(kind.valueType)
    return isinstance(kind, _PLAIN | _QUOTED | _TIMES | T.FloatType | T.DoubleType | T.DecimalType)


def json_as_spark(fields: Mapping[str, tuple[Column, T.DataType]]) -> Column:
    """What Spark's to_json gives, to the microsecond, with each null: Sail leaves nulls out, and has other numbers."""
    # each by itself: Sail plans a record's field as often as it is looked at, with all of the record
    parts = [
        F.concat(F.lit(json.dumps(name, ensure_ascii=False) + ":"), _value(column, kind))
        for name, (column, kind) in fields.items()
    ]
    return F.concat(F.lit("{"), F.array_join(F.array(*parts), ","), F.lit("}"))


def _value(column: Column, kind: T.DataType) -> Column:
    return F.coalesce(_nested(column, kind), F.lit("null"))


def _nested(column: Column, kind: T.DataType) -> Column:
    if isinstance(kind, T.ArrayType):
        return _within(column, "[", F.transform(column, lambda one: _value(one, kind.elementType)), "]", ",")
    if isinstance(kind, T.StructType):
        record = json_as_spark({field.name: (column[field.name], field.dataType) for field in kind})
        return F.when(column.isNotNull(), record)
    if isinstance(kind, T.MapType):

        def entry(one: Column) -> Column:
            key = _quoted(one["key"].cast("string"))
            return F.concat(key, F.lit(":"), _value(one["value"], kind.valueType))

        return _within(column, "{", F.transform(F.map_entries(column), entry), "}", ",")
    return _scalar(column, kind)


def _scalar(column: Column, kind: T.DataType) -> Column:
    if isinstance(kind, T.FloatType | T.DoubleType):
        said = _float(column)
        return F.when(said.rlike("[a-z]"), F.concat(F.lit('"'), said, F.lit('"'))).otherwise(said)
    if isinstance(kind, T.DecimalType):
        return _decimal(column, kind.scale)
    if isinstance(kind, _TIMES):
        said = F.regexp_replace(_quoted(column), '^"([0-9]{5})', '"+$1')
        return F.replace(said, F.lit("Z"), F.lit("")) if isinstance(kind, T.TimestampNTZType) else said
    return _quoted(column) if isinstance(kind, _QUOTED) else column.cast("string")


def _quoted(column: Column) -> Column:
    """A value as Sail itself writes it in JSON, taken out of a record with nothing else in it."""
    return F.when(column.isNotNull(), F.regexp_extract(F.to_json(F.struct(column.alias("v"))), '(?s)^."v":(.*).$', 1))


def _decimal(column: Column, scale: int) -> Column:
    """Java's way: below 0.000001 as `1.5E-7`, and zero with more than six places as `0E-7`."""
    plain = column.cast("string")
    if scale <= 6:
        return plain
    digits = F.regexp_replace(F.regexp_replace(plain, "[-.]", ""), "^0+(.)", "$1")
    power = F.length(digits) - 1 - F.lit(scale)
    sign = F.when(F.substring(plain, 1, 1) == "-", F.lit("-")).otherwise(F.lit(""))
    tail = F.when(F.length(digits) > 1, F.concat(F.lit("."), F.substring(digits, 2, 40))).otherwise(F.lit(""))
    scientific = F.concat(sign, F.substring(digits, 1, 1), tail, F.lit("E"), power.cast("string"))
    return F.when(power >= -6, plain).otherwise(scientific)


def java_bytes(column: Column, scale: int) -> Column:
    """The bytes of a decimal without its point, as Java's BigInteger has them: two's complement, as few as can be."""
    text = F.replace(column.cast("string"), F.lit("."), F.lit(""))
    whole = text.cast("decimal(38,0)") if scale else column.cast("decimal(38,0)")
    unit, half = (F.lit(Decimal(2**bits)).cast("decimal(20,0)") for bits in (64, 63))
    low = F.pmod(whole, unit)
    # in two steps: Sail divides a number of 38 digits only after it has made it longer
    near = F.floor(whole.cast("double") / float(2**64)).cast("decimal(19,0)")
    high = near.cast("long") + ((whole - near * unit - low).cast("decimal(30,0)") / unit).cast("long")
    signed = F.when(low >= half, low - unit).otherwise(low).cast("long")
    digits = F.concat(*[F.lpad(F.hex(part), 16, "0") for part in (high, signed)])
    return F.unhex(F.regexp_replace(F.regexp_replace(digits, "^(00)+([0-7].)", "$2"), "^(FF)+([89A-F].)", "$2"))
