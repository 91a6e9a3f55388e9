"""The package works from the zip that goes to a cluster, where no file of it lies in a folder."""

import subprocess
import sys
import zipfile
from pathlib import Path

SOURCE = Path(__file__).parents[3] / "src"
CODE = """
import sys
from pathlib import Path
from scoreline.models import mlflow_model
assert ".zip" in mlflow_model.__file__, mlflow_model.__file__
package = mlflow_model._package(Path(sys.argv[1]))
print(*sorted(str(path.relative_to(package)) for path in package.rglob("*.py")))
"""


def test_a_model_is_logged_with_the_whole_package(tmp_path: Path) -> None:
    archive = tmp_path / "scoreline-0.1.0.zip"
    files = sorted(path for path in (SOURCE / "scoreline").rglob("*") if "__pycache__" not in path.parts)
    with zipfile.ZipFile(archive, "w") as packed:
        for path in files:
            packed.write(path, path.relative_to(SOURCE))
    command = [sys.executable, "-c", CODE, str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PYTHONPATH": str(archive)})
    assert done.returncode == 0, done.stderr
    wanted = sorted(str(path.relative_to(SOURCE / "scoreline")) for path in files if path.suffix == ".py")
    assert done.stdout.split() == wanted
