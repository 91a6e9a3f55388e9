"""The model's inputs: one formula for training, for the nightly table and for the server.

What is known of a card and a terminal is counted in whole UTC days up to midnight, so that a transaction at noon and
the table built the night before agree on it. A terminal's figures stop `LABEL_DELAY_DAYS` earlier, because a fraud is
reported days after it happened: on the evening itself nobody could have known.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["CARD_COLUMNS", "FEATURES", "LABEL_DELAY_DAYS", "TERMINAL_COLUMNS", "WINDOW_DAYS", "feature_row"]

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

_MEAN_30D = CARD_COLUMNS.index("card_mean_amount_30d")
_DAY_S: Final = 86_400


def feature_row(
    amount: float,
    epoch_s: float,
    card: Sequence[float],
    terminal: Sequence[float],
    count_24h: float | None,
    amount_24h: float | None,
) -> list[float]:
    """`FEATURES` of one transaction; `card` and `terminal` hold `CARD_COLUMNS` and `TERMINAL_COLUMNS`.

    The 24-hour counters are None where the card system sent none; yesterday's figures stand in for them. Plain floats,
    because NumPy takes five times as long for one row, and one row is what a request has.

    >>> noon = 1_767_441_600.0  # Saturday, 3 January 2026, 12:00 UTC
    >>> row = feature_row(30.0, noon, [10.0] * 6, [0.0] * 6, None, None)
    >>> {name: value for name, value in zip(FEATURES, row) if value and not name.startswith("card_mean")}
    {'amount': 30.0, 'during_weekend': 1.0, 'card_count_1d': 10.0, 'card_count_7d': 10.0, 'card_count_30d': 10.0, \
'card_count_24h': 10.0, 'card_amount_24h': 100.0, 'amount_to_mean_30d': 3.0}
    """
    day, second = divmod(epoch_s, _DAY_S)
    mean_30d = card[_MEAN_30D]
    return [
        amount,
        float((day + 3) % 7 >= 5),  # 1 January 1970 was a Thursday; Monday is 0
        float(second // 3600 <= 6),
        *card,
        *terminal,
        card[0] if count_24h is None else float(count_24h),
        card[0] * card[1] if amount_24h is None else amount_24h,
        amount / mean_30d if mean_30d > 0 else 0.0,
    ]
