"""A challenger that scores what the champion has just answered; its opinion is written down, never returned."""

import json
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from scoreline_fraud.serving.decisions import Bands, decide
from scoreline_fraud.serving.kernels import Kernel
from scoreline_fraud.serving.scorer import Judged

__all__ = ["Challenger"]

_log = logging.getLogger(__name__)


class Challenger:
    """One thread behind a bounded queue: a slow or broken challenger loses its own lines and nothing else."""

    def __init__(
        self,
        kernel: Kernel,
        *,
        version: str,
        bands: Bands,
        log: Path,
        size: int,
        count: Callable[[str], None] = lambda outcome: None,
    ) -> None:
        self.kernel, self.version, self.bands, self.log, self.count = kernel, version, bands, log, count
        log.parent.mkdir(parents=True, exist_ok=True)
        self._waiting: queue.Queue[Sequence[Judged]] = queue.Queue(size)
        threading.Thread(target=self._work, name="challenger", daemon=True).start()

    def __call__(self, judged: Sequence[Judged]) -> None:
        """Take rows if there is room, at once in any case."""
        try:
            self._waiting.put_nowait(judged)
        except queue.Full:
            self.count("dropped")

    def drain(self) -> None:
        """Wait until everything taken so far is written; for tests."""
        self._waiting.join()

    def _work(self) -> None:
        while True:
            judged = self._waiting.get()
            try:
                self._write(judged)
                self.count("scored")
            except Exception as error:  # a challenger may fail in any way, and the champion must not notice
                self.count("failed")
                _log.warning("challenger=%s error=%s", self.version, type(error).__name__)
            finally:
                self._waiting.task_done()

    def _write(self, judged: Sequence[Judged]) -> None:
        probabilities = self.kernel.probabilities(np.array([one.features for one in judged])).tolist()
        now = datetime.now(UTC).isoformat()
        lines = [self._line(one, probability, now) for one, probability in zip(judged, probabilities, strict=True)]
        with self.log.open("a", encoding="utf-8") as file:  # lines are short: appends of several workers do not mix
            file.write("".join(lines))

    def _line(self, one: Judged, probability: float, now: str) -> str:
        decision, _ = decide(probability, one.transaction.amount, self.bands)
        record = {
            "at": now,
            "transaction_id": one.answer["transaction_id"],
            "champion": {key: one.answer[key] for key in ("model_version", "fraud_probability", "decision")},
            "challenger": {"model_version": self.version, "fraud_probability": probability, "decision": decision},
        }
        return json.dumps(record) + "\n"
