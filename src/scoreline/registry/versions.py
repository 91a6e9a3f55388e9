"""MLflow's registry: an alias resolved once to one version, and moved unless that would be a step back."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from getpass import getuser
from math import isnan
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import urlsplit
from urllib.request import url2pathname

from scoreline.errors import InputError, told
from scoreline.hashing import digest, verify
from scoreline.redaction import without_credentials
from scoreline.registry.client import quiet_mlflow, registry_of
from scoreline.registry.files import PinnedModel, download, signature
from scoreline.report import Report

__all__ = [
    "TAG",
    "Champion",
    "PinnedModel",
    "Promotion",
    "champion",
    "download",
    "pin",
    "promote",
    "quiet_mlflow",
    "require_reachable",
    "signature",
]

TAG = "scoreline."
DIGEST_TAG = f"{TAG}sha256"
_MANY = 20
_URIS = (
    "models:/name@alias, models:/name/3, the model_uri that log_model returned (models:/m-...), runs:/<run id>/<name>, "
    "or a folder that mlflow.pyfunc.save_model wrote"
)


@dataclass(frozen=True)
class Promotion(Report):
    """An alias, the version it points to now, and the one it pointed to before (None: the alias is new)."""

    name: str
    alias: str
    version: str
    previous: str | None

    def __str__(self) -> str:
        if self.previous == self.version:
            return f"{self.name}@{self.alias} is version {self.version} already"
        before = f" (was version {self.previous})" if self.previous else ""
        return f"{self.name}@{self.alias} is version {self.version}{before}"


@dataclass(frozen=True)
class Champion:
    """The version that an alias points to, and what it was made by; estimator: None if nobody wrote that down."""

    version: str
    estimator: str | None
    params: Mapping[str, Any]


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
        return _Registry.open(*uris).logged(model_uri, uris)
    if model_uri.startswith("models:/"):
        registry = _Registry.open(*uris)
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
        _Registry.open(*uris).require_run(run_id)
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
    registry = _Registry.open(tracking_uri, registry_uri)
    with quiet_mlflow():
        try:
            registry.client.search_registered_models(max_results=1)
        except Exception as error:  # mlflow's own, or whatever its store raises
            _raise_unreachable(registry.where, error)


def champion(name: str, alias: str, *, tracking_uri: str, registry_uri: str | None = None) -> Champion | None:
    """What the alias points to; None if there is no such model or alias yet."""
    registry = _Registry.open(tracking_uri, registry_uri)
    version = registry.alias(name, alias)
    if version is None:
        return None
    tags = registry.version(f"models:/{name}/{version}").tags or {}
    params = tags.get(f"{TAG}params")
    return Champion(version, tags.get(f"{TAG}estimator") if params else None, json.loads(params or "{}"))


def promote(
    name: str,
    version: str | None,
    alias: str,
    *,
    metric: str = "ndcg_at_10",
    margin: float = 0.0,
    min_test_users: int = 20,
    force: bool = False,
    tracking_uri: str,
    registry_uri: str | None = None,
    folder: Path | None = None,
) -> Promotion:
    """Point `alias` of model `name` to `version` (None: the newest).

    Records the digest of the version's files, which are fetched to `folder` for that; runs compare with it. A digest
    that was recorded before stays: files that have changed since are refused with `InputError`.

    Refused with `InputError`, unless `force`, when the version's `metric` is not known, rests on fewer than
    `min_test_users`, was not compared with the version the alias points to now on the same events, or is below
    (1 - margin) times that one's. Who, when and from which version goes into the version's tags. A version that the
    alias points to already keeps them.
    """
    registry = _Registry.open(tracking_uri, registry_uri)
    candidate = registry.version(f"models:/{name}/{version}") if version else registry.newest(name)
    chosen, previous = str(candidate.version), registry.alias(name, alias)
    if previous != chosen and not force:
        _require_measured(candidate, metric=metric, least=min_test_users)
        if previous is not None:
            present = registry.version(f"models:/{name}/{previous}")
            _require_no_worse(candidate, present, metric=metric, margin=margin)
    recorded = _recorded_digest(name, chosen, folder, tracking_uri=tracking_uri, registry_uri=registry_uri)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    record = {"by": _who(), "at": now, "from": previous or "", "forced": str(force).lower()}
    tags = {f"{TAG}promoted_{key}": value for key, value in record.items()} if previous != chosen else {}
    registry.move(name, alias, chosen, {**tags, **recorded})
    return Promotion(name, alias, chosen, previous)


def _recorded_digest(
    name: str, version: str, folder: Path | None, *, tracking_uri: str, registry_uri: str | None
) -> dict[str, str]:
    if folder is None:
        return {}
    pinned = pin(f"models:/{name}/{version}", tracking_uri=tracking_uri, registry_uri=registry_uri)
    files = download(pinned, folder)
    if pinned.digest is not None:
        verify(files, pinned.digest)
        return {}
    return {DIGEST_TAG: digest(files)}


def _require_measured(candidate: Any, *, metric: str, least: int) -> None:
    figure, users = _figure(candidate, metric), _figure(candidate, "test_users") or 0.0
    if figure is not None and users >= least:
        return
    found = (
        f"its {metric} is not known"
        if figure is None
        else f"its {metric} rests on {users:.0f} users, at least {least} are needed (model.train.min_test_users)"
    )
    raise InputError(
        f"version {candidate.version} of {candidate.name} stays registered and was not promoted: {found}. Train on "
        f"more events or by another split (model.train.split), or promote it all the same with --force"
    )


def _require_no_worse(candidate: Any, present: Any, *, metric: str, margin: float) -> None:
    """Compare two versions by figures of the same events: those that one of them was compared with when it was made."""
    if candidate.tags.get(f"{TAG}champion") == str(present.version):
        new, old = _figure(candidate, metric), _figure(candidate, f"champion_{metric}")
    elif present.tags.get(f"{TAG}champion") == str(candidate.version):
        new, old = _figure(present, f"champion_{metric}"), _figure(present, metric)
    else:
        new, old = None, None
    if new is None or old is None:
        raise InputError(
            f"version {candidate.version} of {candidate.name} stays registered and was not promoted: it was never "
            f"compared on the same events with version {present.version}, which the alias points to now. Train again: "
            "scoreline train compares with that version, if it knows how it was made. Or promote it all the same with "
            "--force"
        )
    if new >= old * (1 - margin):
        return
    raise InputError(
        f"version {candidate.version} of {candidate.name} stays registered and was not promoted: its {metric} is "
        f"{new:.4f}, that of version {present.version}, which the alias points to now, on the same events is {old:.4f} "
        f"(margin {margin:.0%}). Promote it all the same with --force, or keep the present one"
    )


def _figure(version: Any, name: str) -> float | None:
    """A number from the tags of a version; None if there is none, or NaN."""
    try:
        value = float((version.tags or {})[f"{TAG}{name}"])
    except (KeyError, ValueError):
        return None
    return None if isnan(value) else value


def _who() -> str:
    try:
        return getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "unknown"


@dataclass(frozen=True)
class _Registry:
    """MLflow's client with errors that say what there is. Every call is quiet."""

    client: Any
    where: str

    @classmethod
    def open(cls, tracking_uri: str, registry_uri: str | None) -> "_Registry":
        where = registry_of(tracking_uri, registry_uri)
        with quiet_mlflow():
            from mlflow import MlflowClient

            try:
                return cls(MlflowClient(tracking_uri, where), where)
            except Exception as error:  # mlflow's own, or whatever its store raises
                _raise_unreachable(where, error)

    def version(self, model_uri: str) -> Any:
        """The record of `models:/name@alias` or `models:/name/3`."""
        name, at, alias = model_uri.removeprefix("models:/").partition("@")
        number = ""
        if not at:
            name, _, number = name.rpartition("/")
            if number == "latest":
                raise InputError(
                    f"{model_uri} names no version: the latest is whatever was registered last, tested or not. Write "
                    f"the number, or models:/{name}@alias"
                )
            if not name or not number.isdecimal():
                raise InputError(f"{model_uri} names no version: write models:/name@alias or models:/name/3")
        with quiet_mlflow():
            try:
                if at:
                    return self.client.get_model_version_by_alias(name, alias)
                return self.client.get_model_version(name, number)
            except Exception as error:
                if not _is_missing(error):
                    _raise_unreachable(self.where, error)
                raise self._missing(name, f"alias {alias}" if at else f"version {number}") from error

    def logged(self, model_uri: str, uris: tuple[str, str | None]) -> PinnedModel:
        """A logged model of MLflow 3, which never changes; nobody records a digest of one."""
        with quiet_mlflow():
            try:
                found = self.client.get_logged_model(model_uri.removeprefix("models:/"))
            except Exception as error:
                if not _is_missing(error):
                    _raise_unreachable(self.where, error)
                raise InputError(
                    f"MLflow at {without_credentials(uris[0])} has no logged model {model_uri}: correct model.uri, or "
                    f"mlflow.tracking_uri if it was logged elsewhere"
                ) from error
        identity = f"{without_credentials(uris[0])} {found.artifact_location} {found.creation_timestamp}"
        return PinnedModel(found.name, found.model_id, model_uri, found.source_run_id, model_uri, identity, *uris)

    def newest(self, name: str) -> Any:
        """The record of the highest version."""
        with quiet_mlflow():
            versions = self.client.search_model_versions(_named(name))
            if not versions:
                raise self._missing(name, "version")
        return max(versions, key=lambda found: int(found.version))

    def alias(self, name: str, alias: str) -> str | None:
        """The version an alias points to, None if there is no such alias or model."""
        with quiet_mlflow():
            try:
                found = self.client.get_registered_model(name).aliases.get(alias)
            except Exception as error:
                if not _is_missing(error):
                    _raise_unreachable(self.where, error)
                return None
        return None if found is None else str(found)

    def move(self, name: str, alias: str, version: str, tags: dict[str, str]) -> None:
        """Tag the version, then point the alias to it: who follows the alias finds the digest."""
        with quiet_mlflow():
            for key, value in tags.items():
                self.client.set_model_version_tag(name, version, key, value)
            self.client.set_registered_model_alias(name, alias, version)

    def require_run(self, run_id: str) -> None:
        """Raise unless there is a run of this id."""
        with quiet_mlflow():
            try:
                self.client.get_run(run_id)
            except Exception as error:
                if not _is_missing(error):
                    _raise_unreachable(self.where, error)
                raise InputError(f"MLflow at {self.where} has no run {run_id}: correct model.uri") from error

    def _missing(self, name: str, asked: str) -> InputError:
        """What is not there, and what there is instead."""
        models = {model.name for model in self.client.search_registered_models()}
        if name not in models:
            known = f"it has {', '.join(sorted(models)[:_MANY])}" if models else "it has no model yet"
            return InputError(
                f"the registry at {self.where} has no model {name}; {known}: correct the name, say where it is "
                "registered (mlflow.tracking_uri), or train and register one (scoreline train)"
            )
        found = self.client.search_model_versions(_named(name))
        versions = sorted(int(version.version) for version in found)[-_MANY:]
        aliases = self.client.get_registered_model(name).aliases
        listed = ", ".join(f"{alias} (version {version})" for alias, version in sorted(aliases.items()))
        return InputError(
            f"model {name} has no {asked}; it has versions "
            f"{', '.join(map(str, versions)) or 'none'} "
            f"and aliases {listed or 'none'}: correct model.uri, or set the alias (scoreline promote)"
        )


def _named(name: str) -> str:
    """MLflow's filter for a model's name; its grammar knows no escapes, so a name may have one kind of quotes."""
    if "'" in name and '"' in name:
        raise InputError(f"model name {name!r} has both kinds of quotes, which MLflow cannot search for: rename it")
    return f'name="{name}"' if "'" in name else f"name='{name}'"


def _is_missing(error: Exception) -> bool:
    return getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def _raise_unreachable(where: str, error: Exception) -> NoReturn:
    said = told(error)[:200].rstrip(".")
    raise InputError(
        f"MLflow at {where} cannot be reached: {said}. Check mlflow.tracking_uri and mlflow.registry_uri, "
        f"the network, and the credentials in the environment"
    ) from error
