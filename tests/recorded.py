"""Logs of runs as installations record them: rows of `runs` with defaults, and series of what many runs cost.

`python tests/recorded.py` prints how well the estimates of the last 40 of 80 runs held, of twelve logs of each kind.
"""

import json
import math
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from statistics import mean, median
from typing import Any

import numpy as np

import builders
from builders import NOW
from scoreline.config.settings import Settings
from scoreline.pipeline.estimate import learn
from scoreline.runs.past import PastRun
from scoreline.tables import schema
from scoreline.tables.appending import append_row
from scoreline.tables.names import place

Series = list[tuple[dict[str, int], float]]


def past_run(number: int = 0, reasons: Mapping[str, int] | None = None, **changes: Any) -> PastRun:
    """The run of the night `number` nights after NOW."""
    made: dict[str, Any] = {"started_at": NOW + timedelta(days=number), "reasons": reasons or {}, "waiting": 0}
    return PastRun(**{**made, "costs": {}, **changes})


def record(settings: Settings, number: int, *, state: str = "published", **figures: Any) -> None:
    """Write the row of a run as a run does, `number` nights before NOW."""
    said = {"engine": builders.ENGINE, "host": socket.gethostname(), "fraction": 1.0, "waiting": 0, **figures}
    began = NOW - timedelta(days=number)
    row = {
        "run_id": f"recorded-{number}",
        "kind": "run",
        "state": state,
        "started_at": began,
        "finished_at": began + timedelta(seconds=figures.get("seconds", 1)),
        "model": "films version 1",
        "users": sum(figures.get("reasons", {}).values()),
        "figures": json.dumps(said),
    }
    append_row(place(settings.tables, "runs"), schema.runs().json(), row)


def cost(reasons: Mapping[str, int]) -> float:
    """Seconds of an installation: a fixed part, and milliseconds for each user by reason."""
    each = {"changed": 3.0, "new": 3.0, "other_model": 2.0}
    return 8 + sum(each[reason] * users / 1000 for reason, users in reasons.items())


def nights(dice: np.random.Generator, runs: int, users: float = 1000, growth: float = 1.0) -> Iterator[dict[str, int]]:
    """Some users have news each night; each seventh night there is another model, for everybody."""
    for night in range(runs):
        now = users * growth**night
        if night % 7 == 6:
            yield {"other_model": int(100 * now)}
        else:
            yield {"changed": int(now * dice.lognormal(0, 0.2)), "new": 1 + int(now / 10 * dice.lognormal(0, 0.4))}


def _series(
    dice: np.random.Generator, reasons: Iterator[dict[str, int]], factor: Callable[[int], float], noise: float = 0.08
) -> Series:
    return [(one, cost(one) * factor(number) * dice.lognormal(0, noise)) for number, one in enumerate(reasons)]


def series(name: str, seed: int = 1, runs: int = 80) -> Series:
    """What so many runs had to do and what they cost, oldest first; NAMES says of which kinds there are some."""
    dice = np.random.default_rng(seed)
    usual = nights(dice, runs)
    match name:
        case "steady":
            return _series(dice, usual, lambda _: 1)
        case "more users and slower each night":
            return _series(dice, nights(dice, runs, growth=1.01), lambda night: 1.01**night)
        case "a busy neighbour now and then":
            return _series(dice, usual, lambda _: dice.uniform(2, 5) if dice.random() < 0.08 else 1)
        case "a slow machine for some weeks":
            return _series(dice, usual, lambda night: 2.5 if runs // 3 < night < 2 * runs // 3 else 1)
        case "always as many":
            return _series(dice, iter([{"changed": 5000}] * runs), lambda _: 1)
        case "in parts":
            parts = dice.choice([0.25, 0.25, 0.5, 1.0], runs)
            return _series(dice, ({"other_model": int(20_000 * part)} for part in parts), lambda _: 1)
        case "few or many":
            return _series(
                dice, ({"changed": 1 + int(3000 * dice.lognormal(0, 1))} for _ in range(runs)), lambda _: 1, 0.15
            )
        case "slower and faster again":
            drift = np.exp(np.cumsum(dice.normal(0, 0.1, runs)))
            return _series(dice, usual, lambda night: float(drift[night]), 0.05)
        case "wild":
            return _series(dice, usual, lambda _: math.exp(0.1 * dice.standard_t(2)), 0.0)
        case "first everybody, then a few":
            few = ({"changed": 1 + int(800 * dice.lognormal(0, 0.3))} for _ in range(runs - 1))
            return _series(dice, (one for part in ([{"new": 100_000}], few) for one in part), lambda _: 1)
    raise ValueError(name)


NAMES = (
    "steady", "more users and slower each night", "a busy neighbour now and then", "a slow machine for some weeks",
    "always as many", "in parts", "few or many", "slower and faster again", "wild", "first everybody, then a few",
)  # fmt: skip


def table() -> list[str]:
    """Of each kind how many held, in all logs and in the worst, half the width of the bounds, and the usual error."""
    lines = ["| log | held | in the worst log | bounds: a factor of | usual error |", "| --- | --- | --- | --- | --- |"]
    for name in NAMES:
        logs = [series(name, seed) for seed in range(1, 13)]
        found = [one.estimated(runs[-1][0]) for runs in logs if (one := learn(runs)) is not None]
        held = [one.held / one.compared for one in found]
        factor = median(math.sqrt(one.high / one.low) for one in found)
        error = median(one.usual_error or 0.0 for one in found)
        lines.append(f"| {name} | {mean(held):.0%} | {min(held):.0%} | {factor:.2f} | {error:.0%} |")
    return lines


if __name__ == "__main__":
    print("\n".join(table()))
