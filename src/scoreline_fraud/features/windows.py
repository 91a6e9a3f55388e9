"""Counts and sums over windows of time, in memory: for training, and as the truth the Spark job is held to."""

from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreline_fraud.serving.features import FEATURES, LABEL_DELAY_DAYS, WINDOW_DAYS, Floats, feature_row

__all__ = ["TransactionLog", "card_table", "terminal_table", "training_matrix"]

DAY_S: Final = 86_400
Longs = NDArray[np.int64]


class _Series(NamedTuple):
    """Events sorted by key and time, with running totals, so that any window's sum is a difference of two entries."""

    keys: pd.Index
    codes: Longs
    times: Longs
    totals: Floats

    @classmethod
    def of(cls, key: "pd.Series[str]", time: Longs, values: Floats) -> "_Series":
        codes, keys = pd.factorize(key, sort=False)
        order = np.lexsort((time, codes))
        totals = np.vstack([np.zeros(values.shape[1]), np.cumsum(values[order], axis=0)])
        return cls(pd.Index(keys), codes[order].astype(np.int64), time[order], totals)

    def between(self, key: "pd.Series[str] | pd.Index[str]", start: Longs, end: Longs) -> Floats:
        """Sums over [start, end) per asked key; zero for a key that was never seen."""
        span = np.int64(1) << 33  # seconds: enough for 272 years
        events = self.codes * span + self.times
        asked = self.keys.get_indexer(pd.Index(key)).astype(np.int64)
        first = np.searchsorted(events, asked * span + start)
        last = np.searchsorted(events, asked * span + end)
        sums = self.totals[last] - self.totals[first]
        return np.where((asked >= 0)[:, None], sums, 0.0)


class TransactionLog:
    """Transactions with `card_id, terminal_id, amount, occurred_at (UTC), is_fraud`, indexed for window queries."""

    def __init__(self, transactions: pd.DataFrame) -> None:
        self.transactions = transactions
        time = epoch_seconds(transactions["occurred_at"])
        amount = transactions["amount"].to_numpy(np.float64)
        fraud = transactions["is_fraud"].to_numpy(np.float64)
        ones = np.ones(len(transactions))
        self.by_card = _Series.of(transactions["card_id"], time, np.column_stack([ones, amount]))
        self.by_terminal = _Series.of(transactions["terminal_id"], time, np.column_stack([ones, fraud]))


def epoch_seconds(moments: "pd.Series[pd.Timestamp]") -> Longs:
    """Whole seconds since 1970, UTC."""
    utc = moments.dt.tz_convert("UTC").dt.tz_localize(None)
    return utc.to_numpy("datetime64[s]").astype(np.int64)


def card_features(log: TransactionLog, card: "pd.Series[str] | pd.Index[str]", midnight: Longs) -> Floats:
    """`CARD_COLUMNS` as they stood at each midnight (epoch seconds)."""
    columns: list[Floats] = []
    for days in WINDOW_DAYS:
        count, amount = log.by_card.between(card, midnight - days * DAY_S, midnight).T
        columns += [count, np.divide(amount, count, out=np.zeros_like(amount), where=count > 0)]
    return np.column_stack(columns)


def terminal_features(log: TransactionLog, terminal: "pd.Series[str] | pd.Index[str]", midnight: Longs) -> Floats:
    """`TERMINAL_COLUMNS` at each midnight, seen through the delay with which frauds are reported."""
    known = midnight - LABEL_DELAY_DAYS * DAY_S
    columns: list[Floats] = []
    for days in WINDOW_DAYS:
        count, frauds = log.by_terminal.between(terminal, known - days * DAY_S, known).T
        columns += [count, np.divide(frauds, count, out=np.zeros_like(frauds), where=count > 0)]
    return np.column_stack(columns)


Features = Callable[[TransactionLog, "pd.Index[str]", Longs], Floats]


def card_table(log: TransactionLog, as_of: pd.Timestamp) -> tuple[list[str], Floats]:
    """Every card seen before `as_of` and its `CARD_COLUMNS`."""
    return _table(log, as_of, "card_id", card_features)


def terminal_table(log: TransactionLog, as_of: pd.Timestamp) -> tuple[list[str], Floats]:
    """Every terminal seen before `as_of` and its `TERMINAL_COLUMNS`."""
    return _table(log, as_of, "terminal_id", terminal_features)


def _table(log: TransactionLog, as_of: pd.Timestamp, key: str, features: Features) -> tuple[list[str], Floats]:
    seen = log.transactions.loc[log.transactions["occurred_at"] < as_of, key]
    keys = pd.Index(sorted(seen.unique()))
    return list(keys), features(log, keys, np.full(len(keys), int(as_of.timestamp()), dtype=np.int64))


def training_matrix(log: TransactionLog, rows: pd.DataFrame) -> Floats:
    """`FEATURES` for each of `rows`, each as it would have been served: yesterday's table, today's counters."""
    time = epoch_seconds(rows["occurred_at"])
    midnight = time // DAY_S * DAY_S
    last_day = log.by_card.between(rows["card_id"], time - DAY_S, time)
    columns = (
        rows["amount"].to_numpy(np.float64),
        time.astype(np.float64),
        card_features(log, rows["card_id"], midnight),
        terminal_features(log, rows["terminal_id"], midnight),
        *last_day.T,
    )
    found = [feature_row(*row) for row in zip(*(column.tolist() for column in columns), strict=True)]
    return np.array(found).reshape(len(rows), len(FEATURES))
