"""What a published row was made from: its history, its model and the rules, of the versions that the run had pinned."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from scoreline.config.settings import Settings
from scoreline.errors import InputError, RunFailed
from scoreline.models.signature import check_contract
from scoreline.pipeline.scoring_task import scoring_task, verified
from scoreline.registry.files import PinnedModel, download
from scoreline.registry.files import signature as signature_of
from scoreline.registry.versions import pin
from scoreline.scoring.task import ScoringTask
from scoreline.sources.rules import ScoringRules, read_rules
from scoreline.tables.commit_note import Publication
from scoreline.tables.names import HISTORY_HASH, KEY_TYPES, OLDER, USER_ID
from scoreline.tables.reading import Readers

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = ["PinnedRow", "pinned_row"]


@dataclass(frozen=True)
class PinnedRow:
    """What there still is of it; None is gone, and `gone` says each in a sentence.

    history: the user's row of `user_history`. task: as the workers had it, but for what is staged: by the rules of
    today, which are those of the run unless `other_rules`. folder: of the model.
    """

    history: pa.Table | None
    folder: Path | None
    task: ScoringTask | None
    rules: ScoringRules | None
    other_rules: bool
    gone: tuple[str, ...]


def pinned_row(readers: Readers, row: Mapping[str, Any], made: Publication | None) -> PinnedRow:
    """The inputs of a row of `recommendations`; `made`: the note of the commit of the run that made it, if it is known.

    The files of the model are compared with their digest before anything of them is loaded.
    """
    settings, gone = readers.settings, []
    history = _history(readers, row, made)
    if history is None:
        version = "a version that nobody wrote down" if made is None else f"version {made.input_version}"
        gone.append(
            f"The history that the list was made from is not there any more (user_history {version}; vacuum removes "
            "what is old, and the history has changed since)."
        )
    try:
        rules = read_rules(lambda: _session(readers), settings.scoring, settings.keys.item_id)
    except (InputError, RunFailed) as error:
        rules = None
        gone.append(f"The rules cannot be read: {error}")
    folder, task = None, None
    try:
        model = _model(settings, row)
        folder = download(model, settings.model_folder)
        digest = verified(settings.model, model, folder)
        if history is not None and rules is not None:
            task = _task(folder, settings, rules, history.schema, digest)
    except InputError as error:
        folder = None
        why, model_of = str(error).split(";")[0].rstrip("."), f"{row['model_name']} version {row['model_version']}"
        gone.append(f"The model that made the list, {model_of}, cannot be asked: {why}.")
    other = rules is not None and rules.hash != row["rules_hash"]
    return PinnedRow(history, folder, task, rules, other, tuple(gone))


def _session(readers: Readers) -> "SparkSession":
    from scoreline.engine.choice import open_session

    return open_session(readers.settings, readers.spark)


def _history(readers: Readers, row: Mapping[str, Any], made: Publication | None) -> pa.Table | None:
    """The user's row with the hash that the list was made from: of the run's version, or of the newest."""
    table = readers.table("user_history")
    pinned = [] if made is None or made.input_version is None else [made.input_version]
    for version in (*pinned, None):
        try:
            found = table.rows(where={USER_ID: [row[USER_ID]]}, version=version)
        except (InputError, RunFailed):  # the files of a version are gone, or the table was made anew
            continue
        if found.num_rows == 1 and found[HISTORY_HASH][0].as_py() == row[HISTORY_HASH]:
            return _with_older(found, readers.settings)
    return None


def _with_older(history: pa.Table, settings: Settings) -> pa.Table:
    """A table that no ingest has touched since an earlier version of ours knows of nothing beyond the histories."""
    if OLDER in history.column_names:
        return history
    return history.append_column(OLDER, pa.nulls(1, pa.list_(KEY_TYPES[settings.keys.item_id])))


def _model(settings: Settings, row: Mapping[str, Any]) -> PinnedModel:
    """The version that made the row: the configured one if that is it, else the one of its number or id."""
    wanted = str(row["model_name"]), str(row["model_version"])
    uris: dict[str, Any] = {
        "tracking_uri": settings.tracking_uri,
        "registry_uri": settings.mlflow.registry_uri,
        "allow": settings.model.allow,
    }
    failed: InputError | None = None
    try:
        configured = pin(settings.model.uri, **uris)
        if (configured.name, configured.version) == wanted:
            return configured
    except InputError as error:
        failed = error
    if (uri := _address(settings.model.uri, *wanted)) is None:
        raise failed or InputError(f"{settings.model.uri} has another model now")
    return pin(uri, **uris)


def _address(configured: str, name: str, version: str) -> str | None:
    """The URI of one version for ever; None of a folder, which has the model that it has now."""
    if not configured.startswith(("models:/", "runs:/")):
        return None
    if version.isdecimal():
        return f"models:/{name}/{version}"
    return f"models:/{version}" if version.startswith("m-") else f"runs:/{version}/{name}"


def _task(folder: Path, settings: Settings, rules: ScoringRules, columns: pa.Schema, digest: str | None) -> ScoringTask:
    signature = signature_of(folder)
    contract = check_contract(signature, columns)
    if contract.kind != "recommender":
        raise InputError(f"the model in {folder} is no recommender")
    listed = pa.struct([("item_id", KEY_TYPES[settings.keys.item_id]), ("score", pa.float32())])
    staged = pa.schema(
        [
            (USER_ID, KEY_TYPES[settings.keys.user_id]),
            *((name, pa.string()) for name in ("outcome", "source", "code", "message")),
            ("recommendations", pa.list_(listed)),
        ]
    )
    return scoring_task(folder, settings, rules, contract, signature, carried=(USER_ID,), staged=staged, digest=digest)
