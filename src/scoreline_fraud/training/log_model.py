"""Logging a trained model to MLflow, so that it can be served by `mlflow models serve` without this project."""

import json
import shutil
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from scoreline.registry.client import quiet_mlflow
from scoreline_fraud import serving
from scoreline_fraud.serving.batch import INPUTS, OUTPUTS, PARAM
from scoreline_fraud.serving.features import FEATURES, Floats
from scoreline_fraud.serving.kernels import OnnxKernel
from scoreline_fraud.serving.model import CONTRACT_FILE
from scoreline_fraud.serving.rules import MetricsRules, ServingRules
from scoreline_fraud.serving.transactions import Transaction
from scoreline_fraud.training.compiling import TOLERANCE, difference, fast_kernel
from scoreline_fraud.training.estimators import Classifier

__all__ = ["log_fraud_model"]

_TRAVELS = Path(serving.__file__).parent


def log_fraud_model(
    estimator: Classifier,
    sample: Floats,
    *,
    name: str,
    rules: ServingRules,
    alias: str | None = None,
    metrics: Mapping[str, float] | None = None,
    params: Mapping[str, object] | None = None,
    snapshot: Path | None = None,
) -> str:
    """Log and register the estimator's fast kernel, checked against it on `sample`; the version's number.

    Thresholds and limits of `rules` are logged as defaults; paths and ports are not, they are a server's.
    `snapshot` puts a feature snapshot inside the model, for services that can mount none.
    """
    import mlflow

    kernel = fast_kernel(estimator, sample)
    off = difference(kernel, estimator.predict_proba(sample)[:, 1], sample)
    with quiet_mlflow(), tempfile.TemporaryDirectory() as scratch, mlflow.start_run(run_name=name):
        mlflow.log_params(dict(params or {}) | {"kernel": type(kernel).__name__})
        mlflow.log_metrics(dict(metrics or {}) | {"kernel_difference": off})
        folder = Path(scratch) / "kernel"
        folder.mkdir()
        contract = {
            "kernel": kernel.save(folder).name,
            "features": list(FEATURES),
            "tolerance": TOLERANCE,
            "transaction": Transaction.model_json_schema(),
        }
        (folder / CONTRACT_FILE).write_text(json.dumps(contract, indent=2), encoding="utf-8")
        info = mlflow.pyfunc.log_model(
            name="model",
            python_model=str(_TRAVELS / "served.py"),
            artifacts={"kernel": str(folder)} | ({"snapshot": str(snapshot.resolve())} if snapshot else {}),
            code_paths=[str(_serving_code(Path(scratch)))],
            model_config=_of_the_model(rules).model_dump(mode="json"),
            metadata={"arrow_signature": _arrow_signature()},
            input_example=[_example()],
            pip_requirements=_requirements(onnx=isinstance(kernel, OnnxKernel)),
            registered_model_name=name,
        )
    version = str(info.registered_model_version)
    if alias:
        mlflow.MlflowClient().set_registered_model_alias(name, alias, version)
    return version


def _of_the_model(rules: ServingRules) -> ServingRules:
    """Without what belongs to one machine: those come by `SERVING_MODEL_CONFIG` where the model is served."""
    features = rules.features.model_copy(update={"snapshot": None})
    return rules.model_copy(update={"features": features, "metrics": MetricsRules(), "shadow": None})


def _arrow_signature() -> dict[str, object]:
    """What the batch pipeline reads as the model's contract (`scoreline.registry.files.signature`)."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, ParamSchema, ParamSpec, Schema
    from mlflow.types.schema import Array

    kinds = {pa.float64(): DataType.double, pa.string(): DataType.string, pa.list_(pa.string()): Array(DataType.string)}
    inputs = [ColSpec(DataType[kind], name) for name, kind in INPUTS.items()]
    outputs = [ColSpec(kinds[f.type], f.name, required=f.name in {"decision", "reasons"}) for f in OUTPUTS]
    params = ParamSchema([ParamSpec(PARAM, DataType.string, "{}")])
    found: dict[str, object] = ModelSignature(Schema(inputs), Schema(outputs), params).to_dict()
    return found


def _serving_code(scratch: Path) -> Path:
    """`scoreline_fraud.serving` alone, and the packages around it: nothing else of this project is in a model."""
    target = scratch / "scoreline_fraud"
    shutil.copytree(_TRAVELS, target / "serving", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(_TRAVELS.parent / "__init__.py", target)
    return target


def _example() -> dict[str, object]:
    return {
        "transaction_id": "t-1",
        "card_id": "c-1",
        "terminal_id": "m-1",
        "amount": 12.5,
        "occurred_at": datetime.now(UTC).replace(microsecond=0).isoformat(),
        "card_count_24h": 2,
        "card_amount_24h": 40.0,
    }


def _requirements(*, onnx: bool) -> list[str]:
    from importlib.metadata import version

    names = ["mlflow", "numpy", "prometheus-client", "pydantic", "PyYAML", "uvicorn", "uvloop", "httptools"]
    return [f"{name}=={version(name)}" for name in [*names, *(["onnxruntime"] if onnx else [])]]
