"""A model version on this machine: the alias turned into one version, its files fetched once and verified if pinned."""

import hashlib
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from scoreline.errors import ConfigurationError, InputError
from scoreline.online.model import version_of
from scoreline.quiet import quiet_mlflow

__all__ = ["FetchedModel", "fetch_model", "folder_sha256"]

_REGISTERED: Final = re.compile(r"models:/(?P<name>[^/@]+)(/(?P<version>\d+)|@(?P<alias>[^/@]+))\Z")


@dataclass(frozen=True)
class FetchedModel:
    """One model version on this machine."""

    folder: Path
    version: str
    sha256: str


def folder_sha256(folder: Path) -> str:
    """One digest over the names and contents of a model's files, without what the download adds beside them."""
    digest = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "registered_model_meta" and "__pycache__" not in path.parts:
            name = path.relative_to(folder).as_posix().encode()
            digest.update(b"%d:%s%d:" % (len(name), name, path.stat().st_size))
            digest.update(path.read_bytes())
    return digest.hexdigest()


def fetch_model(uri: str, *, into: Path, tracking_uri: str | None, sha256: str | None = None) -> FetchedModel:
    """The version that `uri` (`models:/name@alias`, `models:/name/3` or a folder) means now, verified if pinned."""
    folder = _fetched(uri, into, tracking_uri)
    found = folder_sha256(folder)
    if sha256 is not None and found != sha256:
        raise InputError(f"{uri} has sha256 {found}, the configuration pins {sha256}; it was not loaded")
    return FetchedModel(folder, version_of(folder / "artifacts" / "kernel"), found)


def _fetched(uri: str, into: Path, tracking_uri: str | None) -> Path:
    if "://" not in uri and not uri.startswith("models:"):
        if not (Path(uri) / "MLmodel").exists():
            raise InputError(
                f"{uri} holds no MLflow model (no file MLmodel); give models:/name@alias or a model's folder"
            )
        return Path(uri).resolve()
    named = _REGISTERED.match(uri)
    if named is None:
        raise ConfigurationError(f"model: {uri!r} is neither models:/name@alias, models:/name/version nor a folder")
    from mlflow import MlflowClient, artifacts, set_tracking_uri
    from mlflow.exceptions import MlflowException

    if tracking_uri:
        set_tracking_uri(tracking_uri)
    name, version = named["name"], named["version"]
    try:
        with quiet_mlflow():
            version = version or str(MlflowClient().get_model_version_by_alias(name, named["alias"]).version)
            target = into / f"{name}-{version}"
            if not target.exists():
                scratch = into / f".{name}-{version}.{os.getpid()}"
                shutil.rmtree(scratch, ignore_errors=True)
                scratch.mkdir(parents=True)
                artifacts.download_artifacts(artifact_uri=f"models:/{name}/{version}", dst_path=str(scratch))
                scratch.rename(target)
    except MlflowException as error:
        raise InputError(f"{uri}: {error.message}; is the model registered, and tracking_uri right?") from None
    return target.resolve()
