"""Each run as an MLflow run: parameters, figures, input and output table versions, the model version."""

import logging
from collections.abc import Mapping
from typing import Any

log = logging.getLogger(__name__)


def log_run(
    *,
    tracking_uri: str,
    experiment: str,
    run_id: str,
    params: Mapping[str, Any],
    figures: Mapping[str, Any],
    inputs: tuple[str, int | None],
    output: tuple[str, int],
    state: str,
) -> str | None:
    """Write the MLflow run of a finished scoring run and return its id; a failure is logged, the result stands."""
    from scoreline.quiet import experiment_id, pointing_at, quiet_mlflow

    tables = {"input": inputs, "output": output}
    try:
        with quiet_mlflow(), pointing_at(tracking_uri, None):
            return _log(experiment_id(experiment, tracking_uri), run_id, params, figures, tables, state)
    except Exception as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        log.warning("the result stands, but no MLflow run could be written of it run_id=%s reason=%s", run_id, reason)
        log.debug("MLflow failed", exc_info=True)
        return None


def _log(
    experiment: str,
    run_id: str,
    params: Mapping[str, Any],
    figures: Mapping[str, Any],
    tables: Mapping[str, tuple[str, int | None]],
    state: str,
) -> str:
    import mlflow
    from mlflow.data.delta_dataset_source import DeltaDatasetSource
    from mlflow.data.meta_dataset import MetaDataset

    with mlflow.start_run(experiment_id=experiment, run_name=f"score {run_id}") as active:
        mlflow.log_params(dict(params))
        mlflow.log_metrics({k: float(v) for k, v in figures.items() if isinstance(v, int | float)})
        mlflow.set_tags({"scoreline.run_id": run_id, "scoreline.state": state})
        for context, (path, version) in tables.items():
            source = DeltaDatasetSource(path=path, delta_table_version=version)
            digest = "unversioned" if version is None else f"v{version}"
            mlflow.log_input(MetaDataset(source, name=path.rsplit("/", 1)[-1], digest=digest), context=context)
        return str(active.info.run_id)
