"""Prometheus figures of a caller's process."""

from prometheus_client import Counter

from scoreline_fraud.client.client import Authorization

__all__ = ["observe_client"]

DECISIONS = Counter("fraud_client_decisions", "Decisions as the client returned them", ["decision", "source", "cause"])


def observe_client(found: Authorization) -> None:
    """Count a decision in the caller's process: `FraudClient(…, observe=observe_client)`."""
    DECISIONS.labels(found.decision, found.decision_source, found.cause or "").inc()
