"""Workers are forked from a process of their own, whatever threads are in the one that asks for them."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from embedded import command, embedded, rows
from scoreline.errors import WorkerFailed
from scoreline.scoring.node import Shipment
from scoreline.scoring.pool import Pool
from scoreline.scoring.task import ScoringTask

pytest.importorskip("pysail")

RUNS, SLICES = 1, 4
THREADS = """
import logging, os, sys, threading, time
from pathlib import Path
import numpy

def logs():
    while True:
        with logging._lock, logging.lastResort.lock:
            time.sleep(0.01)
        time.sleep(0.01)  # or nobody else would get them

def multiplies():  # BLAS with threads of its own, and memory that comes and goes
    while True:
        numpy.random.rand(300, 300) @ numpy.random.rand(300, 300)
        time.sleep(0.05)

def imports():
    import never_imported

def prints():
    while True:
        sys.stderr.write(".")
        sys.stderr.flush()
        time.sleep(0.01)

sys.path.insert(0, sys.argv.pop())
for does in (logs, multiplies, imports, prints):
    threading.Thread(target=does, daemon=True).start()
"""
THREADS_OF_THE_FORKED = """
from scoreline.scoring.pool import _POOLS
(pool,) = _POOLS
_, _, (_, process, _), _ = pool.close.peek()
tasks = Path(f"/proc/{process.pid}/task").iterdir()
print(json.dumps(sorted((task / "comm").read_text().strip() for task in tasks)), flush=True)
os._exit(0)  # past the threads
"""


@pytest.mark.slow
def test_workers_are_forked_while_threads_hold_locks(filled: Any, tmp_path: Path) -> None:
    """Of logging, an import, printing and memory: a fork would copy them as they are. Each slice forks anew."""
    made = filled(scoring={"k": 5, "slice_users": 60 // SLICES})
    (tmp_path / "never_imported.py").write_text("import time\ntime.sleep(3600)\n")
    (calm,) = embedded(made, ("run", {}))
    lists = rows(made, "recommendations", without=("run_id", "scored_at"))
    asked = command(made, *[("run", {"full_refresh": True})] * RUNS)
    asked[2] = THREADS + asked[2] + THREADS_OF_THE_FORKED
    done = subprocess.run([*asked, str(tmp_path)], capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stderr[-2000:]
    *reports, forked = map(json.loads, done.stdout.splitlines())
    told = ("error", "state")
    assert [[report.get(name) for name in told] for report in reports] == [[None, "published"]] * RUNS
    assert calm["audit"]["scored"] == reports[-1]["audit"]["scored"] == 60
    assert rows(made, "recommendations", without=("run_id", "scored_at")) == lists
    assert len([name for name in forked if name != "jemalloc_bg_thd"]) == 1  # that one minds a fork itself


def test_why_a_model_cannot_be_loaded_is_told_though_the_workers_end_before_they_are_asked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    ids, none = pa.schema([("user_id", pa.int64())]), pa.schema([])
    task = ScoringTask(
        str(tmp_path), "tabular", ("user_id",), ("user_id",), none, ids, {}, k=1, seen=(), blocked=None, allowed=None
    )
    larger_than_a_socket_holds = pa.record_batch([pa.array(range(1 << 18))], schema=ids)
    pool = Pool(2, "")
    with pytest.raises(WorkerFailed, match="cannot be loaded where it is to score"):
        list(pool.scored((Shipment(str(tmp_path), None), task), iter([larger_than_a_socket_holds] * 8)))
    pool.close()
    assert capfd.readouterr().err == ""
