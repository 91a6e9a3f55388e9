"""The mapper of Hadoop streaming gives the lists of a run, line by line, without Spark."""

import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

from jobs.truth import expected
from scoreline.deploy.mapreduce import write_files

SOURCE = str(Path(__file__).parents[2] / "src")


def test_the_mapper_scores_as_a_run_does(filled: Any, registry: Any, tmp_path: Path) -> None:
    made = filled()
    written = write_files(made, tmp_path)
    with zipfile.ZipFile(tmp_path / "model.zip") as packed:
        packed.extractall(tmp_path / "model")  # as -archives does on each node
    lines = b"".join(path.read_bytes() for path in sorted((tmp_path / "histories").glob("part-*")))
    assert (written.users, lines.count(b"\n")) == (60, 60)
    command = [sys.executable, "-X", "importtime", "-m", "scoreline.mapper"]
    done = subprocess.run(
        command, input=lines, capture_output=True, check=False, cwd=tmp_path, env={"PYTHONPATH": SOURCE}
    )
    assert done.returncode == 0, done.stderr.decode()[-2000:]
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    found = {row["user_id"]: [item["item_id"] for item in row["recommendations"]] for row in rows}
    assert found == expected(made, registry.films["1"], k=5)
    assert b"reporter:counter:scoreline,scored,60" in done.stderr
    assert b"pyspark" not in done.stderr  # of what was imported
