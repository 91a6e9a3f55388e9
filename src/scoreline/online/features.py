"""The model's inputs: one formula for training, for the nightly table and for the server.

What is known of a card and a terminal is counted in whole UTC days up to midnight, so that a transaction at noon and
the table built the night before agree on it. A terminal's figures stop `LABEL_DELAY_DAYS` earlier, because a fraud is
reported days after it happened: on the evening itself nobody could have known.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["CARD_COLUMNS", "FEATURES", "LABEL_DELAY_DAYS", "TERMINAL_COLUMNS", "WINDOW_DAYS", "feature_matrix"]

Floats = NDArray[np.float64]

WINDOW_DAYS: Final = (1, 7, 30)
LABEL_DELAY_DAYS: Final = 7

CARD_COLUMNS: Final = tuple(
    name for days in WINDOW_DAYS for name in (f"card_count_{days}d", f"card_mean_amount_{days}d")
)
TERMINAL_COLUMNS: Final = tuple(
    name for days in WINDOW_DAYS for name in (f"terminal_count_{days}d", f"terminal_risk_{days}d")
)
FEATURES: Final = (
    "amount",
    "during_weekend",
    "during_night",
    *CARD_COLUMNS,
    *TERMINAL_COLUMNS,
    "card_count_24h",
    "card_amount_24h",
    "amount_to_mean_30d",
)

_CARD = slice(3, 3 + len(CARD_COLUMNS))
_TERMINAL = slice(_CARD.stop, _CARD.stop + len(TERMINAL_COLUMNS))
_MEAN_30D = CARD_COLUMNS.index("card_mean_amount_30d")
_DAY_S: Final = 86_400


def feature_matrix(
    *, amount: Floats, epoch_s: Floats, card: Floats, terminal: Floats, count_24h: Floats, amount_24h: Floats
) -> Floats:
    """One row of `FEATURES` per transaction; `card` and `terminal` hold `CARD_COLUMNS` and `TERMINAL_COLUMNS`.

    The 24-hour counters are NaN where the card system sent none; yesterday's figures stand in for them.

    >>> noon = 1_767_441_600.0  # Saturday, 3 January 2026, 12:00 UTC
    >>> one = np.ones(1)
    >>> row = feature_matrix(amount=30 * one, epoch_s=noon * one, card=10 * np.ones((1, 6)),
    ...                      terminal=np.zeros((1, 6)), count_24h=np.nan * one, amount_24h=np.nan * one)[0]
    >>> {name: float(value) for name, value in zip(FEATURES, row) if value and not name.startswith("card_mean")}
    {'amount': 30.0, 'during_weekend': 1.0, 'card_count_1d': 10.0, 'card_count_7d': 10.0, 'card_count_30d': 10.0, \
'card_count_24h': 10.0, 'card_amount_24h': 100.0, 'amount_to_mean_30d': 3.0}
    """
    days = np.floor_divide(epoch_s, _DAY_S)
    mean_30d = card[:, _MEAN_30D]
    out = np.empty((len(amount), len(FEATURES)))
    out[:, 0] = amount
    out[:, 1] = (days + 3) % 7 >= 5  # 1 January 1970 was a Thursday; Monday is 0
    out[:, 2] = (epoch_s - days * _DAY_S) // 3600 <= 6
    out[:, _CARD] = card
    out[:, _TERMINAL] = terminal
    out[:, -3] = np.where(np.isnan(count_24h), card[:, 0], count_24h)
    out[:, -2] = np.where(np.isnan(amount_24h), card[:, 0] * card[:, 1], amount_24h)
    out[:, -1] = amount / np.where(mean_30d > 0, mean_30d, 1.0) * (mean_30d > 0)
    return out
