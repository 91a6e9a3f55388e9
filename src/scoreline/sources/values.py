"""What a value of a source means: one grammar for text, one rule per type of column, in plain SQL.

Spark's own casts are lenient (`5d` is a number, `10:30` a time of today), differ between versions and look at the
session. Here a value means the same as text, as a number, in a file, a table or a database, and whatever the session's
time zone is. What does not fit is null: the caller names it.
"""

from collections.abc import Mapping

from pyspark.sql import Column
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.config.sources import KeyType, pattern_letters
from scoreline.engine.sql import literal, quoted
from scoreline.errors import InputError
from scoreline.sources.whole_numbers import WHOLE

_INTEGERS = T.ByteType | T.ShortType | T.IntegerType | T.LongType
_FLOATS = T.FloatType | T.DoubleType
_NUMBERS = _INTEGERS | _FLOATS | T.DecimalType
_CLOCKS = T.TimestampType | T.TimestampNTZType
_TEXTS = T.StringType | T.CharType | T.VarcharType
# from these on several whole numbers are one: a float has lost their last digits
_EXACT = {T.FloatType: 2**24, T.DoubleType: 2**53}
_LAST_SECOND = 253_402_300_799  # 9999-12-31T23:59:59Z, the last that a Spark timestamp shows

# no backslash in them: how many of those SQL takes is a setting of the session
_INFINITE = "^[+-]?[iI]nf(inity)?$"
ISO = (
    "^[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2}([.][0-9]{1,9})?)?"
    "( ?(Z|UTC|[+-][0-9]{2}(:?[0-9]{2})?))?)?$"
)


def is_float(kind: T.DataType) -> bool:
    """Whether a column holds floating point numbers, which keep whole ones only up to a bound."""
    return isinstance(kind, _FLOATS)


def text(column: str) -> Column:
    """A value as text, without blanks around it."""
    return F.expr(_text(column))


def key(column: str, kind: T.DataType, wanted: KeyType) -> Column:
    """An id: text as it is written, or a whole number; null for what is neither.

    A number that was saved as floating point, as pandas does where some are missing, is the whole number that it was.
    """
    said = _text(column)
    if not isinstance(kind, _TEXTS | T.DateType):
        whole = _whole(quoted(column), kind)
        return F.expr(f"CAST({whole} AS STRING)" if wanted == "string" else f"try_cast({whole} AS BIGINT)")
    if wanted == "string":
        return F.expr(f"nullif({said}, '')")
    # what a cast takes for whole it is, but for blanks that are none of ours; the slower look is for 17001.0
    slowly = f"CASE WHEN {said} RLIKE '{WHOLE}' THEN try_cast(substring_index({said}, '.', 1) AS BIGINT) END"
    return F.expr(f"CASE WHEN {_in_digits(said)} THEN coalesce(try_cast({said} AS BIGINT), {slowly}) END")


def _in_digits(said: str) -> str:
    """Begins with no blank of any kind, ends with a digit."""
    return f"substring({said}, 1, 1) > ' ' AND substring({said}, -1) BETWEEN '0' AND '9'"


def _whole(value: str, kind: T.DataType) -> str:
    if isinstance(kind, _FLOATS):
        exact = f"abs({value}) < {_EXACT[type(kind)]} AND {value} = floor({value})"
        return f"CASE WHEN {exact} THEN CAST({value} AS BIGINT) END"
    if isinstance(kind, T.DecimalType):
        return f"CASE WHEN {value} = floor({value}) THEN floor({value}) END"
    return value


def valid_text(column: Column) -> Column:
    """The same text with U+FFFD for bytes that are not UTF-8: readers other than Spark refuse a file that has any."""
    if hasattr(F, "make_valid_utf8"):  # Spark 4; on 3.5 `decode` replaces them
        return F.make_valid_utf8(column)
    return F.decode(column.cast("binary"), "UTF-8")


def number(column: str, kind: T.DataType) -> Column:
    """A double: decimal digits with a point, and an exponent if there is one; null for another notation and NaN."""
    return F.expr(_number(column, kind))


def _number(column: str, kind: T.DataType) -> str:
    if isinstance(kind, T.DoubleType):
        found = f"nullif({quoted(column)}, double('NaN'))"
    elif isinstance(kind, _INTEGERS | T.DecimalType):
        found = f"CAST({quoted(column)} AS DOUBLE)"
    else:  # a float, too, as it is written: 0.1, not the double 0.10000000149 that is nearest to its bits
        said = _text(column)
        # all that a cast takes besides: 5d, 5f, 0x1p3, 5. and the words
        plainly = f"{_in_digits(said)} AND instr({said}, 'x') = 0 AND instr({said}, 'X') = 0"
        infinite = f"{said} RLIKE '{_INFINITE}'"
        found = f"CASE WHEN {plainly} OR {infinite} THEN try_cast({said} AS DOUBLE) END"
    return f"({found} + 0D)"  # the sum: -0.0 is 0.0


def instant(column: str, kind: T.DataType, how: str) -> Column:
    """A timestamp. `how` says what text and numbers mean; a time without a zone, and a date, are in UTC."""
    if isinstance(kind, T.TimestampType):
        return F.col(quoted(column))
    if isinstance(kind, T.TimestampNTZType | T.DateType):
        return F.expr(_iso(_text(column)))
    if how in ("epoch_seconds", "epoch_millis"):
        micros = f"{_number(column, kind)} * {1_000_000 if how == 'epoch_seconds' else 1_000}"
        believable = f"{micros} BETWEEN 0 AND {_LAST_SECOND}000000"
        return F.expr(f"CASE WHEN {believable} THEN timestamp_micros(CAST(round({micros}) AS BIGINT)) END")
    if how == "iso":
        return F.expr(f"CASE WHEN {_text(column)} RLIKE '{ISO}' THEN {_iso(_text(column))} END")
    if any(letter in "XxzZVO" for letter in pattern_letters(how)):
        return F.expr(f"try_to_timestamp({_text(column)}, {literal(how)})")
    return F.expr(f"try_to_timestamp(concat({_text(column)}, ' +00:00'), {literal(how + ' xxx')})")


def _iso(written: str) -> str:
    """Text in the form of ISO 8601 as a timestamp; minutes, seconds and zone are put in where they are missing."""
    time, rest = f"substring({written}, 12, 5)", f"substring({written}, 17)"
    parts = [
        f"substring({written}, 1, 10), 'T'",
        f"CASE WHEN {time} = '' THEN '00:00' ELSE {time} END",
        f"CASE WHEN {rest} LIKE ':%' THEN '' ELSE ':00' END",
        rest,
        f"CASE WHEN {rest} RLIKE '[ZC+-]' THEN '' ELSE 'Z' END",
    ]
    to_the_second = f"substring({written}, 17, 1) = ':'"  # the usual forms, without putting parts together
    return f"""try_cast(CASE
        WHEN {to_the_second} AND length({written}) = 19 THEN concat({written}, 'Z')
        WHEN {to_the_second} AND substring({written}, -1) = 'Z' THEN {written}
        ELSE concat({", ".join(parts)}) END AS TIMESTAMP)"""


def _text(column: str) -> str:
    return f"trim(CAST({quoted(column)} AS STRING))"


def require_kinds(schema: T.StructType, roles: Mapping[str, str], source: str, *, time: str = "iso") -> None:
    """Raise InputError for a column that by its type cannot be what it is mapped to; no row has been read by then.

    `roles`: columns by what they are mapped to: user_id, item_id, time, weight, kind, title, genres.
    """
    for role, name in roles.items():
        kind = schema[name].dataType
        found = f"{source}: column {name} is {kind.simpleString()}"
        if role == "kind" and isinstance(kind, T.BooleanType):
            continue
        if not isinstance(kind, _TEXTS | _NUMBERS | _CLOCKS | T.DateType):
            raise InputError(f"{found}; expected text, a number or a time. Map another column.")
        if role == "time":
            if time == "iso" and isinstance(kind, _NUMBERS):
                raise InputError(f"{found}, and time: iso reads text. Say epoch_seconds, epoch_millis or a pattern.")
        elif isinstance(kind, _CLOCKS) or (isinstance(kind, T.DateType) and role == "weight"):
            raise InputError(f"{found}, and it is mapped to {role}; expected text or a number. Map another column.")
