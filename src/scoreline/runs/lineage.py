"""OpenLineage events of a command, sent where `lineage` says: what it read and wrote, and in which version.

START says that it has begun. COMPLETE, FAIL or ABORT (it was interrupted) says all there is to say: where only that one
arrives, nothing is missing. It never costs the command.
"""

import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from scoreline import __version__
from scoreline.config.settings import LineageSettings, Settings
from scoreline.errors import told
from scoreline.redaction import redacted
from scoreline.runs.record import Record
from scoreline.tables.names import ENDED_WELL, TABLES, place

if TYPE_CHECKING:
    from openlineage.client.event_v2 import Run, RunEvent
    from openlineage.client.transport import Transport

__all__ = ["send_event"]

log = logging.getLogger(__name__)

_PRODUCER = f"https://pypi.org/project/scoreline/{__version__}"
_PATIENCE = 3  # seconds, for a collector to answer
# as OpenLineage's own integrations call them, so that theirs and ours are the same data set
_STORES = {"s3": "s3", "s3a": "s3", "gs": "gs", "abfs": "abfss", "abfss": "abfss", "wasb": "wasbs", "wasbs": "wasbs"}
_ENGINES = {"spark": ("spark", "pyspark"), "embedded": ("sail", "pysail")}


def send_event(settings: Settings, record: Record) -> None:
    """Send the event of a command that has just begun, or has ended."""
    if (to := settings.lineage) is None:
        return
    if find_spec("openlineage") is None:
        log.warning("lineage needs the package openlineage-python: pip install 'scoreline[lineage]'.")
        return
    try:
        _transport(to).emit(_event(settings, record, to.namespace))
    except Exception as error:
        # no word about the first event: the last one is tried as well, and says more
        level = logging.DEBUG if record.state is None else logging.WARNING
        log.log(level, "lineage has not taken the event of this %s: %s", record.kind, redacted(told(error)))


def _transport(to: LineageSettings) -> "Transport":
    from openlineage.client.transport.file import FileConfig, FileTransport
    from openlineage.client.transport.http import ApiKeyTokenProvider, HttpConfig, HttpTransport, TokenProvider

    if to.file is not None:
        return FileTransport(FileConfig(to.file, append=True))
    key = to.api_key
    auth = ApiKeyTokenProvider({"api_key": key.get_secret_value()}) if key is not None else TokenProvider({})
    return HttpTransport(HttpConfig(f"{to.url}/", timeout=_PATIENCE, auth=auth, retry={"total": 0}))


def _event(settings: Settings, record: Record, namespace: str) -> "RunEvent":
    from openlineage.client.event_v2 import InputDataset, Job, OutputDataset, RunEvent, RunState
    from openlineage.client.facet_v2 import job_type_job

    facet = job_type_job.JobTypeJobFacet("BATCH", "SCORELINE", record.kind.upper(), producer=_PRODUCER)
    if record.state is None:
        state, now = RunState.START, record.started_at
    else:
        ends = {"interrupted": RunState.ABORT, **dict.fromkeys(ENDED_WELL, RunState.COMPLETE)}
        state, now = ends.get(record.state, RunState.FAIL), datetime.now(UTC)
    return RunEvent(
        eventType=state,
        eventTime=now.isoformat(),
        run=_run(settings, record),
        job=Job(namespace, f"{settings.name}.{record.kind}", {"jobType": facet}),
        inputs=[InputDataset(*_named(at, namespace), facets=_facets(v)) for at, v in _read(settings, record)],
        outputs=[OutputDataset(*_named(at, namespace), facets=_facets(v)) for at, v in _written(settings, record)],
        producer=_PRODUCER,
    )


def _run(settings: Settings, record: Record) -> "Run":
    from openlineage.client.event_v2 import Run
    from openlineage.client.facet_v2 import error_message_run, nominal_time_run, processing_engine_run
    from openlineage.client.uuid import generate_static_uuid

    facts, began = record.facts, record.started_at
    facets: dict[str, Any] = {
        "nominalTime": nominal_time_run.NominalTimeRunFacet(began.isoformat(), producer=_PRODUCER)
    }
    if (engine := _ENGINES.get(facts.get("engine", ""))) and (version := facts.get("versions", {}).get(engine[1])):
        facets["processing_engine"] = processing_engine_run.ProcessingEngineRunFacet(
            version, engine[0], __version__, producer=_PRODUCER
        )
    if error := facts.get("error"):
        facets["errorMessage"] = error_message_run.ErrorMessageRunFacet(
            redacted(str(error)), "PYTHON", producer=_PRODUCER
        )
    # whoever finds that it was killed makes the same id of what it had said
    return Run(str(generate_static_uuid(began, f"{settings.name}/{record.begun_as}".encode())), facets)


def _read(settings: Settings, record: Record) -> Iterator[tuple[str, int | None]]:
    for name, version in record.facts.get("read", {}).items():
        yield _location(settings, name), version
    if source := record.facts.get("source"):
        yield _absolute(source), None


def _written(settings: Settings, record: Record) -> Iterator[tuple[str, int | None]]:
    for name, version in record.facts.get("written", {}).items():
        yield _location(settings, name), version
    if (database := record.facts.get("destination")) and settings.export is not None:
        yield f"{database}/{settings.export.table}", None


def _location(settings: Settings, name: str) -> str:
    """Where what the run log calls so is: a table of ours, or the input of a pipeline that has one."""
    if name in TABLES or settings.input is None:
        return place(settings.tables, name)
    return _absolute(settings.input.path) if settings.input.path else str(settings.input.table)


def _absolute(path: str) -> str:
    return path if "://" in path else str(Path(path).absolute())


def _named(location: str, namespace: str) -> tuple[str, str]:
    """A data set's namespace and name, by where it is, as OpenLineage has them; a table of a catalogue is in ours.

    >>> _named("s3a://films/tables/runs", "x"), _named("/films/runs", "x"), _named("main.films.runs", "x")
    (('s3://films', 'tables/runs'), ('file', '/films/runs'), ('x', 'main.films.runs'))
    """
    if location.startswith("/"):
        return "file", location
    scheme, host, path, *_ = urlsplit(location)
    if not scheme:
        return namespace, location
    if scheme in _STORES:
        return f"{_STORES[scheme]}://{host}", path.strip("/")
    return f"{scheme}://{host}" if host else scheme, f"/{path.strip('/')}"


def _facets(version: int | None) -> dict[str, Any]:
    """Of a Delta table in this version; nothing of what has no versions."""
    from openlineage.client.facet_v2 import dataset_version_dataset, storage_dataset

    if version is None:
        return {}
    return {
        "version": dataset_version_dataset.DatasetVersionDatasetFacet(str(version), producer=_PRODUCER),
        "storage": storage_dataset.StorageDatasetFacet("delta", "parquet", producer=_PRODUCER),
    }
