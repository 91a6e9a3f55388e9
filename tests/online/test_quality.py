"""Data of the Fraud Detection Handbook's shape, its temporal protocol and its card precision."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from online.conftest import TODAY, World
from scoreline.errors import InputError
from scoreline_fraud.training.estimators import card_precision, split
from scoreline_fraud.training.quality import load_transactions, train_report

DAY = pd.Timedelta(days=1)


def handbook(world: World) -> pd.DataFrame:
    """The world's payments with the Handbook's columns and types: whole numbers as ids, times without a zone."""
    rows = world.rows
    seconds = (rows["occurred_at"] - rows["occurred_at"].min()).dt.total_seconds().astype(int)
    return pd.DataFrame(
        {
            "TRANSACTION_ID": np.arange(len(rows)),
            "TX_DATETIME": rows["occurred_at"].dt.tz_localize(None),
            "CUSTOMER_ID": rows["card_id"].str[1:].astype(int),
            "TERMINAL_ID": rows["terminal_id"].str[1:].astype(int),
            "TX_AMOUNT": rows["amount"],
            "TX_TIME_SECONDS": seconds,
            "TX_TIME_DAYS": seconds // 86_400,
            "TX_FRAUD": rows["is_fraud"].astype(int),
        }
    )


def report(path: Path, estimator: str = "logistic_regression") -> list[str]:
    start = str((TODAY - 21 * DAY).date())
    return list(
        train_report(transactions=path, made_up=False, train_from=start, estimator=estimator, tracking_uri=None,
                     name="card_fraud", alias="champion", config=Path("none.yaml"))
    )  # fmt: skip


def test_the_handbooks_columns_are_read(world: World, tmp_path: Path) -> None:
    handbook(world).sample(frac=1, random_state=0).to_parquet(tmp_path / "handbook.parquet", coerce_timestamps="us")
    found = load_transactions(tmp_path / "handbook.parquet")
    assert list(found) == ["transaction_id", "occurred_at", "card_id", "terminal_id", "amount", "is_fraud"]
    assert found["occurred_at"].is_monotonic_increasing
    assert str(found["occurred_at"].dt.tz) == "UTC"
    assert found["card_id"].iloc[0] == world.rows["card_id"].iloc[0][1:]


def test_one_command_gives_the_table(world: World, tmp_path: Path) -> None:
    handbook(world).to_parquet(tmp_path / "handbook.parquet", coerce_timestamps="us")
    *_, header, line = report(tmp_path / "handbook.parquet")
    assert header.split() == ["estimator", "AUC", "ROC", "average", "precision", "card", "precision@100"]
    name, *figures = line.split()
    assert name == "logistic_regression"
    assert all(0 <= float(figure) <= 1 for figure in figures)


def test_pickles_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "2018-04-01.pkl").write_bytes(b"cos\nsystem\n(S'exit 1'\ntR.")
    for path in (tmp_path, tmp_path / "2018-04-01.pkl"):
        with pytest.raises(InputError, match="convert pickled days first"):
            load_transactions(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rows: rows.drop(columns="TX_FRAUD"), "lacks is_fraud; it has"),
        (lambda rows: rows.assign(TX_AMOUNT=np.nan), "has empty values in amount"),
    ],
)
def test_what_is_wrong_with_the_data_is_named(world: World, tmp_path: Path, change: object, message: str) -> None:
    assert callable(change)
    change(handbook(world)).to_parquet(tmp_path / "h.parquet", coerce_timestamps="us")
    with pytest.raises(InputError, match=message):
        load_transactions(tmp_path / "h.parquet")


def test_an_unknown_estimator_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no estimator 'xgboost'; there are logistic_regression"):
        report(tmp_path, "xgboost")


def test_weeks_without_data_are_named(world: World) -> None:
    with pytest.raises(InputError, match="training from 2030-01-01 needs"):
        split(world.log, train_from=pd.Timestamp("2030-01-01", tz="UTC"))


def test_the_test_week_leaves_out_cards_known_to_be_compromised(world: World) -> None:
    start = TODAY - 21 * DAY
    data = split(world.log, train_from=start)
    compromised = set(data.train.loc[data.train["is_fraud"] == 1, "card_id"])
    assert not compromised & set(data.test["card_id"])
    assert data.train["occurred_at"].max() < start + 7 * DAY
    assert data.test["occurred_at"].min() >= start + 14 * DAY


def test_card_precision_looks_at_each_found_card_once() -> None:
    rows = pd.DataFrame(
        [("a", 0, 1, 0.9), ("b", 0, 0, 0.8), ("c", 0, 1, 0.1), ("a", 1, 1, 0.9), ("c", 1, 1, 0.5), ("d", 1, 0, 0.4)],
        columns=["card_id", "day", "is_fraud", "probability"],
    )
    rows["occurred_at"] = TODAY + pd.to_timedelta(rows["day"], unit="D")
    # day 1: a (found) and b; day 2: a is blocked, so c (found) and d
    assert card_precision(rows, rows["probability"].to_numpy(), cards=2) == 0.5
