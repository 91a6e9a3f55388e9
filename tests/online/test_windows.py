"""The windows against a loop over all transactions, and that no label leaks from the future."""

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from scoreline_fraud.features.windows import TransactionLog, card_table, terminal_table, training_matrix
from scoreline_fraud.serving.features import (
    CARD_COLUMNS,
    FEATURES,
    LABEL_DELAY_DAYS,
    TERMINAL_COLUMNS,
    WINDOW_DAYS,
)

DAY = pd.Timedelta(days=1)
START = pd.Timestamp("2026-01-01", tz="UTC")

payments = st.lists(
    st.tuples(
        st.sampled_from("abc"), st.sampled_from("xy"), st.integers(1, 500), st.integers(0, 45 * 86_400), st.booleans()
    ),
    min_size=1,
    max_size=60,
)


def frame(rows: list[tuple[str, str, int, int, bool]]) -> pd.DataFrame:
    found = pd.DataFrame(rows, columns=["card_id", "terminal_id", "amount", "second", "is_fraud"])
    found["occurred_at"] = START + pd.to_timedelta(found["second"], unit="s")
    found["amount"] = found["amount"].astype(float)
    found["is_fraud"] = found["is_fraud"].astype("int8")
    return found.sort_values("occurred_at", kind="stable", ignore_index=True)


@settings(max_examples=40, deadline=None)
@given(payments)
def test_tables_equal_a_loop_over_all_payments(rows: list[tuple[str, str, int, int, bool]]) -> None:
    found, as_of = frame(rows), START + 40 * DAY
    cards, card_figures = card_table(TransactionLog(found), as_of)
    terminals, terminal_figures = terminal_table(TransactionLog(found), as_of)
    before = found[found["occurred_at"] < as_of]
    assert set(cards) == set(before["card_id"])
    assert set(terminals) == set(before["terminal_id"])
    for card, figures in zip(cards, card_figures, strict=True):
        for days in WINDOW_DAYS:
            window = before[(before["card_id"] == card) & (before["occurred_at"] >= as_of - days * DAY)]
            assert figures[CARD_COLUMNS.index(f"card_count_{days}d")] == len(window)
            mean = window["amount"].mean() if len(window) else 0.0
            assert np.isclose(figures[CARD_COLUMNS.index(f"card_mean_amount_{days}d")], mean)
    for terminal, figures in zip(terminals, terminal_figures, strict=True):
        known = as_of - LABEL_DELAY_DAYS * DAY
        for days in WINDOW_DAYS:
            at = (before["terminal_id"] == terminal) & (before["occurred_at"] >= known - days * DAY)
            window = before[at & (before["occurred_at"] < known)]
            assert figures[TERMINAL_COLUMNS.index(f"terminal_count_{days}d")] == len(window)
            risk = window["is_fraud"].mean() if len(window) else 0.0
            assert np.isclose(figures[TERMINAL_COLUMNS.index(f"terminal_risk_{days}d")], risk)


@settings(max_examples=25, deadline=None)
@given(payments)
def test_no_feature_depends_on_a_label_of_the_last_week(rows: list[tuple[str, str, int, int, bool]]) -> None:
    found = frame(rows)
    last = found.tail(1)
    week_before = last["occurred_at"].iloc[0].floor("D") - LABEL_DELAY_DAYS * DAY
    relabelled = found.assign(
        is_fraud=found["is_fraud"].where(found["occurred_at"] < week_before, 1 - found["is_fraud"])
    )
    one, other = training_matrix(TransactionLog(found), last), training_matrix(TransactionLog(relabelled), last)
    np.testing.assert_array_equal(one, other)


@settings(max_examples=25, deadline=None)
@given(payments)
def test_counters_take_the_day_before_and_not_the_payment_itself(rows: list[tuple[str, str, int, int, bool]]) -> None:
    found = frame(rows)
    matrix = training_matrix(TransactionLog(found), found)
    for index, row in found.iterrows():
        at, mine = row["occurred_at"], found["card_id"] == row["card_id"]
        day = found[mine & (found["occurred_at"] >= at - DAY) & (found["occurred_at"] < at)]
        assert matrix[index, FEATURES.index("card_count_24h")] == len(day)
        assert np.isclose(matrix[index, FEATURES.index("card_amount_24h")], day["amount"].sum())
