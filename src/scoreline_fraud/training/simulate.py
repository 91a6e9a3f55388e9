"""Made-up card transactions with three kinds of fraud, after the public Fraud Detection Handbook's simulator.

Cards and terminals lie on a square of 100 × 100; a card pays at terminals within `radius`, about twice a day, amounts
around its own mean. Fraud: (1) every amount above `LARGE_AMOUNT`; (2) each day some terminals are compromised for four
weeks, whatever is paid there is fraud; (3) each day some cards are copied for two weeks, a third of their payments are
fraud with amounts multiplied by five.
"""

from typing import Final

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from scoreline_fraud.features.windows import DAY_S, Longs
from scoreline_fraud.serving.features import Floats

__all__ = ["LARGE_AMOUNT", "simulate"]

LARGE_AMOUNT: Final = 220.0
_TERMINALS_A_DAY: Final = 2
_CARDS_A_DAY: Final = 3


def simulate(
    *, cards: int, terminals: int, days: int, start: pd.Timestamp, radius: float = 5.0, seed: int = 0
) -> pd.DataFrame:
    """`transaction_id, card_id, terminal_id, amount, occurred_at, is_fraud, scenario` (0: genuine) by time."""
    rng = np.random.default_rng(seed)
    reach = _reach(rng, cards, terminals, radius)
    mean = rng.uniform(5, 100, cards)
    rate = rng.uniform(0, 4, cards)
    counts = rng.poisson(np.repeat(rate[:, None], days, axis=1))
    card = np.repeat(np.repeat(np.arange(cards), days), counts.ravel())
    day = np.repeat(np.tile(np.arange(days), cards), counts.ravel())

    second = rng.normal(DAY_S / 2, 20_000, len(card))
    amount = rng.normal(mean[card], mean[card] / 2)
    amount = np.where(amount < 0, rng.uniform(0, 2 * mean[card]), amount)
    choices = np.array([len(near) for near in reach])
    usable = (second > 0) & (second < DAY_S) & (choices[card] > 0)
    card, day, second, amount = card[usable], day[usable], second[usable], amount[usable]
    pick = (rng.random(len(card)) * choices[card]).astype(int)
    starts = np.concatenate([[0], np.cumsum(choices)[:-1]])
    terminal = np.concatenate(reach)[starts[card] + pick]

    order = np.argsort(day * DAY_S + second, kind="stable")
    card, terminal, day, second, amount = card[order], terminal[order], day[order], second[order], amount[order]
    amount, scenario = _with_fraud(rng, amount, card, terminal, day, sizes=(cards, terminals, days))
    seconds = pd.to_timedelta((day * DAY_S + second).astype(np.int64), unit="s")
    return pd.DataFrame(
        {
            "transaction_id": [f"t{number}" for number in range(len(card))],
            "card_id": pd.Series(np.array([f"c{number}" for number in range(cards)], dtype=object)[card], dtype="str"),
            "terminal_id": pd.Series(
                np.array([f"m{number}" for number in range(terminals)], dtype=object)[terminal], dtype="str"
            ),
            "amount": np.round(amount, 2),
            "occurred_at": start.tz_convert("UTC") + seconds,
            "is_fraud": (scenario > 0).astype(np.int8),
            "scenario": scenario,
        }
    )


def _reach(rng: np.random.Generator, cards: int, terminals: int, radius: float) -> list[Longs]:
    """The terminals near each card."""
    card_at, terminal_at = rng.uniform(0, 100, (cards, 2)), rng.uniform(0, 100, (terminals, 2))
    return [np.flatnonzero(((terminal_at - at) ** 2).sum(axis=1) < radius**2) for at in card_at]


def _with_fraud(
    rng: np.random.Generator, amount: Floats, card: Longs, terminal: Longs, day: Longs, *, sizes: tuple[int, int, int]
) -> tuple[Floats, "NDArray[np.int8]"]:
    """Amounts and scenario of each transaction after the three kinds of fraud, a later kind over an earlier one."""
    cards, terminals, days = sizes
    scenario = np.where(amount > LARGE_AMOUNT, 1, 0).astype(np.int8)
    compromised = np.zeros((terminals, days + 28), dtype=bool)
    copied = np.zeros((cards, days + 14), dtype=bool)
    for today in range(days):
        compromised[rng.choice(terminals, _TERMINALS_A_DAY), today : today + 28] = True
        copied[rng.choice(cards, _CARDS_A_DAY), today : today + 14] = True
    scenario[compromised[terminal, day]] = 2
    multiplied = copied[card, day] & (rng.random(len(card)) < 1 / 3)
    scenario[multiplied] = 3
    return np.where(multiplied, amount * 5, amount), scenario
