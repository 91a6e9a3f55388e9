"""A model runs the code that it was logged with, whatever version of this project is imported beside it."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from online.conftest import Registry
from scoreline.registry.files import download
from scoreline.registry.versions import pin

SOURCE = Path(__file__).parents[2] / "src"
LOAD = """
import json, sys
import scoreline, scoreline.api, scoreline.scoring.task  # as a worker of the batch pipeline has them
import mlflow
model = mlflow.pyfunc.load_model(sys.argv[1], model_config=json.loads(sys.argv[2]))
(answer,) = model.predict([json.loads(sys.argv[3])])
found = {name: module.__file__ for name, module in sys.modules.items() if name.startswith("scoreline_fraud")}
print(json.dumps([answer["decision"], found, scoreline.__version__]))
"""


def test_the_logged_code_runs_beside_another_version(
    registry: Registry, world: Any, payment: Any, tmp_path: Path
) -> None:
    """Online in a server's process, in batch in a worker's: both load the model in a process like this."""
    folder = download(pin("models:/card_fraud@champion", tracking_uri=registry.uri), tmp_path / "models")
    # another version, installed: its decisions are of no use
    shutil.copytree(SOURCE, tmp_path / "other")
    version = tmp_path / "other" / "scoreline" / "__init__.py"
    version.write_text(version.read_text().replace('__version__ = "0.1.0"', '__version__ = "9.9.9"'))
    (tmp_path / "other" / "scoreline_fraud" / "serving" / "decisions.py").write_text("raise ImportError('another')\n")
    config = {"features": {"snapshot": str(world.snapshot)}, "limits": {"max_clock_difference_s": None}}
    command = [sys.executable, "-c", LOAD, str(folder), json.dumps(config), json.dumps(payment())]
    environment = {"PYTHONPATH": str(tmp_path / "other"), "PATH": "/usr/bin:/bin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-2000:]
    decision, modules, installed = json.loads(done.stdout.splitlines()[-1])
    assert decision in ("allow", "review", "deny")
    assert installed == "9.9.9"
    assert [name for name, file in modules.items() if not file.startswith(str(folder / "code"))] == []
    assert "scoreline_fraud.serving.model" in modules
    assert not (folder / "code" / "scoreline").exists()
