"""`scoreline watch` or its worker is killed at any time: what was accepted is answered, each file counts once."""

import os
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

from builders import write_events
from faults.tally import Tally
from integration.conftest import events_of
from watched import APP, INCOMING, Watch, configured, end_all, same_as_undisturbed

pytest.importorskip("pysail")
pytest.importorskip("cronsim")
FAULT = "watch killed at random times"
ROUNDS = int(os.environ.get("SCORELINE_FAULT_ROUNDS", "100")) // 2
WORK = ("accept", "ingest", "publish")


class Rounds:
    """A watch that is killed and begun again; `accepted`: the signals that it took."""

    def __init__(self, root: Path, registry: Any, seed: int) -> None:
        self.config = configured(root, registry, APP, INCOMING, watch={"retry_for": "1h"})
        self.dice, self.incoming, self.files = random.Random(seed), root / "incoming", 0
        self.accepted: list[str] = []
        self.file(events_of())
        self.watch = Watch(self.config)

    def file(self, rows: list[tuple[Any, ...]]) -> None:
        """A new file, there at once as a program that moves it there does it, with a row that is none."""
        self.files += 1
        fresh = self.incoming.parent / "fresh.csv"
        write_events(fresh, [*rows, ("x", self.files, 1, 1)])
        fresh.rename(self.incoming / f"{self.files}.csv")

    def news(self) -> list[tuple[Any, ...]]:
        dice = self.dice
        return [(dice.randint(1, 70), dice.randint(1, 40), 5, 1_780_000_000 + self.files) for _ in range(5)]

    def ask(self) -> None:
        status, answer = self.watch.ask("/signals/app", {"users": [self.dice.randint(1, 70)], "everyone": True})
        if status == 202:
            self.accepted.append(answer["id"])

    def round(self, work: str, *, whom: str) -> None:
        self.watch.until(lambda: self.watch.ask("/healthz")[0] == 200 and self.watch.worker)
        if whom == "worker":  # each of its deaths in a row is followed by a longer pause
            self.finished()
            self.watch.until(lambda: self.watch.worker)
        asks, begins = threading.Thread(target=self.ask), "incoming: begins" if work == "ingest" else "app: begins"
        said = self.watch.said.count(begins)
        if work == "ingest":
            self.file(self.news())
        else:
            asks.start()
        if work == "accept":
            time.sleep(self.dice.uniform(0, 0.02))
        else:  # the worker is warm by then
            self.watch.until(lambda: self.watch.said.count(begins) > said)
            time.sleep(self.dice.uniform(0, 1.5))
        if whom == "watch":
            self.watch.kill()
            if asks.ident:
                asks.join()
            self.watch = Watch(self.config)
        else:
            if (worker := self.watch.worker) is not None:
                worker.kill()
            if asks.ident:
                asks.join()

    def finished(self) -> None:
        """Wait until all is answered."""
        for one in self.accepted:
            assert self.watch.answered(one)["state"] in ("published", "nothing_due")
        self.watch.until(lambda: not self.watch.ask("/healthz")[1]["waiting"])


def rounds_of(
    spark: SparkSession, root: Path, registry: Any, cases: list[tuple[str, str]], tally: Callable[..., None]
) -> None:
    many = Rounds(root, registry, seed=len(cases))
    try:
        for work, whom in cases:
            many.round(work, whom=whom)
            tally(FAULT, f"{whom}: {work}")
        many.file(many.news())
        many.watch.until(lambda: f"{many.files:,} files" in many.watch.said or many.watch.said.count("new or changed"))
        many.finished()
        assert many.watch.end() == 0
        assert many.watch.errors.read_text() == ""
        same_as_undisturbed(spark, many.config, many.incoming)
    finally:
        end_all(many.watch)


def test_a_watch_that_is_killed_takes_up_what_it_had_accepted(
    spark: SparkSession, registry: Any, tmp_path: Path, tally: Tally
) -> None:
    rounds_of(spark, tmp_path, registry, [("accept", "watch"), ("ingest", "watch"), ("publish", "worker")], tally)


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("whom", ["watch", "worker"])
def test_killed_at_any_time_all_is_answered_and_counted_once(
    whom: str, spark: SparkSession, registry: Any, tmp_path: Path, tally: Tally
) -> None:
    cases = [(WORK[number % len(WORK)], whom) for number in range(ROUNDS)]
    rounds_of(spark, tmp_path, registry, cases, tally)
