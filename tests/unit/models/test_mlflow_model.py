"""A logged recommender runs the code that it was logged with, whatever version of this project is beside it."""

import json
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from scoreline.models.mlflow_model import write_package
from scoreline.registry.files import download
from scoreline.registry.versions import pin

SOURCE = Path(__file__).parents[3] / "src"
ARCHIVED = """
import sys
from pathlib import Path
from scoreline.models import mlflow_model
assert ".zip" in mlflow_model.__file__, mlflow_model.__file__
print(mlflow_model.write_package(Path(sys.argv[1])))
"""
SCORED = """
import json, sys
import scoreline, scoreline.api, scoreline.scoring.task  # as a worker of the batch pipeline has them
import pyarrow as pa
batch = pa.record_batch({"item_ids": pa.array([[1, 2], []], pa.list_(pa.int64()))})
folder, way = sys.argv[1:]
if way == "batch":
    from scoreline.scoring.loaded_model import load_model
    outputs = pa.schema([("item_ids", pa.list_(pa.int64())), ("scores", pa.list_(pa.float32()))])
    found = load_model(folder, outputs, 1)(batch, {"k": 2}).column("item_ids").to_pylist()
    assert "mlflow" not in sys.modules
else:
    import mlflow
    answer = mlflow.pyfunc.load_model(folder).predict(batch.to_pandas(), params={"k": 2})
    found = [list(map(int, items)) for items in answer["item_ids"]]
import scoreline.errors, scoreline.pipeline
files = [module.__file__ for name, module in sys.modules.items() if name.startswith("scoreline_model_")]
print(json.dumps([found, files, scoreline.__version__, scoreline.errors.__file__]))
"""


@pytest.fixture
def logged(store: str, tmp_path: Path) -> Path:
    return download(pin("models:/movies/1", tracking_uri=store), tmp_path / "models")


def run(code: str, *arguments: str, path: Path) -> str:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(path)})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("way", ["batch", "online"])
def test_the_logged_code_runs_beside_another_version(way: str, logged: Path, tmp_path: Path) -> None:
    folder = logged
    other = tmp_path / "other"
    shutil.copytree(SOURCE / "scoreline", other / "scoreline")
    version = other / "scoreline" / "__init__.py"
    version.write_text(version.read_text().replace('__version__ = "0.1.0"', '__version__ = "9.9.9"'))
    (other / "scoreline" / "models" / "scoring.py").write_text("raise ImportError('another')\n")
    found, modules, installed, errors = json.loads(run(SCORED, str(folder), way, path=other))
    here = json.loads(run(SCORED, str(folder), way, path=SOURCE))[0]
    assert (found, installed) == (here, "9.9.9")
    assert modules
    assert [file for file in modules if not file.startswith(str(folder / "code"))] == []
    assert errors.startswith(str(other))  # and what is installed stays what is imported


def test_a_logged_recommender_carries_models_and_errors_only(logged: Path) -> None:
    (package,) = (logged / "code").iterdir()
    assert sorted(path.name for path in package.iterdir() if path.name != "__pycache__") == [
        "__init__.py", "errors.py", "models",
    ]  # fmt: skip


def test_the_name_of_the_code_tells_it_from_any_other(tmp_path: Path) -> None:
    """From an archive that goes to a cluster it is the same code, so it has the same name."""
    archive = tmp_path / "scoreline-0.1.0.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in sorted((SOURCE / "scoreline").rglob("*.py")):
            packed.write(path, path.relative_to(SOURCE))
    archived = Path(run(ARCHIVED, str(tmp_path / "out"), path=archive))
    package = write_package(tmp_path / "here")
    assert archived.name == package.name
    assert _texts(archived) == _texts(package)
    changed = tmp_path / "changed"
    shutil.copytree(SOURCE / "scoreline", changed / "scoreline")
    (changed / "scoreline" / "errors.py").write_text((SOURCE / "scoreline" / "errors.py").read_text() + "\n")
    code = ARCHIVED.replace('assert ".zip" in', "assert")
    assert Path(run(code, str(tmp_path / "more"), path=changed)).name != package.name


def _texts(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*.py"))}
