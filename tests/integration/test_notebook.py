"""The quickstart runs from its first cell to its last, in a process of its own, as a reader would run it."""

import os
import sys
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOK = ROOT / "notebooks" / "quickstart.ipynb"


@pytest.fixture
def notebook() -> Any:
    return nbformat.read(NOTEBOOK, as_version=4)


def test_it_is_committed_without_outputs(notebook: Any) -> None:
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.id for cell in code if cell.outputs or cell.execution_count] == []


@pytest.mark.long
@pytest.mark.timeout(600)  # a process of its own, and minutes on a busy machine
def test_every_cell_runs_and_says_what_it_should(
    notebook: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")])
    # this interpreter as the kernel, whatever kernels are installed; a session of its own, not this one's
    kernels = tmp_path / "jupyter" / "kernels" / "python3"
    kernels.mkdir(parents=True)
    command = f'["{sys.executable}", "-m", "ipykernel_launcher", "-f", "{{connection_file}}"]'
    (kernels / "kernel.json").write_text(f'{{"argv": {command}, "display_name": "here", "language": "python"}}')
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path / "jupyter"))
    monkeypatch.setenv("PYTHONPATH", path)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    set_by_sessions = ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET", "SPARK_CONNECT_MODE_ENABLED")
    for name in (*set_by_sessions, "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
        monkeypatch.delenv(name, raising=False)
    client = NotebookClient(notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": tmp_path}})
    done = client.execute()
    if folder := os.environ.get("SCORELINE_NOTEBOOK_OUT"):
        nbformat.write(done, Path(folder) / "quickstart.ipynb")
    said = "".join(out.get("text", "") for cell in done.cells for out in cell.get("outputs", []))
    plots = [out for cell in done.cells for out in cell.get("outputs", []) if "image/png" in out.get("data", {})]
    assert "600 users in it, 600 histories changed" in said
    assert "with quickstart version 1: 600 users due = 600 scored + 0 failed" in said
    assert "with quickstart version 1: 12 users due = 12 scored + 0 failed" in said
    assert len(plots) == 3
    assert (tmp_path / "spark-warehouse").exists() is False
