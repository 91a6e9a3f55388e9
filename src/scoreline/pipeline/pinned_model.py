"""Pin the model once, check that it fits the tables, and say what the workers are to do with it."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from pyspark.sql import SparkSession
from pyspark.sql import types as T
from pyspark.sql.pandas.types import from_arrow_type, to_arrow_schema

from scoreline.config.settings import ModelSettings, ScoringSettings, Settings
from scoreline.errors import InputError
from scoreline.hashing import verify
from scoreline.models.signature import Contract, check_contract, check_output_names, checked_params
from scoreline.models.signature_types import nullable
from scoreline.pipeline.distribute import ship
from scoreline.pipeline.inputs import Inputs
from scoreline.registry.files import PinnedModel, download
from scoreline.registry.files import signature as signature_of
from scoreline.registry.versions import pin
from scoreline.scoring.loaded_model import is_shipped
from scoreline.scoring.node import Shipment
from scoreline.scoring.seen import ITEM_IDS, SCORES
from scoreline.scoring.task import OLDER, SOURCE, ScoringTask, WorkerLimits
from scoreline.sources.rules import ScoringRules
from scoreline.tables import schema
from scoreline.tables.names import BUCKET, HISTORY_HASH, TARGETS, USER_ID

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

_WORKING = ("_left", "_new", "_different", "_old")  # columns that stand beside the outputs for the length of a query


@dataclass(frozen=True)
class PreparedModel:
    """One model version, the work of the workers, and the table its results go to; `staged`: its columns meanwhile."""

    model: PinnedModel
    task: ScoringTask
    shipment: Shipment
    target_name: str
    output_fields: list[T.StructField] | None
    staged: T.StructType


def pin_model(
    spark: SparkSession, settings: Settings, keys: schema.Keys, inputs: Inputs, rules: ScoringRules
) -> PreparedModel:
    """Resolve the configured model to one version, fetch it, and check its signature against the input's columns.

    Raises InputError for an unknown model or alias, or a signature that does not fit; no row has been read by then.
    """
    model = pin(
        settings.model.uri,
        tracking_uri=settings.tracking_uri,
        registry_uri=settings.mlflow.registry_uri,
        allow=settings.model.allow,
    )
    path = download(model, settings.model_folder)
    expected = _verified(settings.model, model, path)
    signature = signature_of(path)
    named = settings.input.columns if settings.input else []
    inputs.require([*named, *map(str, signature.inputs.input_names() if signature and signature.inputs else [])])
    contract = check_contract(signature, to_arrow_schema(inputs.rows.schema), named=named)
    output_fields = None if contract.kind == "recommender" else _fields(contract)
    if output_fields is not None:
        own = [*schema.staged(keys, []), *schema.recommendations(keys, [])]
        check_output_names(contract.outputs, [*(field.name for field in own), *_WORKING])
    seen = _seen(contract, rules, from_histories=settings.input is None)
    staged = schema.staged(keys, output_fields)
    task = ScoringTask(
        model_path=str(path),
        kind=contract.kind,
        carried=(USER_ID, BUCKET, HISTORY_HASH),
        inputs=contract.inputs,
        outputs=_outputs(contract, keys),
        staged=to_arrow_schema(staged),
        params=_params(signature, rules.params(contract.params), path),
        k=rules.k,
        seen=seen,
        blocked=rules.blocked,
        allowed=rules.allowed,
        optional=contract.optional | {SOURCE},
        threads=int(spark.conf.get("spark.task.cpus", "1") or 1),
        digest=expected,
        guard=_guard(settings.scoring),
    )
    shipment = ship(spark, path, shared=settings.model.shared)
    return PreparedModel(model, task, shipment, TARGETS[contract.kind], output_fields, staged)


def _params(signature: "ModelSignature | None", given: dict[str, Any], path: Path) -> dict[str, Any]:
    return given if is_shipped(path) else checked_params(signature, given)


def _seen(contract: Contract, rules: ScoringRules, *, from_histories: bool) -> tuple[str, ...]:
    """The columns of what a user has seen: of `user_history` always, of a table of yours if the model takes them."""
    if contract.kind != "recommender" or not rules.exclude_seen:
        return ()
    if from_histories:
        return ITEM_IDS, OLDER
    return (ITEM_IDS,) if ITEM_IDS in contract.inputs else ()


def _verified(given: ModelSettings, model: PinnedModel, path: Path) -> str | None:
    """The digest that the files have, and that workers compare with before they load; None if nobody recorded one."""
    expected = given.sha256 or model.digest
    if expected is None:
        if given.require_digest:
            raise InputError(
                f"{model.uri} has no recorded digest, and model.require_digest asks for one. Promote the version "
                "(scoreline promote records it), or pin it by model.sha256."
            )
        return None
    verify(path, expected)
    return expected


def _guard(given: ScoringSettings) -> WorkerLimits:
    return WorkerLimits(
        batch_seconds=given.batch_timeout.total_seconds() if given.batch_timeout else None,
        row_seconds=given.row_timeout.total_seconds(),
        memory_share=given.worker_memory_share,
    )


def _outputs(contract: Contract, keys: schema.Keys) -> pa.Schema:
    if contract.kind == "tabular":
        return contract.outputs
    fields = [pa.field(ITEM_IDS, pa.list_(keys.item_arrow)), pa.field(SCORES, pa.list_(pa.float32()))]
    if SOURCE in contract.outputs.names:
        fields.append(pa.field(SOURCE, pa.string()))
    return pa.schema(fields)


def _fields(contract: Contract) -> list[T.StructField]:
    return [
        T.StructField(field.name, from_arrow_type(nullable(field.type)), True, {"comment": "output of the model"})
        for field in contract.outputs
    ]
