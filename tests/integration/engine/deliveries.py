"""Generated deliveries of events: what people write into CSV, JSON and Parquet, and what nobody should."""

import json
import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st

ROWS, HUGE = 150, 4000
COLUMNS = {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}
T0 = 1_700_000_000
TEXTS = [
    "", " ", "  7 ", "\ufeff7", "\u00a07", "7\u2003", "\t7", "7\t", "\x85", "\u2028", "\ud7ff", "\ue000", "\ufffd",
    "\uffff", "\U00010000", "\U0010ffff", "e\u0301", "żółw🐢", "٣", "１", "x\x00y", "\x1f", "'", '"', 'a"b', '""',
    "\\", "\\N", 'a\\"', "a,b", "a::b", ":", "null", "NULL", "NaN", "nan", "true", "-0", "+7", "007", "7.0", "7.",
    ".5", "7.50", "1_000", "1e3", "1E+3", "0x1p3", "5d", "5f", "inf", "-Infinity", "1e400", "1e-400",
    "9223372036854775807", "9223372036854775808", "-9223372036854775808", "9" * 39, "x" * 255, "x" * 256, "🐢" * 128,
    "🐢" * 255, "=1+1", "#", "--", "0.1", "3.5e38",
]  # fmt: skip
CLOCKS = [
    "0001-01-01", "1582-10-10", "1899-12-31T23:59:59.999999Z", "1900-01-01", "1969-12-31 23:59:59.9999999",
    "1970-01-01", "2026-03-29T02:30:00", "2026-10-25T02:30:00", "2026-10-25 02:30:00+01:00",
    "2026-03-08T02:30:00-05:00", "2024-02-29", "2025-02-29", "2026-01-02T03:04", "2026-01-02 03:04:05.123456789",
    "2026-01-02T03:04:05 UTC", "2026-01-02T03:04:05+05", "2026-01-02T03:04:05+05:45", "2026-01-02T03:04:05+0545",
    "2026-01-02T03:04:05-18:00", "2026-01-02T03:04:05+19:00", "2026-01-02T24:00:00", "2026-01-02T23:59:60",
    "2026-01-02 3:04:05", "9999-12-31T23:59:59.999999Z", "2026-01-02T", "9999-12-31T23:59:59-01:00", "10000-01-01",
    "2026-13-01", "2262-04-12T00:00:00Z", "03/04/2026 05:06", "now", "2026-03-08 02:30:00", "2026-11-01 01:30:00",
    "2026-11-01 01:30:00.5", " 2026-11-01 01:30:00 ", "0000-01-01", "0", "-1", "1e9", "1.7e9", "1700000000.1234567",
    "253402300799", "253402300799.9999999", "253402300800", "1E400",
]  # fmt: skip
WRITTEN: Mapping[str, Callable[[datetime], str]] = {
    "epoch_seconds": lambda at: f"{at.timestamp():.0f}",
    "epoch_millis": lambda at: f"{at.timestamp() * 1000:.0f}",
    "iso": lambda at: at.isoformat(),
    "yyyy-MM-dd HH:mm:ss": lambda at: at.strftime("%Y-%m-%d %H:%M:%S"),
    "yyyy-MM-dd'T'HH:mm:ss.SSSXXX": lambda at: at.astimezone(NEPAL).isoformat(timespec="milliseconds"),
}
NEPAL = timezone(timedelta(hours=5, minutes=45))
WHOLE = [pa.int8(), pa.int32(), pa.int64(), pa.uint8(), pa.uint64(), pa.float32(), pa.float64(), pa.decimal128(9, 2)]
EPOCHS = [pa.int64(), pa.uint64(), pa.float64(), pa.decimal128(15, 2)]  # no float: how Java writes it is its version's
TIMES = [
    pa.timestamp("us"), pa.timestamp("us", "UTC"), pa.timestamp("ms", "America/New_York"), pa.timestamp("ns"),
    pa.timestamp("ns", "UTC"), pa.date32(), "int96",
]  # fmt: skip
_MICROS = [
    -62_135_596_800_000_000, -2_208_988_800_000_001, -1, 0, 999, 9_223_372_036_854_775, 253_402_300_799_999_999,
    T0 * 10**6, T0 * 10**6 + 123_456,
]  # fmt: skip


@dataclass(frozen=True)
class Delivery:
    """A file of events, and what the configuration says of it."""

    events: Mapping[str, Any]
    content: bytes | pa.Table
    int96: bool = False

    def write(self, path: Path) -> str:
        if isinstance(self.content, bytes):
            path.write_bytes(self.content)
        else:
            pq.write_table(self.content, path, use_deprecated_int96_timestamps=self.int96, row_group_size=100)
        return str(path)


@st.composite
def deliveries(draw: st.DrawFn, dice: random.Random, floats: Sequence[float], **events: Any) -> Delivery:
    """A delivery of ROWS events of a few users, and now and then HUGE ones more of one of them.

    What is drawn is how it looks; of its values, which are thousands, the `dice` have the choice.
    """
    time = draw(st.sampled_from(sorted(WRITTEN)))
    form = draw(st.sampled_from([_csv, _json, _parquet]))
    texts = draw(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), min_size=3, max_size=3))
    rows = [_row(dice, [*TEXTS, *texts], time) for _ in range(ROWS)]
    if draw(st.integers(0, 3)) == 0:
        rows += [["3", f"{n}", f"{n % 9}", _at(dice, time), ""] for n in range(HUGE)]
    return form(draw, dice, rows, {"columns": COLUMNS, "time": time, **events}, floats)


def _row(dice: random.Random, texts: Sequence[str], time: str) -> list[str]:
    """User, item, weight, time and a note; about every third has something odd in it, or several things."""
    odd = 0.3 if dice.random() < 0.4 else 0.0
    numbers = [dice.choice(texts) if dice.random() < odd else str(dice.randint(0, most)) for most in (4, 9, 10)]
    at = dice.choice([*CLOCKS, *texts]) if dice.random() < odd else _at(dice, time)
    return [*numbers, at, dice.choice(texts)]


def _at(dice: random.Random, time: str) -> str:
    """Often the same."""
    return WRITTEN[time](datetime.fromtimestamp(T0 + dice.choice([0, 0, 1, dice.randint(0, 10**7)]), UTC))


def _csv(draw: st.DrawFn, dice: random.Random, rows: list[list[str]], events: Any, floats: Sequence[float]) -> Delivery:
    """Values in quotes where they have to be, and sometimes where not; none of what is refused within."""
    separator, quote = draw(st.sampled_from([",", ";", "\t", "|", "::"])), draw(st.sampled_from(['"', "'", ""]))
    encoding = draw(st.sampled_from(["UTF-8", "windows-1252", "UTF-16LE", "shift_jis"]))
    end = draw(st.sampled_from(["\n", "\r\n"]))

    def field(value: str) -> str:
        value = re.sub("[\r\n\0\x1f]", "", value)
        needs = value.startswith(quote) or separator in value
        return quote + value.replace(quote, 2 * quote) + quote if quote and (needs or dice.random() < 0.1) else value

    lines = [separator.join(map(field, row[: dice.choice([5] * 40 + [1, 4])])) for row in rows]
    more = {"format": "csv", "separator": separator, "quote": quote, "encoding": encoding}
    text = end.join([separator.join([*COLUMNS.values(), "note"]), *lines])
    return Delivery({**events, **more}, (text + draw(st.sampled_from(["", end]))).encode(encoding, "replace"))


def _json(
    draw: st.DrawFn, dice: random.Random, rows: list[list[str]], events: Any, floats: Sequence[float]
) -> Delivery:
    """An object a line, each value as text or, where it can be, as a number; names that lack, and half of a line."""

    def value(said: str) -> str:
        if dice.random() < 0.5 and _is_json(said):
            return said
        return "null" if dice.random() < 0.01 else json.dumps(said, ensure_ascii=dice.random() < 0.5)

    def line(row: list[str]) -> str:
        pairs = [f'"{name}":{value(said)}' for name, said in zip([*COLUMNS.values(), "note"], row, strict=True)]
        whole = "{" + ", ".join(pair for pair in pairs if dice.random() > 0.01) + "}"
        return whole if dice.random() > 0.02 else whole[: len(whole) // 2]

    return Delivery({**events, "format": "json"}, "\n".join(map(line, rows)).encode())


def _is_json(said: str) -> bool:
    try:
        return not isinstance(json.loads(said), str | dict | list)
    except ValueError:
        return False


def _parquet(
    draw: st.DrawFn, dice: random.Random, rows: list[list[str]], events: Any, floats: Sequence[float]
) -> Delivery:
    """Each column of a type of its own; one of numbers or times has values of its own, too."""
    of_time = EPOCHS if events["time"].startswith("epoch") else TIMES
    kinds = [draw(st.sampled_from([pa.string(), *of])) for of in (WHOLE, WHOLE, WHOLE, of_time, [*WHOLE, *TIMES])]
    int96 = "int96" in kinds
    kinds = [pa.timestamp("ns") if kind == "int96" else kind for kind in kinds]
    columns = [
        pa.array([_typed(dice, said, kind, floats) for said in column], kind)
        for column, kind in zip(zip(*rows, strict=True), kinds, strict=True)
    ]
    table = pa.table(dict(zip([*COLUMNS.values(), "note"], columns, strict=True)))
    return Delivery({**events, "format": "parquet"}, table, int96)


def _typed(dice: random.Random, said: str, kind: pa.DataType, floats: Sequence[float]) -> Any:
    """What a text says in a type, or another value of the type."""
    if dice.random() < 0.03:
        return None
    if pa.types.is_string(kind):
        return said
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind):
        at = T0 * 10**6 + dice.randint(0, 10**13) if dice.random() < 0.9 else dice.choice(_MICROS)
        if pa.types.is_date(kind):
            return at // 86_400_000_000
        at = at if kind.unit != "ns" else min(max(at, -(2**63) // 1000 + 1), 2**63 // 1000 - 1)
        return {"ms": at // 1000, "us": at, "ns": at * 1000}[kind.unit]
    number = said.isascii() and said.isdigit() and dice.random() < 0.9
    if pa.types.is_floating(kind):
        return float(said) if number else dice.choice(floats)
    if pa.types.is_decimal(kind):
        odd = [Decimal("7.50"), Decimal("-0.01"), Decimal("9999999.99")]
        return Decimal(said[-13 if kind.precision > 9 else -6 :]) if number else dice.choice(odd)
    low, high = np.iinfo(kind.to_pandas_dtype()).min, np.iinfo(kind.to_pandas_dtype()).max
    return min(max(int(said), low), high) if number else dice.choice([low, high, 7, high // 2])
