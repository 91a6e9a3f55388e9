"""Driver and JVM are killed together at random times, half of them in the middle of a write (`make faults`)."""

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
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
    """The process group of a driver and its JVM, and the nights it says it has done.

    It starts at once and waits for `go`, so that the next one can start while this one works.
    """

    def __init__(self, root: Path, model: Path, java: str) -> None:
        root.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "faults.nightly_driver", str(root), str(model), java]
        source = os.pathsep.join([str(TESTS), str(TESTS.parent / "src")])
        self.log = (root / "driver.log").open("ab")
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, "PYTHONPATH": source},
            start_new_session=True,
            text=True,
        )
        self.ready, self.next = threading.Event(), 0
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            if line.startswith("done"):
                self.next = int(line.split()[1]) + 1
            self.ready.set()

    def go(self, first: int, end: int) -> None:
        """Work through the nights from `first` to before `end`."""
        assert self.process.stdin is not None
        assert self.ready.wait(120), "the driver did not start"
        self.next = first
        self.process.stdin.write(f"{first} {end}\n")
        self.process.stdin.flush()

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


@pytest.fixture
def started() -> Iterator[Callable[[Path, Path, str], Driver]]:
    """Starts drivers, and ends those that are left."""
    drivers: list[Driver] = []

    def start(root: Path, model: Path, java: str) -> Driver:
        drivers.append(Driver(root, model, java))
        return drivers[-1]

    yield start
    for driver in drivers:
        if driver.process.poll() is None:
            driver.kill()


@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_killed_at_any_time_the_tables_end_the_same(spark: Any, tmp_path: Path, started: Any, tally: Tally) -> None:
    model, classes = save(tmp_path / "model"), tmp_path / "classes.jsa"
    # one driver that nobody kills leaves Java's archive of the classes it has loaded: the others start in half the time
    first = started(tmp_path / "first", model, f"-XX:ArchiveClassesAtExit={classes}")
    first.go(0, 2)
    assert first.wait() == 0
    archived = f"-XX:SharedArchiveFile={classes}"
    killed, nights, dice = tmp_path / "killed", 400, random.Random(5)
    reached = rounds = 0
    following = started(killed, model, archived)
    while rounds < ROUNDS:
        driver, following = following, started(killed, model, archived)
        driver.go(reached, nights)
        if rounds % 2:
            _in_the_middle_of_a_write(driver, killed, dice.randint(1, 25))
        else:
            time.sleep(dice.uniform(0.1, 8.0))
        assert driver.process.poll() is None, (killed / "driver.log").read_text()[-2000:]
        driver.kill()
        reached, rounds = driver.next, rounds + 1
        tally(FAULT, "in the middle of a write" if rounds % 2 == 0 else "by the clock")
    whole = started(tmp_path / "whole", model, archived)
    for driver, first in ((following, reached), (whole, 0)):
        driver.go(first, reached + 1)
        assert driver.wait() == 0, (killed / "driver.log").read_text()[-2000:]
    for table, dropped in (("recommendations", ["run_id"]), ("user_history", ["updated_at"])):
        found, expected = (
            sorted(map(str, made_for(spark, root, model, 0).tables.table(table).read().drop(*dropped).collect()))
            for root in (killed, tmp_path / "whole")
        )
        assert found == expected, table
    leftovers = made_for(spark, killed, model, 0).tables
    users = [row[0] for row in leftovers.table("recommendations").read().select("user_id").collect()]
    assert len(users) == len(set(users))
