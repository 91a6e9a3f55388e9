"""The MLflow model: what `mlflow models serve` loads and calls for each request."""

import gc
import inspect
import json
import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import yaml
from mlflow.pyfunc import PythonModel

from scoreline_fraud.serving.errors import ServingError, told
from scoreline_fraud.serving.features import FEATURES
from scoreline_fraud.serving.kernels import Kernel, load_kernel
from scoreline_fraud.serving.rules import ServingRules, rules_of
from scoreline_fraud.serving.scorer import Scorer
from scoreline_fraud.serving.snapshot import SnapshotSource
from scoreline_fraud.serving.transactions import Answer

__all__ = ["CONTRACT_FILE", "FraudModel", "kernel_of", "version_of"]

_log = logging.getLogger(__name__)
CONTRACT_FILE: Final = "contract.json"


# MLflow warns at every start that it will not check `Any`, and lets no filter of ours near: here that is the point.
with warnings.catch_warnings(record=True):

    class FraudModel(PythonModel):  # type: ignore[misc]  # mlflow is untyped
        """Judges posted transactions.

        `predict` takes `list[Any]`, not `list[Transaction]`: MLflow would check a typed list itself, refuse the whole
        request for one bad row and repeat that row, card number and all, in its error. Rows are checked against
        `scoreline_fraud.serving.transactions.Transaction` here, each for itself, and a bad one is answered "review".
        """

        def load_context(self, context: Any) -> None:
            """Kernel, rules, snapshot and what watches them; a model that cannot serve does not start."""
            rules = rules_of(context.model_config)
            folder = Path(context.artifacts["kernel"])
            source = None
            # A managed service that mounts nothing gets the snapshot inside the model: a new version each night.
            snapshot = rules.features.snapshot or context.artifacts.get("snapshot")
            if snapshot is not None:
                source = SnapshotSource(Path(snapshot), recheck_s=rules.features.recheck_s)
                source.current()
            self.scorer = Scorer(
                kernel=kernel_of(folder),
                source=source,
                rules=rules,
                model_version=rules.model_version or version_of(folder),
                observers=_observers(rules, source),
                shadow=_challenger(rules),
            )
            # What start-up allocated stays for good; else the collector walks all of MLflow's modules again and again.
            gc.collect()
            gc.freeze()

        def predict(self, model_input: list[Any]) -> list[dict[str, Any]]:
            """One answer per posted row."""
            return [dict(answer) for answer in self.answers(model_input)]

        def predict_arrow(self, batch: Any, params: Mapping[str, Any] | None = None) -> Any:
            """The same for a pyarrow RecordBatch of payments with their figures joined, for the batch pipeline."""
            from scoreline_fraud.serving.batch import judged  # pyarrow: not for the server

            return judged(self.scorer, batch, params or {})

        def answers(self, rows: list[Any]) -> list[Answer]:
            """The same, typed."""
            return self.scorer.answers(rows)

    # MLflow asks for predict's parameters on each request; told once, Python need not work them out each time.
    FraudModel.predict.__signature__ = inspect.signature(FraudModel.predict)  # type: ignore[attr-defined]


def kernel_of(folder: Path) -> Kernel:
    """The kernel in a logged folder, if it was trained on the features this code makes."""
    try:
        contract = json.loads((folder / CONTRACT_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ServingError(f"{folder} is not a fraud model's kernel folder: {told(error)}") from None
    if contract["features"] != list(FEATURES):
        different = sorted(set(contract["features"]) ^ set(FEATURES)) or "their order"
        raise ServingError(f"the model was trained on other features than this code makes: {different}; train it again")
    return load_kernel(folder / contract["kernel"])


def version_of(folder: Path) -> str:
    """Name and version as the registry gave them to the downloaded model; its id when it was loaded from a run."""
    for parent in folder.parents:
        meta, model = parent / "registered_model_meta", parent / "MLmodel"
        if meta.exists():
            found = yaml.safe_load(meta.read_text(encoding="utf-8"))
            return f"{found['model_name']}/{found['model_version']}"
        if model.exists():
            return str(yaml.safe_load(model.read_text(encoding="utf-8")).get("model_id") or "unregistered")
    return "unregistered"


def _observers(rules: ServingRules, source: SnapshotSource | None) -> tuple[Any, ...]:
    if rules.metrics.port is None:
        return ()
    from scoreline_fraud.serving import metrics

    metrics.serve_metrics(rules.metrics.host, rules.metrics.port, source)
    return (metrics.observe,)


def _challenger(rules: ServingRules) -> Any:
    """The challenger, or None with a log line: it must never keep the champion from starting."""
    if rules.shadow is None:
        return None
    from scoreline_fraud.serving.shadow import Challenger

    try:
        folder = rules.shadow.model / "artifacts" / "kernel"
        return Challenger(
            kernel_of(folder),
            version=version_of(folder),
            bands=rules.decisions,
            log=rules.shadow.log,
            size=rules.shadow.queue,
            count=_shadow_count(rules),
        )
    except (ServingError, OSError) as error:
        _log.error("challenger=%s not loaded: %s", rules.shadow.model, told(error))
        return None


def _shadow_count(rules: ServingRules) -> Any:
    if rules.metrics.port is None:
        return lambda outcome: None
    from scoreline_fraud.serving.metrics import SHADOW

    return lambda outcome: SHADOW.labels(outcome).inc()
