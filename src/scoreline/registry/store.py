"""What a registry of MLflow says, with errors that say what there is instead."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from scoreline.errors import InputError, told
from scoreline.redaction import without_credentials
from scoreline.registry.client import quiet_mlflow, registry_of
from scoreline.registry.files import PinnedModel
from scoreline.typed import typed

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

__all__ = ["DIGEST_TAG", "TAG", "Registry", "raise_unreachable"]

TAG = "scoreline."
DIGEST_TAG = f"{TAG}sha256"
_MANY = 20


@dataclass(frozen=True)
class Registry:
    """MLflow's client with errors that say what there is. Every call is quiet."""

    client: "MlflowClient"
    where: str

    @classmethod
    def open(cls, tracking_uri: str, registry_uri: str | None) -> "Registry":
        where = registry_of(tracking_uri, registry_uri)
        with quiet_mlflow():
            from mlflow import MlflowClient

            try:
                return cls(MlflowClient(tracking_uri, where), where)
            except Exception as error:  # mlflow's own, or whatever its store raises
                raise_unreachable(where, error)

    def version(self, model_uri: str) -> "ModelVersion":
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
                    raise_unreachable(self.where, error)
                raise self._missing(name, f"alias {alias}" if at else f"version {number}") from error

    def logged(self, model_uri: str, uris: tuple[str, str | None]) -> PinnedModel:
        """A logged model of MLflow 3, which never changes; nobody records a digest of one."""
        with quiet_mlflow():
            try:
                found = self.client.get_logged_model(model_uri.removeprefix("models:/"))
            except Exception as error:
                if not _is_missing(error):
                    raise_unreachable(self.where, error)
                raise InputError(
                    f"MLflow at {without_credentials(uris[0])} has no logged model {model_uri}: correct model.uri, or "
                    f"mlflow.tracking_uri if it was logged elsewhere"
                ) from error
        identity = f"{without_credentials(uris[0])} {found.artifact_location} {found.creation_timestamp}"
        return PinnedModel(found.name, found.model_id, model_uri, found.source_run_id, model_uri, identity, *uris)

    def newest(self, name: str) -> "ModelVersion":
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
                    raise_unreachable(self.where, error)
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
                    raise_unreachable(self.where, error)
                raise InputError(f"MLflow at {self.where} has no run {run_id}: correct model.uri") from error

    def _missing(self, name: str, asked: str) -> InputError:
        """What is not there, and what there is instead."""
        models = {model.name for model in self.client.search_registered_models()}
        if name not in models:
            known = f"it has {', '.join(sorted(models)[:_MANY])}" if models else "it has no model yet"
            return InputError(
                f"the registry at {self.where} has no model {name}; {known}: correct the name, say where it is "
                f"registered (mlflow.tracking_uri), or train and register one ({typed('train')})"
            )
        found = self.client.search_model_versions(_named(name))
        versions = sorted(int(version.version) for version in found)[-_MANY:]
        aliases = self.client.get_registered_model(name).aliases
        listed = ", ".join(f"{alias} (version {version})" for alias, version in sorted(aliases.items()))
        return InputError(
            f"model {name} has no {asked}; it has versions "
            f"{', '.join(map(str, versions)) or 'none'} "
            f"and aliases {listed or 'none'}: correct model.uri, or set the alias ({typed('promote')})"
        )


def _named(name: str) -> str:
    """MLflow's filter for a model's name; its grammar knows no escapes, so a name may have one kind of quotes."""
    if "'" in name and '"' in name:
        raise InputError(f"model name {name!r} has both kinds of quotes, which MLflow cannot search for: rename it")
    return f'name="{name}"' if "'" in name else f"name='{name}'"


def _is_missing(error: Exception) -> bool:
    return getattr(error, "error_code", "") in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


def raise_unreachable(where: str, error: Exception) -> NoReturn:
    said = told(error)[:200].rstrip(".")
    raise InputError(
        f"MLflow at {where} cannot be reached: {said}. Check mlflow.tracking_uri and mlflow.registry_uri, "
        f"the network, and the credentials in the environment"
    ) from error
