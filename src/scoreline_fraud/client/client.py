"""The card system's side: ask the model in time, or decide without it.

authorize(transaction)
  ├─ a well-formed answer in time              → the model's decision            source "model"
  ├─ no answer (down, hung, slow, overloaded)  → by amount, small ones allowed   source "fallback"
  └─ refused (any 4xx) or not understood       → by amount, never "allow"        source "fallback"
"""

import json
import logging
import random
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as FutureTimeout
from dataclasses import dataclass, field
from threading import BoundedSemaphore, local
from typing import Final, Literal

import requests
from circuitbreaker import CircuitBreaker

from scoreline_fraud.client.settings import ClientSettings
from scoreline_fraud.serving.decisions import strictest
from scoreline_fraud.serving.transactions import DECISIONS, Decision, parse, safe_id

__all__ = ["Authorization", "FraudClient"]

_log = logging.getLogger(__name__)
_RETRIED: Final = frozenset({"status_429", "status_503", "connection"})
_LARGEST_ANSWER: Final = 64 * 1024
Source = Literal["model", "fallback"]


@dataclass(frozen=True)
class Authorization:
    """The decision and where it comes from; `cause` says why it is not the model's."""

    transaction_id: str | None
    decision: Decision
    decision_source: Source
    reasons: tuple[str, ...] = ()
    fraud_probability: float | None = None
    model_version: str | None = None
    features_as_of: str | None = None
    cause: str | None = None
    flagged: bool = field(default=False)
    """Allowed without the model: to be looked at afterwards."""


class _Unavailable(Exception):
    """No answer; the server's fault, so the breaker counts it."""


class _Refused(Exception):
    """An answer that is no decision; asking again would not help."""


class FraudClient:
    """Thread-safe; keep one for the life of the process."""

    def __init__(
        self,
        settings: ClientSettings,
        *,
        headers: Mapping[str, str] | None = None,
        verify: bool | str = True,
        observe: Callable[[Authorization], None] = lambda answer: None,
        clock: Callable[[], float] = time.monotonic,
        jitter: Callable[[float], float] = lambda mean: random.uniform(0, 2 * mean),
    ) -> None:
        self.settings, self.observe, self.clock, self.jitter = settings, observe, clock, jitter
        self._headers, self._verify = dict(headers or {}), verify
        self._mine = local()
        self._free = BoundedSemaphore(settings.max_in_flight)
        self._threads = ThreadPoolExecutor(settings.max_in_flight, thread_name_prefix="fraud-client")
        self.breaker = CircuitBreaker(
            failure_threshold=settings.failures_to_open,
            recovery_timeout=settings.open_for_s,
            expected_exception=_Unavailable,
            name="fraud",
        )

    def authorize(self, transaction: Mapping[str, object]) -> Authorization:
        """Decide on one transaction; never raises, whatever it is given, nor takes much longer than the deadline."""
        try:
            given = dict(transaction) if isinstance(transaction, Mapping) else None
        except Exception:  # a mapping of somebody's own
            given = None
        if given is None:
            reasons = ("invalid:not_an_object",)
            found = self._without_model({}, "invalid_transaction", at_least="review", reasons=reasons)
        else:
            found = self._authorize(given)
        try:
            self.observe(found)
        except Exception as error:  # what only looks on decides nothing
            _log.error("observer error=%s", type(error).__name__)
        return found

    def _authorize(self, transaction: dict[str, object]) -> Authorization:
        problems = parse(transaction)
        if isinstance(problems, tuple):
            return self._without_model(transaction, "invalid_transaction", at_least="review", reasons=problems)
        if self.breaker.opened:
            return self._without_model(transaction, "circuit_open")
        try:
            found: Authorization = self.breaker.call(self._ask_in_time, transaction)
            return found
        except _Unavailable as error:
            refused = str(error) == "status_429"  # however busy the server is: no 4xx ends as "allow"
            return self._without_model(transaction, str(error), at_least="review" if refused else "allow")
        except _Refused as error:
            return self._without_model(transaction, str(error), at_least="review")
        except Exception as error:  # a bug of ours must not stop a payment terminal either
            _log.error("error=%s", type(error).__name__)
            return self._without_model(transaction, "client_error", at_least="review")

    def close(self) -> None:
        """Give the threads back."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def __enter__(self) -> "FraudClient":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask_in_time(self, transaction: dict[str, object]) -> Authorization:
        """Ask on a thread, because no timeout of `requests` bounds a server that drips one byte at a time."""
        deadline = self.clock() + self.settings.deadline_s
        if not self._free.acquire(blocking=False):
            raise _Unavailable("too_many_in_flight")
        asked: Future[Authorization] = self._threads.submit(self._ask, transaction, deadline)
        asked.add_done_callback(lambda _: self._free.release())
        try:
            return asked.result(self.settings.deadline_s)
        except FutureTimeout:
            asked.cancel()
            raise _Unavailable("deadline") from None

    def _ask(self, transaction: dict[str, object], deadline: float) -> Authorization:
        """Once, and once more after a short pause if the first failure may pass and there is time left."""
        body = json.dumps({"inputs": [transaction]}).encode()
        try:
            return self._post(body, transaction, deadline)
        except _Unavailable as error:
            pause = self.jitter(self.settings.retry_wait_s)
            if str(error) not in _RETRIED or self.clock() + pause >= deadline:
                raise
            time.sleep(pause)
            return self._post(body, transaction, deadline)

    def _post(self, body: bytes, transaction: dict[str, object], deadline: float) -> Authorization:
        left = deadline - self.clock()
        if left <= 0:
            raise _Unavailable("deadline")
        timeout = (min(self.settings.connect_timeout_s, left), min(self.settings.read_timeout_s, left))
        try:
            with self._session().post(
                self.settings.url, data=body, timeout=timeout, stream=True, allow_redirects=False
            ) as response:
                status = response.status_code
                content = self._content(response, deadline)
        except requests.Timeout:
            raise _Unavailable("timeout") from None
        except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
            raise _Unavailable("connection") from None
        except requests.RequestException:
            raise _Unavailable("http") from None
        if status == 429 or status >= 500:
            raise _Unavailable(f"status_{status}")
        if status != 200:
            raise _Refused(f"status_{status}")
        return _understood(content, transaction)

    def _content(self, response: requests.Response, deadline: float) -> bytes:
        content = b""
        for chunk in response.iter_content(8192):
            content += chunk
            if self.clock() > deadline:
                raise _Unavailable("deadline")
            if len(content) > _LARGEST_ANSWER:
                raise _Refused("answer_too_large")
        return content

    def _session(self) -> requests.Session:
        session: requests.Session | None = getattr(self._mine, "session", None)
        if session is None:
            session = self._mine.session = requests.Session()
            session.trust_env = False  # no proxy from the environment gets to see payments
            session.verify = self._verify
            session.headers.update({"Content-Type": "application/json", **self._headers})
        return session

    def _without_model(
        self,
        transaction: dict[str, object],
        cause: str,
        *,
        at_least: Decision = "allow",
        reasons: tuple[str, ...] = (),
    ) -> Authorization:
        by_amount = self.settings.fallback.decide(transaction.get("amount"))
        decision = strictest([by_amount, at_least])
        _log.warning("decision_source=fallback cause=%s decision=%s", cause, decision)
        return Authorization(
            transaction_id=safe_id(transaction),
            decision=decision,
            decision_source="fallback",
            reasons=reasons or (f"fallback:{cause}",),
            cause=cause,
            flagged=decision == "allow",
        )


def _understood(content: bytes, transaction: dict[str, object]) -> Authorization:
    """The answer, if it is one to this very transaction."""
    try:
        (row,) = json.loads(content)["predictions"]
        decision, probability = row["decision"], row["fraud_probability"]
        if row["transaction_id"] != transaction["transaction_id"] or decision not in DECISIONS:
            raise ValueError
        if decision == "allow" and not (isinstance(probability, float) and 0 <= probability <= 1):
            raise ValueError
        return Authorization(
            transaction_id=row["transaction_id"],
            decision=decision,
            decision_source="model",
            reasons=tuple(str(reason) for reason in row["reasons"]),
            fraud_probability=probability,
            model_version=str(row["model_version"]),
            features_as_of=row["features_as_of"],
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise _Refused("answer_not_understood") from None
