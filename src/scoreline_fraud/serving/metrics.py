"""Prometheus figures of a served model, collected over all workers.

MLflow's server has no `/metrics`, so the model opens a port of its own: the first worker of a machine takes it and
answers for all, through the files that `PROMETHEUS_MULTIPROC_DIR` names. When that worker goes, the next one to start
takes it.
"""

import errno
import logging
import os
import time
from collections.abc import Iterator, Sequence
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import REGISTRY, Collector

from scoreline_fraud.serving.snapshot import SnapshotSource
from scoreline_fraud.serving.transactions import Answer

__all__ = ["observe", "serve_metrics"]

_log = logging.getLogger(__name__)
_BUCKETS: Final = (0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0)

REQUESTS = Counter("fraud_requests", "Requests that reached the model")
SECONDS = Histogram("fraud_model_seconds", "Time inside the model, by request", buckets=_BUCKETS)
DECISIONS = Counter("fraud_decisions", "Rows answered", ["decision"])
REVIEWS = Counter("fraud_reasons", "Reasons given with the answers", ["reason"])
SHADOW = Counter("fraud_shadow", "Rows for the challenger", ["outcome"])


def observe(answers: Sequence[Answer], seconds: float) -> None:
    """Count a request and its answers."""
    REQUESTS.inc()
    SECONDS.observe(seconds)
    for answer in answers:
        DECISIONS.labels(answer["decision"]).inc()
        for reason in answer["reasons"]:
            REVIEWS.labels(reason).inc()


class _FeatureAge(Collector):
    """Age of the snapshot at the time of the scrape: it grows although nobody pays."""

    def __init__(self, source: SnapshotSource) -> None:
        self.source = source

    def collect(self) -> Iterator[GaugeMetricFamily]:
        snapshot = self.source.current()
        age = float("inf") if snapshot is None else time.time() - snapshot.as_of_s
        yield GaugeMetricFamily("fraud_feature_age_seconds", "Age of the feature snapshot; +Inf without one", age)


def serve_metrics(host: str, port: int, source: SnapshotSource | None) -> None:
    """Answer scrapes on a thread of this process, unless another worker does already."""
    registry = CollectorRegistry() if "PROMETHEUS_MULTIPROC_DIR" in os.environ else REGISTRY
    if registry is not REGISTRY:
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    if source is not None:
        registry.register(_FeatureAge(source))
    try:
        start_http_server(port, addr=host, registry=registry)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        _log.info("metrics_port=%d is answered by another worker", port)
