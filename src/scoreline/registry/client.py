"""MLflow without its chatter, and pointed at one store."""

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator
from pathlib import Path

__all__ = ["experiment_id", "pointing_at", "quiet_mlflow", "registry_of"]

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",  # the default of 7 keeps a typing error waiting for minutes
    "GIT_PYTHON_REFRESH": "quiet",
}
_CHATTY = ("mlflow", "alembic")


@contextlib.contextmanager
def quiet_mlflow() -> Iterator[None]:
    """Keep MLflow's and alembic's lines, warnings and telemetry away; what they raise still comes through."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    silence = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(silence), contextlib.redirect_stderr(silence):
        warnings.simplefilter("ignore")
        import mlflow  # noqa: F401  # sets up its loggers; ours come after

        loggers = [logging.getLogger(name) for name in _CHATTY]
        before = [(logger.level, logger.disabled) for logger in loggers]
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        try:
            yield
        finally:
            for logger, (level, disabled) in zip(loggers, before, strict=True):
                logger.setLevel(level)
                logger.disabled = disabled


def registry_of(tracking_uri: str, registry_uri: str | None) -> str:
    """The registry's URI, by MLflow's own default if none is given; never what the process used before."""
    return registry_uri or ("databricks-uc" if tracking_uri == "databricks" else tracking_uri)


@contextlib.contextmanager
def pointing_at(tracking_uri: str, registry_uri: str | None) -> Iterator[None]:
    """MLflow's module functions use these stores inside, and what they used before afterwards."""
    import mlflow

    # What was not set has to be unset again: MLflow then goes on to derive the registry from the tracking store.
    # Both setters write these variables, too.
    before = os.environ.get("MLFLOW_TRACKING_URI"), os.environ.get("MLFLOW_REGISTRY_URI")
    mlflow.set_tracking_uri(tracking_uri)
    mlflow.set_registry_uri(registry_of(tracking_uri, registry_uri))
    try:
        yield
    finally:
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
        if before[1] is None:
            os.environ.pop("MLFLOW_REGISTRY_URI", None)


def experiment_id(name: str, tracking_uri: str) -> str:
    """The experiment of this name; made beside the SQLite file if it is new and MLflow lives in one.

    MLflow's own default for SQLite is a folder `mlruns` wherever the process happens to have been started.
    """
    import mlflow

    found = mlflow.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    place = None
    if tracking_uri.startswith("sqlite:///"):
        place = (Path(tracking_uri.removeprefix("sqlite:///")).absolute().parent / "mlartifacts").as_uri()
    return str(mlflow.create_experiment(name, artifact_location=place))
