"""What has to stay small when users and slices are many: `make scale`."""

import json
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from builders import NOW
from scoreline.pipeline.manifest import Lineage, Manifest, Slice
from scoreline.pipeline.snapshot import open_run
from scoreline.pipeline.staging import Staging, find_staging, stage

ROOT = Path(__file__).parents[3]
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def test_five_thousand_slices_are_found_again(filled: Any) -> None:
    made = filled()
    pinned = open_run(made, fraction=1.0, full_refresh=False).dependencies(made.settings)
    slices = tuple(Slice(number, (number,), 20_000) for number in range(5_000))
    lineage = Lineage("recommendations", 0, "films", "1", "user_history", 1, "abc", 20)
    users = 100_000_000
    manifest = Manifest(
        "run", 1, NOW.isoformat(), slices, {"new": users}, True, True, users, buckets=5_000, lineage=lineage
    )
    table = Staging.new(made.tables, pinned, manifest).table
    rows = made.spark.createDataFrame([(1, 0)], "user_id long, bucket int")
    stage(table, rows, number=0, manifest=manifest)
    stage(table, rows, number=1, manifest=None)
    log = Path(table.location) / "_delta_log"
    second = (log / f"{1:020}.json").read_text()
    for number in range(2, 5_000):
        commit = second.replace('\\"slice\\":1', f'\\"slice\\":{number}')
        commit = commit.replace(f"{table.name}/1", f"{table.name}/{number}")
        (log / f"{number:020}.json").write_text(commit)
    size = sum(path.stat().st_size for path in log.glob("*.json"))
    began = time.monotonic()
    found = find_staging(made.tables, pinned)
    seconds = time.monotonic() - began
    assert found is not None
    assert found.done == frozenset(range(5_000))
    assert found.manifest == replace(manifest, slices=found.manifest.slices)
    assert len(found.manifest.slices) == 5_000
    print(f"\n5,000 slices: log {size / 1e6:.1f} MB, found again in {seconds:.1f} s")
    assert size < 20_000_000


USERS = (5_000, 100_000)


@pytest.fixture(scope="module", params=USERS)
def many(request: Any, registry: Any, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Path]:
    """A configuration, and events of so many users."""
    folder = tmp_path_factory.mktemp("many")
    lines = [f"{user},{1 + (user * 7 + n * 11) % 40},5,1700000000" for user in range(request.param) for n in range(2)]
    (folder / "events.csv").write_text("\n".join(["user,item,rating,at", *lines]))
    columns = {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}
    # what Spark may bring to the driver in one job: 100,000 user ids would not fit
    settings = {"spark.driver.maxResultSize": "256k", "spark.sql.shuffle.partitions": 2, "spark.master": "local[2]"}
    config = {
        "name": "many",
        "tables": {"root": str(folder / "tables")},
        "events": {"columns": columns, "weight_range": [0, 10]},
        "model": {"uri": "models:/films/1", "folder": str(folder / "fetched")},
        "mlflow": {"tracking_uri": registry.uri, "experiment": "runs"},
        "scoring": {"k": 5, "slice_users": 40_000},
        "audit": {"sample_users": 500},
        "spark": settings,
    }
    (folder / "many.yaml").write_text(yaml.safe_dump(config))
    return request.param, folder


def test_the_drivers_memory_does_not_grow_with_the_users(many: tuple[int, Path]) -> None:
    users, folder = many
    code = (
        "import resource, sys; from scoreline.cli.main import main\n"
        "main.main(sys.argv[1:], standalone_mode=False)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, file=sys.stderr)"
    )
    peaks = []
    for step in (["ingest", "--events", str(folder / "events.csv")], ["run", "--json"]):
        command = [sys.executable, "-c", code, step[0], "--config", str(folder / "many.yaml"), *step[1:]]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
        assert done.returncode == 0, done.stderr[-3000:]
        peaks.append(int(done.stderr.strip().splitlines()[-1]))
    assert json.loads(done.stdout.splitlines()[-1])["audit"]["scored"] == users
    print(f"\n{users:,} users: the driver's Python took {peaks} MB at most (ingest, run)")
    assert max(peaks) < 700
