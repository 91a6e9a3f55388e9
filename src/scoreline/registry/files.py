"""The files of one model version: fetched whole, once, to a folder that is its own."""

import hashlib
import os
import re
import shutil
import tempfile
import time
from dataclasses import dataclass
from errno import ENOSPC
from pathlib import Path
from typing import TYPE_CHECKING

from scoreline.errors import InputError, told
from scoreline.hashing import digest
from scoreline.redaction import redacted
from scoreline.registry.client import pointing_at, quiet_mlflow

if TYPE_CHECKING:
    from mlflow.models import ModelSignature

__all__ = ["PinnedModel", "abandoned", "digest", "download", "signature"]

_DAY = 86_400
# mlflow's first line says only that some files failed
_OF_A_FILE = re.compile(r"^##### File .* #####\n(.+)$", re.MULTILINE)


@dataclass(frozen=True)
class PinnedModel:
    """One immutable version of a model.

    name, version: as registered; a run's model has the run's id as version, a folder the digest of its
    files. uri: what to load, without an alias. source_uri: what was asked for. run_id: of the run that
    logged it, if known.
    identity: tells it from a model of the same name and version in another registry.
    digest: what was recorded of its files when it was promoted (see `scoreline.hashing`), None if nothing was.
    """

    name: str
    version: str
    uri: str
    run_id: str | None
    source_uri: str
    identity: str
    tracking_uri: str
    registry_uri: str | None = None
    digest: str | None = None


def download(model: PinnedModel, into: Path) -> Path:
    """The folder with the model's files below `into`; what is there already is not fetched again."""
    own = hashlib.sha256(model.identity.encode()).hexdigest()[:8]
    target = into / re.sub(r"[^\w.@ -]", "_", model.name).strip(".") / f"{model.version}-{own}"
    if not target.resolve().is_relative_to(into.resolve()):
        raise InputError(f"model {model.name!r}, version {model.version!r} would be kept outside of {into}")
    if target.is_dir():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".fetching-") as scratch:
        fetched = _fetch(model, Path(scratch))
        for compiled in list(fetched.rglob("__pycache__")):  # Python would prefer it to the source beside it
            shutil.rmtree(compiled)
        try:
            fetched.rename(target)  # whole or not at all, whoever else fetches it now
        except OSError:
            if not target.is_dir():
                raise
    return target


def abandoned(folder: Path) -> list[Path]:
    """What fetches left in `folder` that ended in the middle: no file of theirs was written for a day."""
    yesterday = time.time() - _DAY
    return sorted(path for path in folder.glob("*/.fetching-*") if _newest(path) < yesterday)


def _newest(folder: Path) -> float:
    return max((path.stat().st_mtime for path in [folder, *folder.rglob("*")] if path.exists()), default=0.0)


def signature(folder: Path) -> "ModelSignature | None":
    """The mlflow ModelSignature of the model in `folder`, None if it was logged without one.

    A model that is posted something else than columns, such as typed JSON, says in its metadata what columns its
    `predict_arrow` takes: `log_model(metadata={"arrow_signature": signature.to_dict()})`.
    """
    with quiet_mlflow():
        import mlflow
        from mlflow.models import Model, ModelSignature

        try:
            model = Model.load(str(folder))
        except Exception as error:  # mlflow's own, or the YAML parser's
            raise InputError(
                f"the description of a model, {folder / 'MLmodel'}, cannot be read by MLflow {mlflow.__version__}: it "
                f"is broken, or of another version. Log the model again, or install the MLflow it was logged with"
            ) from error
        if "python_function" not in (model.flavors or {}):
            has = ", ".join(model.flavors or ["none"])
            raise InputError(
                f"the model in {folder} cannot be called from Python: it has {has}, expected "
                f"the flavor python_function. Log it with a flavor that has it, such as mlflow.pyfunc"
            )
        own = (model.metadata or {}).get("arrow_signature")
        return ModelSignature.from_dict(own) if own else model.signature


def _fetch(model: PinnedModel, scratch: Path) -> Path:
    try:
        if not model.uri.startswith(("models:/", "runs:/")):
            return Path(shutil.copytree(model.uri, scratch / "model"))
        with quiet_mlflow(), pointing_at(model.tracking_uri, model.registry_uri):
            import mlflow

            fetched = Path(mlflow.artifacts.download_artifacts(artifact_uri=model.uri, dst_path=str(scratch)))
            if not any(path.is_file() for path in fetched.rglob("*")):  # MLflow says nothing of it
                raise FileNotFoundError(f"there are none where the registry has them: {_location(model)}")
    except Exception as error:  # mlflow's own, or whatever its artifact store raises
        listed = _OF_A_FILE.search(str(error))
        reason = listed[1] if listed else told(error)
        hint = "Is the artifact store reachable from here, and does the version still exist?"
        if os.strerror(ENOSPC) in str(error):
            hint = f"Make room where the tables are, {scratch.parent.parent}: a fetched model is kept there."
        raise InputError(f"the files of {model.uri} cannot be fetched: {reason}. {hint}") from error
    # mlflow answers with the folder it was given, or with one below it
    return fetched if fetched != scratch else Path(shutil.copytree(scratch, scratch / "model"))


def _location(model: PinnedModel) -> str:
    import mlflow

    if model.uri != f"models:/{model.name}/{model.version}":  # a run's, or a logged model
        return model.uri
    return redacted(str(mlflow.MlflowClient().get_model_version_download_uri(model.name, model.version)))
