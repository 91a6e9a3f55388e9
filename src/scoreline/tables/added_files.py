"""Parquet files as a Delta log names them: sizes, counts, and the bounds by which readers skip them."""

import json
import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
from deltalake.transaction import AddAction
from pyspark.sql import types as T

from scoreline.errors import RunFailed

_BOUNDED = (T.ByteType, T.ShortType, T.IntegerType, T.LongType, T.TimestampType)


def stats_columns(schema: T.StructType, properties: Mapping[str, str]) -> list[str]:
    """The columns of which the table wants bounds."""
    if named := properties.get("delta.dataSkippingStatsColumns"):
        return [name.strip("` ") for name in named.split(",")]
    return [field.name for field in schema][: int(properties.get("delta.dataSkippingNumIndexedCols", "32"))]


def added(file: Path, place: Path, schema: T.StructType, columns: Sequence[str]) -> AddAction | None:
    """Move a file to its place in the table; None for one without a row. Raises RunFailed for a null in NOT NULL."""
    about = pq.read_metadata(file)
    if not about.num_rows:
        return None
    at = {about.schema.column(i).path: i for i in range(about.num_columns)}
    low, high, nulls = {}, {}, {}
    for field in schema:
        wanted = field.name in columns and isinstance(field.dataType, _BOUNDED)
        if not (wanted or not field.nullable) or field.name not in at:
            continue
        parts = [about.row_group(g).column(at[field.name]).statistics for g in range(about.num_row_groups)]
        if not all(part is not None and part.has_null_count for part in parts):
            continue
        nulls[field.name] = sum(part.null_count for part in parts)
        if nulls[field.name] and not field.nullable:
            raise RunFailed(f"{place.parent}: column {field.name} is NOT NULL, and {nulls[field.name]} rows have none")
        if wanted and (known := [part for part in parts if part.has_min_max]):
            low[field.name], high[field.name] = (
                _text(min(p.min for p in known)),
                _text(max(p.max for p in known), up=True),
            )
    stats = {"numRecords": about.num_rows, "minValues": low, "maxValues": high, "nullCount": nulls}
    with file.open("rb") as written:
        os.fsync(written.fileno())
    size, now = file.stat().st_size, int(datetime.now(UTC).timestamp() * 1000)
    file.rename(place)
    return AddAction(place.name, size, {}, now, True, json.dumps(stats))


def _text(value: Any, *, up: bool = False) -> Any:
    """As Delta writes it: times to the millisecond, the upper bound rounded up."""
    if not isinstance(value, datetime):
        return value
    micros = value.microsecond // 1000 + (1 if up and value.microsecond % 1000 else 0)
    whole = value.replace(microsecond=0).timestamp() + micros / 1000
    return datetime.fromtimestamp(whole, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
