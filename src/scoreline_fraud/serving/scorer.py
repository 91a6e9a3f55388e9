"""The core of both paths: transactions and what is known of them in, decisions out. No server, no Spark, no MLflow."""

import logging
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from scoreline_fraud.serving.decisions import decide
from scoreline_fraud.serving.features import feature_row
from scoreline_fraud.serving.kernels import Kernel
from scoreline_fraud.serving.rules import ServingRules
from scoreline_fraud.serving.transactions import Answer, Decision, Transaction, parse, safe_id

__all__ = ["Judged", "Known", "Scorer", "Source"]

_log = logging.getLogger(__name__)

Observer = Callable[[Sequence[Answer], float], None]


class Known(Protocol):
    """What is known of cards and terminals as of a moment: a snapshot, or the rows of a batch."""

    @property
    def as_of_s(self) -> float: ...
    @property
    def as_of_text(self) -> str: ...
    def card(self, card_id: str) -> tuple[float, ...] | None: ...
    def terminal(self, terminal_id: str) -> tuple[float, ...] | None: ...


class Source(Protocol):
    """Where to find it now."""

    def current(self) -> Known | None: ...


class Judged(NamedTuple):
    """A transaction that could be scored, with its inputs: what a challenger gets to see."""

    transaction: Transaction
    features: list[float]
    answer: Answer


class _Asked(NamedTuple):
    """A row of the request that is fit for the model."""

    place: int
    transaction: Transaction
    inputs: list[float]


@dataclass(frozen=True)
class Scorer:
    """A kernel with its rules; answers any list of posted rows and never raises."""

    kernel: Kernel
    source: Source | None
    rules: ServingRules
    model_version: str
    clock: Callable[[], float] = time.time
    observers: tuple[Observer, ...] = ()
    shadow: Callable[[Sequence[Judged]], None] | None = None

    def answers(self, rows: Sequence[object]) -> list[Answer]:
        """One answer per row, in order. Whatever goes wrong, the answer is "review" with a reason."""
        began = time.perf_counter()
        if len(rows) > self.rules.limits.max_rows:
            found = [self._review(row, ("too_many_rows",)) for row in rows]
        else:
            found = self._judged(rows)
        seconds = time.perf_counter() - began
        for observe in self.observers:
            try:
                observe(found, seconds)
            except Exception as error:  # what only looks on decides nothing
                _log.error("observer error=%s", type(error).__name__)
        return found

    def _judged(self, rows: Sequence[object]) -> list[Answer]:
        """An error is a review, for a card must not wait until our bug is fixed."""
        try:
            return self.judge(rows, self.source.current() if self.source else None)
        except Exception as error:
            frames = "".join(traceback.format_tb(error.__traceback__))
            _log.error("error=%s rows=%d\n%s", type(error).__name__, len(rows), frames)
            return [self._review(row, ("internal_error",)) for row in rows]

    def judge(self, rows: Sequence[object], snapshot: Known | None) -> list[Answer]:
        """Answers with what `snapshot` knows of cards and terminals, without the limit of rows; a bug raises."""
        found: list[Answer | None] = []
        asked: list[_Asked] = []
        for index, row in enumerate(rows):
            one = self._asked(index, row, snapshot)
            if isinstance(one, _Asked):
                asked.append(one)
                found.append(None)
            else:
                found.append(one)
        if asked and snapshot:
            judged = self._score(asked, snapshot)
            for question, answered in zip(asked, judged, strict=True):
                found[question.place] = answered.answer
            if self.shadow:
                self.shadow(judged)
        return [answer for answer in found if answer is not None]

    def _asked(self, index: int, row: object, snapshot: Known | None) -> _Asked | Answer:
        """What to ask the model about a row; the answer itself if the model cannot be asked."""
        transaction = parse(row)
        if isinstance(transaction, tuple):
            return self._review(row, transaction)
        if snapshot is None:
            return self._review(row, ("features_missing",))
        card, terminal = snapshot.card(transaction.card_id), snapshot.terminal(transaction.terminal_id)
        moment = transaction.occurred_at.timestamp()
        reasons = self._objections(transaction, moment, snapshot, card, terminal)
        if reasons or card is None or terminal is None:
            return self._review(row, reasons, snapshot)
        inputs = feature_row(
            transaction.amount, moment // 1, card, terminal, transaction.card_count_24h, transaction.card_amount_24h
        )
        return _Asked(index, transaction, inputs)

    def _objections(
        self, transaction: Transaction, moment: float, snapshot: Known, card: object | None, terminal: object | None
    ) -> tuple[str, ...]:
        """Why this transaction cannot be left to the model."""
        limits, features = self.rules.limits, self.rules.features
        age_h = (moment - snapshot.as_of_s) / 3600
        difference = limits.max_clock_difference_s
        checks = (
            (card is None, "unknown_card"),
            (terminal is None, "unknown_terminal"),
            (age_h > features.max_age_hours, "features_stale"),
            (age_h < -24, "features_from_later"),
            (transaction.amount == 0, "amount_zero"),
            (transaction.amount > limits.largest_amount, "amount_above_limit"),
            (difference is not None and abs(moment - self.clock()) > difference, "clock_difference"),
        )
        return tuple(reason for holds, reason in checks if holds)

    def _score(self, asked: Sequence[_Asked], snapshot: Known) -> list[Judged]:
        probabilities = self.kernel.probabilities(np.array([one.inputs for one in asked])).tolist()
        judged = []
        for (_, row, inputs), probability in zip(asked, probabilities, strict=True):
            decision, reasons = decide(probability, row.amount, self.rules.decisions)
            finite = 0.0 <= probability <= 1.0
            answer = self._answer(row.transaction_id, decision, reasons, probability if finite else None, snapshot)
            judged.append(Judged(row, inputs, answer))
        return judged

    def _review(self, row: object, reasons: tuple[str, ...], snapshot: Known | None = None) -> Answer:
        return self._answer(safe_id(row), "review", reasons, None, snapshot)

    def _answer(
        self,
        transaction_id: str | None,
        decision: Decision,
        reasons: tuple[str, ...],
        probability: float | None,
        snapshot: Known | None,
    ) -> Answer:
        return {
            "transaction_id": transaction_id,
            "fraud_probability": probability,
            "decision": decision,
            "reasons": list(reasons),
            "model_version": self.model_version,
            "features_as_of": snapshot.as_of_text if snapshot else None,
        }
