"""A model version on this machine: the alias turned into one version, its files fetched once and verified.

The registry, the cache and the digest are those of the batch pipeline: what `scoreline promote` recorded counts here.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scoreline.errors import ConfigurationError, InputError
from scoreline.hashing import digest as folder_sha256
from scoreline.hashing import verify
from scoreline.registry.client import quiet_mlflow
from scoreline.registry.files import download
from scoreline.registry.versions import pin
from scoreline_fraud.serving.model import version_of

__all__ = ["FetchedModel", "fetch_model", "folder_sha256"]

_REGISTERED: Final = re.compile(r"models:/[^/@]+(/\d+|@[^/@]+)\Z")


@dataclass(frozen=True)
class FetchedModel:
    """One model version on this machine."""

    folder: Path
    version: str
    sha256: str


def fetch_model(
    uri: str,
    *,
    into: Path,
    tracking_uri: str | None,
    sha256: str | None = None,
    require_digest: bool = False,
    allow: Sequence[str] | None = None,
) -> FetchedModel:
    """The version that `uri` (`models:/name@alias`, `models:/name/3` or a folder) means now.

    Its files are compared with `sha256`, else with the digest recorded when it was promoted. Raises InputError where
    they differ, where `require_digest` is set and there is neither, and for a model that no pattern of `allow` fits.
    """
    remote = uri.startswith("models:") or "://" in uri
    if remote and _REGISTERED.match(uri) is None:
        raise ConfigurationError(f"model: {uri!r} is neither models:/name@alias, models:/name/version nor a folder")
    tracking, registry = _stores(tracking_uri)
    pinned = pin(uri, tracking_uri=tracking, registry_uri=registry, allow=allow)
    # a folder of this machine is served where it is
    folder = (download(pinned, into) if remote else Path(pinned.uri)).resolve()
    found = folder_sha256(folder)
    if sha256 is not None and found != sha256:
        raise InputError(f"{uri} has sha256 {found}, the configuration pins {sha256}; it was not loaded")
    if sha256 is None and pinned.digest is not None:
        verify(folder, pinned.digest)
    if require_digest and sha256 is None and pinned.digest is None:
        raise InputError(
            f"{uri} has no recorded digest, and require_digest asks for one. Promote the version (scoreline promote "
            "records it), or pin it by model_sha256."
        )
    return FetchedModel(folder, version_of(folder / "artifacts" / "kernel"), found)


def _stores(tracking_uri: str | None) -> tuple[str, str | None]:
    """The configured store, which is the registry as well; without one, what MLflow's own settings say."""
    if tracking_uri:
        return tracking_uri, None
    with quiet_mlflow():
        import mlflow

        return mlflow.get_tracking_uri(), mlflow.get_registry_uri()
