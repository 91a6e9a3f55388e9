"""Driver and JVM are killed together at random times, half of them in the middle of a write (`make faults`)."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from faults.nightly_driver import made_for
from faults.poison import save
from faults.tally import Tally

ROUNDS = int(os.environ.get("SCORELINE_FAULT_ROUNDS", "100"))
FAULT = "driver and JVM killed at random times"
TESTS = Path(__file__).parents[1]


class Driver:
    """The process group of a driver and its JVM, and the nights it says it has done."""

    def __init__(self, root: Path, model: Path, first: int, nights: int) -> None:
        root.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "faults.nightly_driver", str(root), str(model), str(first), str(nights)]
        source = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
        self.log = (root / "driver.log").open("ab")
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, "PYTHONPATH": source},
            start_new_session=True,
            text=True,
        )
        self.ready, self.next = threading.Event(), first
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("done"):
                self.next = int(line.split()[1]) + 1
            self.ready.set()

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        code = self.process.wait()
        self._listener.join(5)
        self.log.close()
        return code


def _in_the_middle_of_a_write(driver: Driver, root: Path, writes: int) -> bool:
    """Wait until so many new files have appeared below the tables; true if the newest is still growing or temporary."""
    known = _files(root)
    while writes and driver.process.poll() is None:
        found = _files(root)
        if found - known:
            writes -= 1
            known |= found
        time.sleep(0.001)
    return writes == 0


def _files(root: Path) -> set[str]:
    return {str(path) for path in (root / "tables").rglob("*") if path.suffix in (".parquet", ".json", ".tmp", ".crc")}


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_killed_at_any_time_the_tables_end_the_same(spark: Any, tmp_path: Path, tally: Tally) -> None:
    model = save(tmp_path / "model")
    killed, nights, dice = tmp_path / "killed", 400, random.Random(5)
    reached = rounds = 0
    while rounds < ROUNDS:
        driver = Driver(killed, model, reached, nights)
        assert driver.ready.wait(120), (killed / "driver.log").read_text()[-2000:]
        if rounds % 2:
            _in_the_middle_of_a_write(driver, killed, dice.randint(1, 25))
        else:
            time.sleep(dice.uniform(0.1, 8.0))
        assert driver.process.poll() is None, (killed / "driver.log").read_text()[-2000:]
        driver.kill()
        reached, rounds = driver.next, rounds + 1
        tally(FAULT, "in the middle of a write" if rounds % 2 == 0 else "by the clock")
    last = Driver(killed, model, reached, reached + 1)
    assert last.wait() == 0, (killed / "driver.log").read_text()[-2000:]
    whole = Driver(tmp_path / "whole", model, 0, reached + 1)
    assert whole.wait() == 0
    for table, dropped in (("recommendations", ["run_id"]), ("user_history", ["updated_at"])):
        found, expected = (
            sorted(map(str, made_for(spark, root, model, 0).tables.table(table).read().drop(*dropped).collect()))
            for root in (killed, tmp_path / "whole")
        )
        assert found == expected, table
    leftovers = made_for(spark, killed, model, 0).tables
    users = [row[0] for row in leftovers.table("recommendations").read().select("user_id").collect()]
    assert len(users) == len(set(users))
