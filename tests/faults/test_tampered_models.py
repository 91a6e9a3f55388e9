"""A model that is not the one that was promoted is refused before anything of it is imported."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from builders import settings
from faults.poison import save, signature
from faults.tally import Tally
from scoreline.config.loading import load_settings
from scoreline.errors import ConfigurationError, InputError
from scoreline.hashing import digest, verify
from scoreline.pipeline.scoring_task import verified
from scoreline.registry.client import pointing_at, quiet_mlflow
from scoreline.registry.files import download
from scoreline.registry.promotion import promote
from scoreline.registry.versions import pin
from scoreline.scoring.loaded_model import load_model

OUTPUTS = pa.schema([("item_ids", pa.list_(pa.int64())), ("scores", pa.list_(pa.float32()))])
SCRIPT = "poison_model.py"


def _byte(folder: Path) -> None:
    found = bytearray((folder / SCRIPT).read_bytes())
    found[-2] ^= 1
    (folder / SCRIPT).write_bytes(found)


def _compiled(folder: Path) -> None:
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__" / "poison_model.cpython-311.pyc").write_bytes(b"not what the source says")


def _link(folder: Path) -> None:
    outside = folder.parent / "elsewhere.py"
    outside.write_bytes((folder / SCRIPT).read_bytes())
    (folder / SCRIPT).unlink()
    (folder / SCRIPT).symlink_to(outside)


def _loader(folder: Path) -> None:
    text = (folder / "MLmodel").read_text()
    (folder / "MLmodel").write_text(re.sub(r"loader_module: .*", "loader_module: evil", text))


def _linked_folder(folder: Path) -> None:
    (folder.parent / "outside").mkdir()
    (folder / "code").symlink_to(folder.parent / "outside", target_is_directory=True)


TAMPERINGS: dict[str, Callable[[Path], Any]] = {
    "a byte": _byte,
    "an added file": lambda folder: (folder / "sitecustomize.py").write_text("raise SystemExit"),
    "an empty added file": lambda folder: (folder / ".hidden").touch(),
    "a compiled file": _compiled,
    "a removed file": lambda folder: (folder / "requirements.txt").unlink(),
    "a renamed file": lambda folder: (folder / "requirements.txt").rename(folder / "other.txt"),
    "a symlink": _link,
    "a linked folder": _linked_folder,
    "a swapped loader": _loader,
}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(tmp_path_factory.mktemp("models") / "original")


@pytest.mark.parametrize("how", TAMPERINGS)
def test_a_tampered_model_is_refused_before_any_import(how: str, original: Path, tmp_path: Path, tally: Tally) -> None:
    folder = tmp_path / "model"
    shutil.copytree(original, folder)
    expected = digest(folder)
    load_model.cache_clear()
    verify(folder, expected)
    imported = tmp_path / "imported"
    (folder / SCRIPT).write_text(f"open({str(imported)!r}, 'w')\n" + (folder / SCRIPT).read_text())
    honest = digest(folder)
    TAMPERINGS[how](folder)
    for pinned in (expected, honest):
        with pytest.raises(InputError, match=r"is not the one that was promoted|is a link"):
            load_model(str(folder), OUTPUTS, 1, digest=pinned)
    assert not imported.exists()
    tally("model tampered with", how)


def test_loading_a_verified_model_leaves_it_verified(original: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(original, folder)
    expected = digest(folder)
    load_model.cache_clear()
    with quiet_mlflow():
        load_model(str(folder), OUTPUTS, 1, digest=expected)
    assert digest(folder) == expected


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """A registry with version 1 of `poison`, and the folder of its artifacts."""
    import mlflow

    folder = tmp_path_factory.mktemp("registry")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    with quiet_mlflow(), pointing_at(uri, None):
        place = mlflow.create_experiment("e", artifact_location=(folder / "artifacts").as_uri())
        with mlflow.start_run(experiment_id=place):
            mlflow.pyfunc.log_model(
                name="model",
                python_model=str(Path(__file__).with_name(SCRIPT)),
                signature=signature(),
                pip_requirements=["mlflow"],
                registered_model_name="poison",
            )
    return uri, folder / "artifacts"


def test_promotion_records_a_digest_that_runs_compare_with(store: tuple[str, Path], tmp_path: Path) -> None:
    uri, artifacts = store
    given = settings(tmp_path).model
    assert pin("models:/poison/1", tracking_uri=uri).digest is None
    promote("poison", "1", "champion", force=True, tracking_uri=uri, folder=tmp_path / "first")
    pinned = pin("models:/poison@champion", tracking_uri=uri)
    assert pinned.digest is not None
    # fetched anew, as on another machine
    assert verified(given, pinned, download(pinned, tmp_path / "second")) == pinned.digest
    [script] = artifacts.rglob(SCRIPT)
    before = script.read_bytes()
    script.write_bytes(before + b"\n# one more line\n")
    with pytest.raises(InputError, match="is not the one that was promoted"):
        verified(given, pinned, download(pinned, tmp_path / "third"))
    with pytest.raises(InputError, match="is not the one that was promoted"):
        promote("poison", "1", "champion", tracking_uri=uri, folder=tmp_path / "fourth")
    script.write_bytes(before)


def test_a_model_without_a_digest_is_refused_where_one_is_asked_for(original: Path, tmp_path: Path) -> None:
    pinned = pin(str(original), tracking_uri="sqlite://")
    files = download(pinned, tmp_path)
    model = settings(tmp_path, model={"uri": str(original), "require_digest": True}).model
    with pytest.raises(InputError, match="no recorded digest"):
        verified(model, pinned, files)
    wrong = settings(tmp_path, model={"uri": str(original), "sha256": "0" * 64}).model
    with pytest.raises(InputError, match="is not the one"):
        verified(wrong, pinned, files)


@pytest.mark.parametrize("uri", ["models:/films@champion", "runs:/abc/model", "/tmp/model", "models:/films2/1"])
def test_a_model_from_elsewhere_is_refused(uri: str) -> None:
    with pytest.raises(InputError, match=r"is not allowed here: model\.allow has models:/poison"):
        pin(uri, tracking_uri="sqlite://", allow=["models:/poison@*", "models:/poison/*"])


@pytest.mark.parametrize("name", ["..", "../..", "a/../../b", ".", "/etc"])
def test_a_model_is_kept_under_its_folder(name: str, original: Path, tmp_path: Path) -> None:
    from dataclasses import replace

    pinned = replace(pin(str(original), tracking_uri="sqlite://"), name=name)
    try:
        kept = download(pinned, tmp_path / "models")
    except InputError:
        return
    assert kept.resolve().is_relative_to((tmp_path / "models").resolve())


@pytest.mark.parametrize("key", ["model.allow=[]", "model.require_digest=false", "model={uri: x}"])
def test_what_guards_the_model_is_not_changed_by_who_starts_the_job(key: str, tmp_path: Path) -> None:
    conf = tmp_path / "c.yaml"
    conf.write_text("name: x\ntables: {root: x}\nmodel: {uri: 'models:/a/1', allow: ['models:/a/*']}\n")
    with pytest.raises(ConfigurationError, match="changed in the file only"):
        load_settings(conf, [key])
