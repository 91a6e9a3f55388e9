"""Each run as an MLflow run: parameters, figures, input and output table versions, the model version."""

import logging
from collections.abc import Mapping

from scoreline.config.settings import Settings
from scoreline.errors import told
from scoreline.redaction import redacted
from scoreline.registry.client import experiment_id, pointing_at, quiet_mlflow

log = logging.getLogger(__name__)


def log_run(
    settings: Settings,
    *,
    run_id: str,
    state: str,
    params: Mapping[str, object],
    figures: Mapping[str, object],
    tables: Mapping[str, tuple[str, int | None]],
) -> None:
    """Write the MLflow run of a scoring run; a failure to do so is logged, the run's result stands.

    `tables` are name and version of the `input` and the `output`; of `figures` the numbers become metrics.
    """
    try:
        with quiet_mlflow(), pointing_at(settings.tracking_uri, settings.mlflow.registry_uri):
            _log(settings, run_id, state, params, figures, tables)
    except Exception as error:
        log.warning(
            "the result stands, but no MLflow run could be written of it run_id=%s reason=%s", run_id, told(error)
        )
        log.debug("MLflow failed", exc_info=True)


def _log(
    settings: Settings,
    run_id: str,
    state: str,
    params: Mapping[str, object],
    figures: Mapping[str, object],
    tables: Mapping[str, tuple[str, int | None]],
) -> None:
    import mlflow
    from mlflow.data.delta_dataset_source import DeltaDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    experiment = experiment_id(settings.experiment, settings.tracking_uri)
    with mlflow.start_run(experiment_id=experiment, run_name=f"score {run_id}"):
        mlflow.log_params({key: redacted(str(value)) for key, value in params.items()})
        mlflow.log_metrics({k: float(v) for k, v in figures.items() if isinstance(v, int | float)})
        mlflow.set_tags({"scoreline.run_id": run_id, "scoreline.state": state})
        for context, (path, version) in tables.items():
            source = DeltaDatasetSource(path=path, delta_table_version=version)
            digest = "unversioned" if version is None else f"v{version}"
            mlflow.log_input(MetaDataset(source, name=path.rsplit("/", 1)[-1], digest=digest), context=context)
