"""Both paths give the same answers: Spark's features are the in-memory ones, a table's decisions are the server's."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pyspark.sql import SparkSession

from online.conftest import TODAY, Registry, World
from scoreline.config.settings import Settings
from scoreline.context import Context
from scoreline.errors import InputError
from scoreline.pipeline.run import run
from scoreline.tables.delta import Tables
from scoreline_fraud.demo import posted
from scoreline_fraud.features.jobs import build_features, midnight, write_payments
from scoreline_fraud.features.windows import card_table, terminal_table
from scoreline_fraud.serving.batch import PARAM, rules_text
from scoreline_fraud.serving.features import CARD_COLUMNS, FEATURES
from scoreline_fraud.serving.rules import rules_of
from scoreline_fraud.serving.scorer import Scorer
from scoreline_fraud.serving.snapshot import Snapshot, SnapshotSource

pytestmark = pytest.mark.spark  # the jobs of the online companion run on it

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


@pytest.fixture(scope="module")
def context(spark: SparkSession, registry: Registry, folder: Path) -> Context:
    settings = Settings.model_validate(
        {
            "name": "fraud",
            "tables": {"root": str(folder / "fraud")},
            "mlflow": {"tracking_uri": registry.uri},
            "keys": {"user_id": "string"},
            "histories": {"buckets": 2},
            "input": {"path": str(folder / "payments"), "key": "transaction_id"},
            "model": {"uri": "models:/card_fraud@champion"},
            "scoring": {"params": {PARAM: rules_text(RULES)}},
        }
    )
    return Context(settings, spark, Tables(spark, settings.tables), datetime(2026, 3, 11, tzinfo=UTC))


def test_the_batch_pipeline_gives_the_decisions_of_the_server(
    context: Context, world: World, snapshot: Path, folder: Path
) -> None:
    """Among them payments that the server reviews: no amount, an id that is none, a card nobody knows."""
    rows = world.rows[world.rows["occurred_at"] >= TODAY]
    odd = rows.head(3).assign(transaction_id=["odd one", "odd-2", "odd-3"], amount=[1.0, np.nan, 0.0], card_id="nobody")
    pd.concat([world.rows, odd]).to_parquet(folder / "with_odd.parquet", coerce_timestamps="us")
    day = midnight(str(TODAY.date()))
    count = write_payments(
        context, transactions=str(folder / "with_odd.parquet"), tables=str(folder / "tables"), as_of=day
    )
    report = run(context)
    assert (report.state, report.audit.scored, report.audit.failed) == ("published", count, 0)
    batch = {row["user_id"]: row for row in context.tables.table("predictions").read().collect()}

    online = Scorer(world.kernel, SnapshotSource(snapshot), RULES, model_version="card_fraud/1")
    answers = [online.answers([row])[0] for row in posted(world.log, rows)]
    refused = {
        "odd one": ["invalid:transaction_id"],
        "odd-2": ["invalid:amount"],
        "odd-3": ["unknown_card", "amount_zero"],
    }
    assert set(batch) == {answer["transaction_id"] for answer in answers} | set(refused)
    assert {key: batch[key]["reasons"] for key in refused} == refused
    for answer in answers:
        same = batch[str(answer["transaction_id"])]
        assert (same["decision"], same["reasons"]) == (answer["decision"], answer["reasons"]), answer
        assert (same["model_name"], same["model_version"]) == ("card_fraud", "1")
        assert same["features_as_of"] == answer["features_as_of"]
        if answer["fraud_probability"] is None:
            assert same["fraud_probability"] is None
        else:
            assert same["fraud_probability"] == pytest.approx(answer["fraud_probability"], abs=1e-9)


def test_other_thresholds_decide_again_and_the_same_ones_do_not(context: Context, snapshot: Path) -> None:
    strict = rules_of({"decisions": {"bands": [{"review": 0.0, "deny": 0.0}]}})
    again = context.settings.scoring.model_copy(update={"params": {PARAM: rules_text(strict)}})
    changed = replace(context, settings=context.settings.model_copy(update={"scoring": again}))
    assert run(context).state == "nothing_due"
    assert run(changed).state == "published"
    scored = context.tables.table("predictions").read().where("fraud_probability IS NOT NULL")
    assert {row["decision"] for row in scored.collect()} == {"deny"}


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
