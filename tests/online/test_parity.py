"""Both paths give the same answers: Spark's features are the in-memory ones, a table's decisions are the server's."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from online.conftest import TODAY, World
from scoreline.errors import InputError
from scoreline.online.demo import posted
from scoreline.online.features import CARD_COLUMNS, FEATURES
from scoreline.online.jobs import build_features, midnight, score_table
from scoreline.online.model import CONTRACT_FILE
from scoreline.online.rules import rules_of
from scoreline.online.scorer import Scorer
from scoreline.online.serving import FetchedModel
from scoreline.online.snapshot import Snapshot, SnapshotSource
from scoreline.online.windows import card_table, terminal_table

RULES = rules_of({"limits": {"max_clock_difference_s": None}})


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("nightly")


@pytest.fixture(scope="module")
def snapshot(spark: SparkSession, world: World, folder: Path) -> Path:
    rows = world.rows.assign(occurred_at=world.rows["occurred_at"].dt.tz_convert("UTC"))
    rows.to_parquet(folder / "transactions.parquet", coerce_timestamps="us")
    return build_features(
        spark,
        transactions=str(folder / "transactions.parquet"),
        as_of=midnight(str(TODAY.date())),
        tables=str(folder / "tables"),
        snapshots=folder,
    )


def test_sparks_snapshot_is_the_one_built_in_memory(world: World, snapshot: Path) -> None:
    found = Snapshot(snapshot)
    cards, card_figures = card_table(world.log, TODAY)
    terminals, terminal_figures = terminal_table(world.log, TODAY)
    assert found.as_of_text == TODAY.isoformat()
    np.testing.assert_allclose([found.card(card) or () for card in cards], card_figures, rtol=1e-9)
    np.testing.assert_allclose([found.terminal(one) or () for one in terminals], terminal_figures, rtol=1e-9)


def test_a_table_gets_the_decisions_of_the_server(
    spark: SparkSession, world: World, snapshot: Path, folder: Path
) -> None:
    kernel = folder / "model" / "artifacts" / "kernel"
    kernel.mkdir(parents=True)
    contract = {"kernel": world.kernel.save(kernel).name, "features": list(FEATURES)}
    (kernel / CONTRACT_FILE).write_text(json.dumps(contract))
    model = FetchedModel(folder / "model", "m/1", "")
    count = score_table(
        spark,
        transactions=str(folder / "transactions.parquet"),
        tables=str(folder / "tables"),
        as_of=midnight(str(TODAY.date())),
        model=model,
        rules=RULES,
        output=str(folder / "decisions"),
    )
    batch = {row["transaction_id"]: row for row in spark.read.format("delta").load(str(folder / "decisions")).collect()}
    rows = world.rows[world.rows["occurred_at"] >= TODAY]
    online = Scorer(kernel=world.kernel, source=SnapshotSource(snapshot), rules=RULES, model_version="m/1")
    answers = [online.answers([row])[0] for row in posted(world.log, rows)]
    assert count == len(batch) == len(rows)
    for answer in answers:
        same = batch[answer["transaction_id"]]
        assert (same["decision"], same["reasons"]) == (answer["decision"], answer["reasons"])
        assert (same["model_version"], same["features_as_of"]) == ("m/1", TODAY.isoformat())
        if answer["fraud_probability"] is not None:
            assert same["fraud_probability"] == pytest.approx(answer["fraud_probability"], abs=1e-9)


def test_a_table_without_a_column_is_refused(spark: SparkSession, world: World, folder: Path) -> None:
    world.rows.drop(columns="is_fraud").to_parquet(folder / "unlabelled.parquet", coerce_timestamps="us")
    with pytest.raises(InputError, match="has no column is_fraud"):
        build_features(spark, transactions=str(folder / "unlabelled.parquet"), as_of=midnight("2026-03-10"),
                       tables=str(folder / "t"), snapshots=folder)  # fmt: skip


def test_a_column_of_another_type_is_refused(spark: SparkSession, world: World, folder: Path) -> None:
    world.rows.assign(amount=world.rows["amount"].astype(str)).to_parquet(
        folder / "text.parquet", coerce_timestamps="us"
    )
    with pytest.raises(InputError, match="column amount is string, expected double"):
        build_features(spark, transactions=str(folder / "text.parquet"), as_of=midnight("2026-03-10"),
                       tables=str(folder / "t"), snapshots=folder)  # fmt: skip


def test_a_day_is_written_as_a_day() -> None:
    with pytest.raises(InputError, match="write it as 2026-03-10"):
        midnight("tomorrow")


def test_the_columns_of_a_snapshot_are_the_models() -> None:
    assert set(CARD_COLUMNS) < set(FEATURES)
    assert pd.Index(FEATURES).is_unique
