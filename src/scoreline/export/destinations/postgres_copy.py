"""What a Python worker does for a load into PostgreSQL: Arrow lists to lines, lines by COPY, each partition once.

A partition's lines and the row that claims its number are one transaction. A task that is retried, or run twice at once
by speculation, finds the number claimed and writes nothing.
"""

import io
import json
import secrets
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
from pyspark.sql import DataFrame

from scoreline.export.destinations.rows import COUNTS, Limits, Sent, fitted
from scoreline.tables.names import RECOMMENDATIONS, USER_ID

COLUMNS = ("user_id", "rank", "item_id", "score", "source")


@dataclass(frozen=True)
class Load:
    """Where lines go; `tombstones` says that a user without a list gets a line of rank 0."""

    url: str = field(repr=False)
    staging: str
    tombstones: bool


def copied(lists: DataFrame, load: Load) -> DataFrame:
    """Load `user_id, recommendations, source`; a row of COUNTS per partition. Nothing happens before an action."""
    rows = lists.select(USER_ID, RECOMMENDATIONS, "source")
    return rows.mapInArrow(partial(_copy_task, load), COUNTS)


def _copy_task(load: Load, batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    from pyspark import TaskContext

    task = TaskContext.get()
    # the embedded engine has no tasks, and none is tried twice: any number will do that no other part has
    number = task.partitionId() if task else secrets.randbits(31)
    yield copy_partition(load, number, batches).batch()


def copy_partition(load: Load, number: int, batches: Iterator[pa.RecordBatch]) -> Sent:
    """COPY one partition, unless its number is claimed already; returns its counts either way."""
    import psycopg
    from psycopg import sql

    parts, staging = sql.Identifier(f"{load.staging}_parts"), sql.Identifier(load.staging)
    claim = sql.SQL("INSERT INTO {} (number) VALUES (%s) ON CONFLICT DO NOTHING").format(parts)
    with psycopg.connect(load.url, connect_timeout=15) as connection, connection.cursor() as cursor:
        # another attempt that is at work holds this up until it has committed or failed
        cursor.execute(claim, (number,))
        if cursor.rowcount == 0:
            found = sql.SQL("SELECT replaced, removed, lines, left_out FROM {} WHERE number = %s").format(parts)
            row = cursor.execute(found, (number,)).fetchone()
            assert row is not None  # its number is claimed
            replaced, removed, lines, left_out = row
            return Sent(replaced, removed, lines, json.loads(left_out))
        sent = Sent()
        columns = sql.SQL(", ").join(map(sql.Identifier, COLUMNS))
        with cursor.copy(sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(staging, columns)) as copy:
            for batch in batches:
                rows, counted = fitted(batch, Limits())
                found_lines = lines_of(rows, tombstones=load.tombstones)
                copy.write(_csv(found_lines))
                sent += replace(counted, lines=found_lines.num_rows)
        done = "UPDATE {} SET replaced = %s, removed = %s, lines = %s, left_out = %s WHERE number = %s"
        counts = [sent.replaced, sent.removed, sent.lines, json.dumps(sent.left_out)]
        cursor.execute(sql.SQL(done).format(parts), (*counts, number))
    return sent


def lines_of(batch: pa.RecordBatch, *, tombstones: bool) -> pa.RecordBatch:
    """A line per recommended item, ranks from 1; with `tombstones` a line of rank 0 for a user without any."""
    users, lists, sources = (batch.column(name) for name in (USER_ID, RECOMMENDATIONS, "source"))
    lengths = pc.fill_null(pc.list_value_length(lists), 0).to_numpy().astype(np.int64)
    owner = np.repeat(np.arange(batch.num_rows), lengths)
    rank = np.arange(len(owner)) - np.repeat(np.cumsum(lengths) - lengths, lengths) + 1
    items = lists.flatten()
    if tombstones and len(empty := np.flatnonzero(lengths == 0)):
        owner, rank = np.concatenate([owner, empty]), np.concatenate([rank, np.zeros(len(empty), np.int64)])
        items = pa.concat_arrays([items, pa.nulls(len(empty), items.type)])
    item_ids, scores = (pc.struct_field(items, name) for name in ("item_id", "score"))
    return pa.RecordBatch.from_arrays(
        [users.take(pa.array(owner)), pa.array(rank), item_ids, scores, sources.take(pa.array(owner))],
        names=list(COLUMNS),
    )


def _csv(lines: pa.RecordBatch) -> bytes:
    sink = io.BytesIO()
    options = pyarrow.csv.WriteOptions(include_header=False)
    pyarrow.csv.write_csv(pa.Table.from_batches([lines]), sink, options)
    return sink.getvalue()
