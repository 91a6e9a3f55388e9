"""Pin the model once, check that it fits the tables, and say what the workers are to do with it."""

from dataclasses import dataclass

from pyspark.sql import SparkSession
from pyspark.sql import types as T
from pyspark.sql.pandas.types import from_arrow_type, to_arrow_schema

from scoreline.config.settings import Settings
from scoreline.models.signature import Contract, check_contract, check_output_names
from scoreline.models.signature_types import nullable
from scoreline.pipeline.distribute import ship
from scoreline.pipeline.inputs import Inputs
from scoreline.pipeline.scoring_task import scoring_task, verified
from scoreline.registry.files import PinnedModel, download
from scoreline.registry.files import signature as signature_of
from scoreline.registry.versions import pin
from scoreline.scoring.node import Shipment
from scoreline.scoring.task import ScoringTask
from scoreline.sources.rules import ScoringRules
from scoreline.tables import schema
from scoreline.tables.names import BUCKET, HISTORY_HASH, TARGETS, USER_ID

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
    digest = verified(settings.model, model, path)
    signature = signature_of(path)
    named = settings.input.columns if settings.input else []
    inputs.require([*named, *map(str, signature.inputs.input_names() if signature and signature.inputs else [])])
    contract = check_contract(signature, to_arrow_schema(inputs.rows.schema), named=named)
    output_fields = None if contract.kind == "recommender" else _fields(contract)
    if output_fields is not None:
        own = [*schema.staged(keys, []), *schema.recommendations(keys, [])]
        check_output_names(contract.outputs, [*(field.name for field in own), *_WORKING])
    staged = schema.staged(keys, output_fields)
    task = scoring_task(
        path,
        settings,
        rules,
        contract,
        signature,
        carried=(USER_ID, BUCKET, HISTORY_HASH),
        staged=to_arrow_schema(staged),
        digest=digest,
        threads=int(spark.conf.get("spark.task.cpus", "1") or 1),
    )
    shipment = ship(spark, path, shared=settings.model.shared)
    return PreparedModel(model, task, shipment, TARGETS[contract.kind], output_fields, staged)


def _fields(contract: Contract) -> list[T.StructField]:
    return [
        T.StructField(field.name, from_arrow_type(nullable(field.type)), True, {"comment": "output of the model"})
        for field in contract.outputs
    ]
