"""A command's figures for Prometheus, left where `metrics` says; it never costs the command.

When Prometheus asks, a command is gone: its figures wait at a Pushgateway or in a file for the node exporter. Each kind
of command has a group of its own there, and replaces in it only what it has figures for. So after a failed run the
audit of the one before stays, and of each kind the last success.
"""

import fcntl
import logging
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from scoreline.config.settings import Settings
from scoreline.errors import told
from scoreline.redaction import redacted
from scoreline.runs.record import Record
from scoreline.tables.names import ENDED_WELL, PUBLISHED, STATES

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from pyspark.sql import SparkSession

__all__ = ["METRICS", "leave_metrics"]

log = logging.getLogger(__name__)

# all are gauges: each says how it was the last time
METRICS: Mapping[str, str] = {
    "scoreline_last_attempt_timestamp_seconds": "When the last command of this kind that has ended began.",
    "scoreline_last_success_timestamp_seconds": "When the last command of this kind that has ended well began.",
    "scoreline_last_duration_seconds": "How long the last command of this kind took.",
    "scoreline_last_state": "How the last command of this kind ended: 1 for that state, 0 for the others.",
    "scoreline_users_due": "Users whom the last run that came to its audit was to score.",
    "scoreline_users_scored": "Users whom that run has scored.",
    "scoreline_users_failed": "Users whom that run could not score.",
    "scoreline_audit_figure": "What the last audit found.",
    "scoreline_audit_limit": "The most (bound=max) or the least (bound=min) that audit allowed.",
    "scoreline_audit_broken": "1 where that audit found more or less than its limit, also if that only warns.",
    "scoreline_fresh_users_ratio": "Share of users whose row was young enough after the last run.",
    "scoreline_promised_users_ratio": "The share that freshness.share promises.",
    "scoreline_oldest_row_timestamp_seconds": "When the oldest published row was last known to be right.",
    "scoreline_fresh_until_timestamp_seconds": "When the promise breaks if no run looks; 0 for want of rows.",
}
_PATIENCE = 5  # seconds, for a Pushgateway to answer

Sample = tuple[str, Mapping[str, str], float]
Group = tuple[Mapping[str, str], list[Sample]]


def leave_metrics(settings: Settings, record: Record, spark: "SparkSession | None") -> None:
    """Push or write the figures of a command that has ended; what another held off leaves those of the one before."""
    if (to := settings.metrics) is None or record.held_off:
        return
    if find_spec("prometheus_client") is None:
        log.warning("metrics needs the package prometheus-client: pip install 'scoreline[metrics]'.")
        return
    groups = [_group(_of_command(record), pipeline=settings.name, command=record.kind)]
    with _warned("freshness was not measured for metrics"):
        groups.append(_group(_freshness(settings, record, spark), pipeline=settings.name))
    if to.pushgateway is not None:
        with _warned(f"metrics.pushgateway has not taken the figures of this {record.kind}"):
            _push(to.pushgateway.get_secret_value(), groups)
    if to.textfile is not None:
        with _warned(f"metrics.textfile was not written after this {record.kind}"):
            _write(Path(to.textfile), groups)


def _group(samples: Iterable[Sample], **key: str) -> Group:
    return key, [(name, {**key, **labels}, value) for name, labels, value in samples]


def _of_command(record: Record) -> Iterator[Sample]:
    yield "scoreline_last_attempt_timestamp_seconds", {}, record.started_at.timestamp()
    if record.state in ENDED_WELL:
        yield "scoreline_last_success_timestamp_seconds", {}, record.started_at.timestamp()
    if (seconds := record.facts.get("seconds", record.seconds)) is not None:
        yield "scoreline_last_duration_seconds", {}, seconds
    for state in STATES:
        yield "scoreline_last_state", {"state": state}, float(state == record.state)
    if record.kind == "run":
        yield from _of_run(record)


def _of_run(record: Record) -> Iterator[Sample]:
    if "wanted" in record.facts or record.state == "nothing_due":
        for name, figure in (("due", "wanted"), ("scored", "scored"), ("failed", "failed")):
            yield f"scoreline_users_{name}", {}, record.facts.get(figure, 0)
    gates = record.facts.get("limits", [])
    broken = {gate["name"] for gate in gates if not gate["passed"]}
    for name, found in {gate["name"]: gate["found"] for gate in gates}.items():
        yield "scoreline_audit_figure", {"figure": name}, found
        yield "scoreline_audit_broken", {"figure": name}, float(name in broken)
    for gate in gates:
        if gate["bound"] is not None:
            bound = "min" if gate["least"] else "max"
            yield "scoreline_audit_limit", {"figure": gate["name"], "bound": bound}, gate["bound"]


def _freshness(settings: Settings, record: Record, spark: "SparkSession | None") -> Iterator[Sample]:
    """How fresh the published rows are, after a command that had to do with them; nothing without a promise."""
    from scoreline.runs.freshness import measure
    from scoreline.tables.reading import open_readers

    touched = record.facts.get("read", {}) | record.facts.get("written", {})
    target = next((name for name in PUBLISHED if name in touched), None)
    if settings.freshness is None or target is None:
        return
    readers = open_readers(settings, spark)
    found = measure(readers, readers.table(target), now=record.started_at)
    if found is None or found.fresh_share is None:
        return
    yield "scoreline_fresh_users_ratio", {}, found.fresh_share
    yield "scoreline_promised_users_ratio", {}, settings.freshness.share
    yield "scoreline_fresh_until_timestamp_seconds", {}, found.until.timestamp() if found.until else 0
    if found.oldest is not None:
        right_at = max(found.oldest, found.known_at or found.oldest)
        yield "scoreline_oldest_row_timestamp_seconds", {}, right_at.timestamp()


def _push(address: str, groups: Iterable[Group]) -> None:
    from prometheus_client.exposition import basic_auth_handler, default_handler, pushadd_to_gateway

    parts = urlsplit(address)
    handler, gateway = default_handler, address
    if parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
        handler = partial(basic_auth_handler, username=user, password=password)
        gateway = parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
    for key, samples in groups:
        if samples:
            pushadd_to_gateway(gateway, "scoreline", _registry(samples), dict(key), _PATIENCE, handler)


def _write(path: Path, groups: Iterable[Group]) -> None:
    """Replace what there is news of in the file, as a Pushgateway does, in one step."""
    from prometheus_client import write_to_textfile

    with _locked(path.parent):
        samples = _read(path)
        for key, news in groups:
            replaced = {name for name, _, _ in news}
            samples = [one for one in samples if one[0] not in replaced or not key.items() <= one[1].items()] + news
        write_to_textfile(str(path), _registry(samples))


def _read(path: Path) -> list[Sample]:
    """What a file says of metrics that we know; nothing if there is none, or somebody has spoilt it."""
    from prometheus_client.parser import text_string_to_metric_families

    try:
        families = list(text_string_to_metric_families(path.read_text(encoding="utf-8")))
    except (FileNotFoundError, ValueError):
        return []
    return [(one.name, one.labels, one.value) for family in families for one in family.samples if one.name in METRICS]


def _registry(samples: Iterable[Sample]) -> "CollectorRegistry":
    from prometheus_client import CollectorRegistry, Gauge

    registry, gauges = CollectorRegistry(), dict[str, Gauge]()
    for name, labels, value in samples:
        if name not in gauges:
            gauges[name] = Gauge(name, METRICS[name], list(labels), registry=registry)
        gauges[name].labels(**labels).set(value)
    return registry


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Of commands at once one after the other reads the file and writes it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


@contextmanager
def _warned(what: str) -> Iterator[None]:
    """What goes wrong inside is a warning: the command stands, whoever sees its figures."""
    try:
        yield
    except Exception as error:
        log.warning("%s: %s", what, redacted(told(error)))
