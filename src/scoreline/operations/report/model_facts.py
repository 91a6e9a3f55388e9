"""What is known of a model's version: its figures on the events held out, and where its page in MLflow is."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from scoreline.config.settings import Settings
from scoreline.errors import ScorelineError, told
from scoreline.operations.report.facts import ModelFacts
from scoreline.redaction import without_credentials
from scoreline.registry.client import quiet_mlflow, registry_of
from scoreline.registry.store import Registry


def model_facts(settings: Settings, name: str, version: str, trained: Mapping[str, Any] | None) -> ModelFacts:
    """The version of a registered model; `unknown` says why there is nothing to say of its figures.

    trained: what the run log says of its training, None if that is not there: then MLflow is asked, whose import alone
    takes seconds.
    """
    place = registry_of(settings.tracking_uri, settings.mlflow.registry_uri)
    is_web = place.startswith(("http://", "https://"))
    link = (
        f"{without_credentials(place).rstrip('/')}/#/models/{quote(name)}/versions/{quote(version)}" if is_web else None
    )
    if not version.isdecimal():
        return ModelFacts(name, version, unknown="it is in no registry")
    if trained is not None and isinstance(figures := trained.get("offline"), Mapping):
        return ModelFacts(name, version, trained.get("mlflow_run"), figures, link)
    try:
        registry = Registry.open(settings.tracking_uri, settings.mlflow.registry_uri)
        run_id = registry.version(f"models:/{name}/{version}").run_id or None
        metrics = {} if run_id is None else _metrics(registry, run_id)
    except ScorelineError as error:
        return ModelFacts(name, version, link=link, unknown=str(error))
    return ModelFacts(name, version, run_id, metrics, link, None if metrics else "its run in MLflow has no figures")


def _metrics(registry: Registry, run_id: str) -> dict[str, float]:
    with quiet_mlflow():
        try:
            return dict(registry.client.get_run(run_id).data.metrics)
        except Exception as error:  # mlflow's own, or whatever its store raises: the page stands without
            raise ScorelineError(f"MLflow did not give the run that made it: {told(error)}") from error
