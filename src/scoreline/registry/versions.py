"""An address of a model, resolved once to one version."""

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import url2pathname

from scoreline.errors import InputError
from scoreline.hashing import digest
from scoreline.redaction import without_credentials
from scoreline.registry.client import quiet_mlflow
from scoreline.registry.files import PinnedModel
from scoreline.registry.store import DIGEST_TAG, Registry, raise_unreachable

__all__ = ["pin", "require_reachable"]

_URIS = (
    "models:/name@alias, models:/name/3, the model_uri that log_model returned (models:/m-...), runs:/<run id>/<name>, "
    "or a folder that mlflow.pyfunc.save_model wrote"
)


def pin(
    model_uri: str, *, tracking_uri: str, registry_uri: str | None = None, allow: Sequence[str] | None = None
) -> PinnedModel:
    """The one version that `model_uri` means now.

    model_uri: `models:/name@alias`, `models:/name/3`, `models:/m-<id>` (a logged model), `runs:/<run id>/<name>`, or a
    folder with an MLflow model; one of the patterns `allow` has to fit it, if given. Raises `InputError` for what is
    not allowed, and for what is not there, saying what is.
    """
    _require_allowed(model_uri, allow)
    uris = (tracking_uri, registry_uri)
    if model_uri.startswith("models:/m-") and "/" not in model_uri.removeprefix("models:/"):
        return Registry.open(*uris).logged(model_uri, uris)
    if model_uri.startswith("models:/"):
        registry = Registry.open(*uris)
        found = registry.version(model_uri)
        uri = f"models:/{found.name}/{found.version}"
        # a registry says itself what its sources and times are: only with its place is a version one
        identity = f"{without_credentials(registry.where)} {found.source} {found.creation_timestamp}"
        recorded = (found.tags or {}).get(DIGEST_TAG)
        run_id = found.run_id or None
        return PinnedModel(found.name, str(found.version), uri, run_id, model_uri, identity, *uris, digest=recorded)
    if model_uri.startswith("runs:/"):
        run_id, _, path = model_uri.removeprefix("runs:/").partition("/")
        if not path:
            raise InputError(f"{model_uri} names no model of the run: write runs:/<run id>/<name it was logged under>")
        Registry.open(*uris).require_run(run_id)
        return PinnedModel(path, run_id, model_uri, run_id, model_uri, model_uri, *uris)
    folder = _folder(model_uri)
    found_digest = digest(folder)
    return PinnedModel(folder.name, found_digest[:12], str(folder), None, model_uri, found_digest, *uris)


def _folder(model_uri: str) -> Path:
    """The folder of a path or a file: URI; raises InputError if there is no model in it, or it is no folder's name."""
    is_file = model_uri.startswith("file:/")
    if re.match(r"[a-z][a-z0-9+.-]+:/", model_uri) and not is_file:
        raise InputError(
            f"{model_uri} is a place where files are kept and names no model of MLflow, so its version is nobody's: "
            f"give {_URIS}"
        )
    path = url2pathname(urlsplit(model_uri).path) if is_file else model_uri
    folder = Path(path).expanduser().absolute()
    if not (folder / "MLmodel").is_file():
        raise InputError(f"{model_uri} is no MLflow model: there is no {folder / 'MLmodel'}. Give {_URIS}")
    return folder


def _require_allowed(model_uri: str, allow: Sequence[str] | None) -> None:
    if allow is not None and not any(fnmatchcase(model_uri, pattern) for pattern in allow):
        raise InputError(
            f"model {model_uri} is not allowed here: model.allow has {', '.join(allow) or 'nothing'}. A model is code; "
            "add its URI to the list in the configuration file if you trust who writes there"
        )


def require_reachable(tracking_uri: str, registry_uri: str | None = None) -> None:
    """Raise `InputError` if nobody answers: better before a model is trained than after."""
    registry = Registry.open(tracking_uri, registry_uri)
    with quiet_mlflow():
        try:
            registry.client.search_registered_models(max_results=1)
        except Exception as error:  # mlflow's own, or whatever its store raises
            raise_unreachable(registry.where, error)
