from pathlib import Path

import mlflow
import pandas as pd
import pytest
from mlflow.models import infer_signature

from disks import mounted
from scoreline.errors import InputError
from scoreline.registry.client import pointing_at, quiet_mlflow
from scoreline.registry.files import download, signature
from scoreline.registry.promotion import promote
from scoreline.registry.versions import pin


def test_alias_is_pinned_to_one_version(store: str) -> None:
    pinned = pin("models:/movies@champion", tracking_uri=store)
    assert (pinned.name, pinned.version, pinned.uri) == ("movies", "1", "models:/movies/1")
    assert pinned.source_uri == "models:/movies@champion"
    assert pinned.run_id == pin("models:/movies/1", tracking_uri=store).run_id


def test_run_and_folder_are_pinned(store: str, tmp_path: Path) -> None:
    first = pin("models:/movies/1", tracking_uri=store)
    by_run = pin(f"runs:/{first.run_id}/model", tracking_uri=store)
    assert (by_run.name, by_run.version) == ("model", first.run_id)
    folder = download(by_run, tmp_path)
    by_folder = pin(str(folder), tracking_uri=store)
    assert by_folder.version == pin(f"file://{folder}", tracking_uri=store).version
    (folder / "MLmodel").write_text((folder / "MLmodel").read_text() + "\n")
    assert by_folder.version != pin(str(folder), tracking_uri=store).version


@pytest.mark.parametrize("uri", ["models:/movies/1", "a folder"])
def test_a_disk_without_room_for_a_models_files_is_told_as_one(store: str, tmp_path: Path, uri: str) -> None:
    pinned = pin("models:/movies/1", tracking_uri=store)
    pinned = pinned if uri != "a folder" else pin(str(download(pinned, tmp_path / "fetched")), tracking_uri=store)
    disk = tmp_path / "disk"
    told = pytest.raises(InputError, match=rf"No space left on device.*Make room where the tables are, {disk}")
    with mounted(disk, "size=4k"), told:
        download(pinned, disk / "models")


def test_files_that_are_gone_from_their_store_are_told_with_their_place(store: str, tmp_path: Path) -> None:
    pinned = pin("models:/movies/1", tracking_uri=store)
    with pointing_at(store, None), quiet_mlflow():
        place = Path(mlflow.MlflowClient().get_model_version_download_uri("movies", "1").removeprefix("file://"))
    place.rename(tmp_path / "moved")
    try:
        with pytest.raises(InputError, match=rf"files of models:/movies/1 cannot be fetched: there are none.*{place}"):
            download(pinned, tmp_path / "kept")
    finally:
        (tmp_path / "moved").rename(place)
    assert (download(pinned, tmp_path / "kept") / "MLmodel").exists()


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("models:/films@champion", r"has no model films; it has movies"),
        (
            "models:/movies@best",
            r"model movies has no alias best; it has versions 1, 2 and aliases champion \(version 1\)",
        ),
        ("models:/movies/9", "model movies has no version 9"),
        ("models:/movies", "names no version"),
        ("models:/movies/latest", "names no version: the latest is whatever was registered last"),
        (
            "models:/m-0123456789abcdef0123456789abcdef",
            r"has no logged model models:/m-0123",
        ),
        ("runs:/0123", "names no model of the run: write runs:/<run id>/<name it was logged under>"),
        ("mlflow-artifacts:/1/models/m-01/artifacts", "is a place where files are kept and names no model"),
        ("s3://bucket/models/movies", "is a place where files are kept .* or a folder that"),
        ("dbfs:/models/movies", "is a place where files are kept"),
        ("runs:/0123/model", "has no run 0123"),
        ("/nowhere/model", "no MLflow model"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(uri: str, said: str, store: str) -> None:
    with pytest.raises(InputError, match=said):
        pin(uri, tracking_uri=store)


def test_a_logged_model_is_pinned_and_fetched(store: str, tmp_path: Path) -> None:
    """`model_uri` of what MLflow 3's `log_model` returns; blanks in its name and its folder are kept."""
    with quiet_mlflow(), pointing_at(store, None):
        import mlflow

        place = mlflow.create_experiment("logged", artifact_location=str(tmp_path / "art dir"))
        inferred = infer_signature(pd.DataFrame({"a": [1.0]}), pd.DataFrame({"y": [1.0]}))
        with mlflow.start_run(experiment_id=place) as made:
            info = mlflow.pyfunc.log_model(
                name="my model", python_model=_twice, signature=inferred, pip_requirements=[]
            )
    pinned = pin(info.model_uri, tracking_uri=store, allow=["models:/m-*"])
    assert (pinned.name, pinned.version, pinned.run_id) == ("my model", info.model_id, made.info.run_id)
    assert signature(download(pinned, tmp_path / "kept")).inputs.input_names() == ["a"]
    by_run = pin(f"runs:/{made.info.run_id}/my model", tracking_uri=store)
    folder = download(by_run, tmp_path / "kept")
    assert signature(folder).inputs.input_names() == ["a"]
    assert pin(folder.as_uri(), tracking_uri=store).name == folder.name
    with pytest.raises(InputError, match=r"is not allowed here: model\.allow has models:/movies@\*"):
        pin(info.model_uri, tracking_uri=store, allow=["models:/movies@*"])


def _twice(model_input):
    return model_input * 2


def test_a_description_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "MLmodel").write_text("flavors: [", encoding="utf-8")
    with pytest.raises(InputError, match=r"MLmodel, cannot be read by MLflow \d.*: it is broken, or"):
        signature(tmp_path)
    (tmp_path / "MLmodel").write_text("flavors: {crate: {version: 1}}", encoding="utf-8")
    with pytest.raises(InputError, match="cannot be called from Python: it has crate, expected the flavor python_func"):
        signature(tmp_path)


def test_registry_out_of_reach_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(InputError, match=r"MLflow at http://127\.0\.0\.1:9 cannot be reached"):
        pin("models:/movies@champion", tracking_uri="http://127.0.0.1:9")


def test_files_are_fetched_once_and_loaded(store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    pinned = pin("models:/movies@champion", tracking_uri=store)
    folder = download(pinned, tmp_path)
    assert folder.parent.parent == tmp_path
    (folder / "mark").touch()
    assert (download(pinned, tmp_path) / "mark").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert signature(folder).inputs.input_names() == ["item_ids", "weights", "older_item_ids"]
    assert capfd.readouterr() == ("", "")


def test_worse_version_is_refused_unless_forced(store: str) -> None:
    knobs = {"metric": "ndcg_at_10", "tracking_uri": store}
    with pytest.raises(InputError, match=r"its ndcg_at_10 is 0\.2000, that of version 1, .* is 0\.3000"):
        promote("movies", None, "champion", margin=0.1, **knobs)
    assert promote("movies", "2", "champion", margin=0.5, **knobs).previous == "1"
    assert promote("movies", "1", "champion", margin=0.0, **knobs).version == "1"
    moved = promote("movies", "2", "champion", margin=0.0, force=True, **knobs)
    assert (moved.name, moved.alias, moved.version, moved.previous) == ("movies", "champion", "2", "1")
    assert pin("models:/movies@champion", tracking_uri=store).version == "2"
    assert promote("movies", "1", "challenger", margin=0.0, **knobs).previous is None
    promote("movies", "1", "champion", margin=0.0, **knobs)


def test_promotion_is_on_record(store: str) -> None:
    promote("movies", "2", "champion", margin=1.0, tracking_uri=store)
    promote("movies", "1", "champion", margin=1.0, tracking_uri=store)
    with quiet_mlflow(), pointing_at(store, None):
        import mlflow

        tags = mlflow.MlflowClient().get_model_version("movies", "1").tags
    assert tags["scoreline.promoted_from"] == "2"
    assert tags["scoreline.promoted_by"]
    assert tags["scoreline.promoted_at"].startswith("20")


def test_promoting_what_is_not_there_is_said(store: str) -> None:
    with pytest.raises(InputError, match="no model films"):
        promote("films", None, "champion", margin=0.0, tracking_uri=store)
    with pytest.raises(InputError, match="has no version 7"):
        promote("movies", "7", "champion", margin=0.0, tracking_uri=store)
