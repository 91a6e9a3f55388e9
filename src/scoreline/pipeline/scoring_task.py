"""What the workers are to do with a model: by its signature, the rules and the settings. Needs no Spark."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scoreline.config.settings import ModelSettings, ScoringSettings, Settings
from scoreline.config.sources import KeyType
from scoreline.errors import InputError
from scoreline.hashing import verify
from scoreline.models.signature import Contract, checked_params
from scoreline.registry.files import PinnedModel
from scoreline.scoring.loaded_model import is_shipped
from scoreline.scoring.seen import ITEM_IDS, SCORES
from scoreline.scoring.task import OLDER, SOURCE, ScoringTask, WorkerLimits
from scoreline.sources.rules import ScoringRules
from scoreline.tables.names import KEY_TYPES
from scoreline.typed import typed

if TYPE_CHECKING:
    from mlflow.models import ModelSignature


def scoring_task(
    path: Path,
    settings: Settings,
    rules: ScoringRules,
    contract: Contract,
    signature: "ModelSignature | None",
    *,
    carried: tuple[str, ...],
    staged: pa.Schema,
    digest: str | None,
    threads: int = 1,
) -> ScoringTask:
    """The task of the model in the folder `path`, by its contract with the input; `digest`: what its files must have.

    Raises InputError for a param that the model does not declare, or of another type.
    """
    return ScoringTask(
        model_path=str(path),
        kind=contract.kind,
        carried=carried,
        inputs=contract.inputs,
        outputs=_outputs(contract, settings.keys.item_id),
        staged=staged,
        params=_params(signature, rules.params(contract.params), path),
        k=rules.k,
        seen=_seen(contract, rules, from_histories=settings.input is None),
        blocked=rules.blocked,
        allowed=rules.allowed,
        optional=contract.optional | {SOURCE},
        threads=threads,
        digest=digest,
        guard=guard(settings.scoring),
    )


def _params(signature: "ModelSignature | None", given: dict[str, Any], path: Path) -> dict[str, Any]:
    return given if is_shipped(path) else checked_params(signature, given)


def _seen(contract: Contract, rules: ScoringRules, *, from_histories: bool) -> tuple[str, ...]:
    """The columns of what a user has seen: of `user_history` always, of a table of yours if the model takes them."""
    if contract.kind != "recommender" or not rules.exclude_seen:
        return ()
    if from_histories:
        return ITEM_IDS, OLDER
    return (ITEM_IDS,) if ITEM_IDS in contract.inputs else ()


def verified(given: ModelSettings, model: PinnedModel, path: Path) -> str | None:
    """The digest that the files have, and that workers compare with before they load; None if nobody recorded one."""
    expected = given.sha256 or model.digest
    if expected is None:
        if given.require_digest:
            raise InputError(
                f"{model.uri} has no recorded digest, and model.require_digest asks for one. Promote the version "
                f"({typed('promote')}), which records it, or pin it by model.sha256."
            )
        return None
    verify(path, expected)
    return expected


def guard(given: ScoringSettings) -> WorkerLimits:
    return WorkerLimits(
        batch_seconds=given.batch_timeout.total_seconds() if given.batch_timeout else None,
        row_seconds=given.row_timeout.total_seconds(),
        memory_share=given.worker_memory_share,
    )


def _outputs(contract: Contract, kind: KeyType) -> pa.Schema:
    if contract.kind == "tabular":
        return contract.outputs
    fields = [pa.field(ITEM_IDS, pa.list_(KEY_TYPES[kind])), pa.field(SCORES, pa.list_(pa.float32()))]
    if SOURCE in contract.outputs.names:
        fields.append(pa.field(SOURCE, pa.string()))
    return pa.schema(fields)
