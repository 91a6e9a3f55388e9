"""MLflow's registry: an alias resolved once to one version, fetched, and moved with a reason on record."""

import contextlib
import getpass
import hashlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from scoreline.errors import InputError

__all__ = ["PinnedModel", "download", "pin", "promote", "quiet_mlflow", "signature"]

_METRIC_TAG = "scoreline."


@dataclass(frozen=True)
class PinnedModel:
    """One immutable version of a model.

    name, version: as registered; a run's model has the run id as version, a folder the digest of its files.
    uri: what to load, without an alias. source_uri: what was asked for. run_id: the run that logged it, if any.
    """

    name: str
    version: str
    uri: str
    run_id: str | None
    source_uri: str


@contextlib.contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Without MLflow's and alembic's chatter, telemetry and warnings; what it raises still comes through."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
    chatty = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    levels = [logger.level for logger in chatty]
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        import mlflow  # noqa: F401  # sets the level of its logger when it is imported

        for logger in chatty:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(chatty, levels, strict=True):
                logger.setLevel(level)


def pin(model_uri: str, *, tracking_uri: str, registry_uri: str | None = None) -> PinnedModel:
    """The one version that `model_uri` means now.

    model_uri: `models:/name@alias`, `models:/name/3`, `runs:/<run id>/<path>`, or a folder with an MLflow model.
    Raises `InputError` for what is not there, saying what is.
    """
    if model_uri.startswith("models:/"):
        with quiet_mlflow():
            return _pin_registered(model_uri, _client(tracking_uri, registry_uri))
    if model_uri.startswith("runs:/"):
        with quiet_mlflow():
            return _pin_run(model_uri, _client(tracking_uri, registry_uri))
    return _pin_folder(model_uri)


def download(model: PinnedModel, into: Path, *, tracking_uri: str, registry_uri: str | None = None) -> Path:
    """The folder with the model's files, fetched to `into`/name/version unless it is there already."""
    ...
