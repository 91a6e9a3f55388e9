"""Rows and settings with defaults: a test spells out only what matters to it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyspark.sql import DataFrame, SparkSession

from scoreline.config.settings import Settings
from scoreline.context import Context
from scoreline.tables.delta import Tables

ENGINE = "spark"  # set by pytest's --engine before a module of tests is imported
NOW = datetime(2026, 7, 1, 3, 0, tzinfo=UTC)


def settings(root: Path | str = "unused", **changes: Any) -> Settings:
    """A pipeline with numeric ids over `root`; `changes` replace whole sections."""
    given: dict[str, Any] = {
        "name": "test",
        "engine": ENGINE,
        "tables": {"root": str(root)},
        "events": {
            "columns": {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"},
            "weight_range": [0, 10],
        },
        "histories": {"buckets": 8},
        "model": {"uri": "models:/test@champion", "train": {"estimator": "popularity"}},
    }
    return Settings.model_validate(given | changes)


def context(spark: SparkSession, root: Path | str, *, now: datetime = NOW, **changes: Any) -> Context:
    made = settings(root, **changes)
    return Context(made, spark, Tables(spark, made.tables), now)


def write_events(path: Path, rows: list[tuple[Any, ...]], header: str = "user,item,rating,at") -> str:
    """A CSV file of events; returns its path as the command line would give it."""
    path.write_text("\n".join([header, *(",".join(str(v) for v in row) for row in rows)]) + "\n", encoding="utf-8")
    return str(path)


def history_keys(spark: SparkSession, rows: list[tuple[int, int, int]]) -> DataFrame:
    return spark.createDataFrame(rows, "user_id long, bucket int, history_hash long")
