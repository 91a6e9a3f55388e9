"""Tables as runs publish them, written down: and changes as an export makes them of two versions."""

import sqlite3
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql.pandas.types import from_arrow_schema

from builders import NOW, context
from logs import publication
from scoreline.export.destinations import Change, Shown
from scoreline.pipeline.fence import next_sequence, replace_all
from scoreline.tables.schema import Keys, recommendations

Rows = list[tuple[Any, ...]]
Lists = dict[Any, list[Any]]


def asked(file: Path, statement: str) -> Rows:
    """What a SQLite database answers."""
    connection = sqlite3.connect(file)
    try:
        with connection:
            return connection.execute(statement).fetchall()
    finally:
        connection.close()


class Pipeline:
    """A published table whose runs are written down: `everyone({user: [items]})`."""

    def __init__(self, spark: Any, root: Path, url: str, keys: Keys = Keys("long", "long")) -> None:  # noqa: B008
        kinds = {"user_id": keys.user, "item_id": keys.item}
        self.context = context(spark, root, export={"url": url}, keys=kinds)
        self.table = self.context.tables.table("recommendations")
        self.table.create(recommendations(keys, None))
        self.runs = 0

    def everyone(self, lists: Lists, kept: tuple[Any, ...] = ()) -> None:
        """Publish; the rows of the users in `kept` stay those of the run before."""
        self.runs += 1
        known = {"bucket": 0, "source": "model", "model_name": "m", "model_version": "1", "history_hash": 1}
        known |= {"rules_hash": "r", "scored_at": NOW}
        fields = self.table.read().schema
        rows = [
            {**known, "user_id": user, "recommendations": scored(items)}
            | {"run_id": f"run-{self.runs - 1 if user in kept else self.runs}"}
            for user, items in lists.items()
        ]
        values = [tuple(row[field.name] for field in fields) for row in rows]
        made = self.context.spark.createDataFrame(values, fields).coalesce(1)
        sequence = next_sequence(self.table.commits())
        replace_all(self.table, made, publication(run_id=f"run-{self.runs}", sequence=sequence))

    def shown(self) -> Rows:
        rows = self.table.read().collect()
        return sorted(
            (row["user_id"], rank, item["item_id"], item["score"], row["source"])
            for row in rows
            for rank, item in enumerate(row["recommendations"], start=1)
        )


def scored(items: list[Any]) -> list[tuple[Any, float]]:
    return [(item, 0.5**place) for place, item in enumerate(items)]


def expected(lists: Lists) -> Rows:
    return [
        (user, rank, item, score, "model")
        for user, items in sorted(lists.items())
        for rank, (item, score) in enumerate(scored(items), start=1)
    ]


def version(number: int, content: int | None = None) -> Shown:
    """Version `number` of the one table of these tests."""
    content = content or number
    return Shown(number, content, f"table/{content}")


def change(
    spark: Any,
    lists: Lists,
    *,
    wanted: Shown,
    previous: Shown | None = None,
    gone: list[Any] | None = None,
    kinds: str = "long",
    **more: Any,
) -> Change:
    """Everyone's rows unless `gone` is given."""
    key = {"long": pa.int64(), "string": pa.string()}[kinds]
    item = pa.struct([("item_id", key), ("score", pa.float32())])
    rows = pa.schema([("user_id", key), ("recommendations", pa.list_(item)), ("source", pa.string())])
    said = [
        {"user_id": user, "recommendations": [{"item_id": i, "score": s} for i, s in scored(items)], "source": "model"}
        for user, items in lists.items()
    ]
    nobody = pa.table({"user_id": pa.array(gone or [], key)})
    left = spark.createDataFrame(nobody, from_arrow_schema(nobody.schema)).coalesce(1)
    made = spark.createDataFrame(pa.Table.from_pylist(said, schema=rows), from_arrow_schema(rows)).coalesce(2)
    return Change(made, left, gone is None, previous, wanted, **more)
