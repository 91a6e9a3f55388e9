"""Drivers are killed at random times, half of them in the middle of a write (`make faults`).

Four of five die alone: their JVM is the suite's, warm, and gives up what they had it do. So they get far, and a round
takes seconds. The others take a JVM of their own with them.
"""

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

from builders import write_events
from faults.driver import Job, begin, gateway_of, start
from faults.nightly_driver import events_of, made_for
from faults.poison import save
from faults.tally import Tally

ROUNDS = int(os.environ.get("SCORELINE_FAULT_ROUNDS", "100"))
WITH_JVM = ROUNDS // 5
ALONE = "driver killed at random times"
TOGETHER = "driver and JVM killed at random times"
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

    def is_alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.wait()

    def wait(self) -> int:
        code = self.process.wait()
        self._listener.join(5)
        self.log.close()
        return code


def _in_the_middle_of_a_write(alive: Callable[[], bool], root: Path, writes: int) -> None:
    """Wait until so many new files have appeared below the tables, or the driver has ended."""
    known = _files(root)
    while writes and alive():
        found = _files(root)
        if found - known:
            writes -= 1
            known |= found
        time.sleep(0.001)


def _files(root: Path) -> set[str]:
    """Whatever is written below the tables; folders may vanish meanwhile."""
    endings = (".parquet", ".json", ".tmp", ".crc")
    found = os.walk(root / "tables")
    return {f"{folder}/{name}" for folder, _, names in found for name in names if name.endswith(endings)}


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


@pytest.mark.spark  # its drivers share a JVM; test_embedded_engine.py does it without
@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_a_driver_killed_at_any_time_the_tables_end_the_same(spark: Any, tmp_path: Path, tally: Tally) -> None:
    model, dice = save(tmp_path / "model"), random.Random(6)
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    for number in range(2):
        began = time.monotonic()
        assert start(gateway_of(spark), _night(spark, whole, model, number)) == 0
    seconds = time.monotonic() - began  # of a night that nobody disturbs
    night = rounds = 0
    while rounds < ROUNDS - WITH_JVM:
        driver = begin(gateway_of(spark), _night(spark, killed, model, night))
        if rounds % 2:
            _in_the_middle_of_a_write(driver.is_alive, killed, dice.randint(1, 25))
        else:
            driver.join(dice.uniform(0.1, seconds))
        if driver.exitcode is not None:
            assert driver.exitcode == 0
            night += 1  # it has come to its end first
            continue
        driver.kill()
        driver.join()
        _give_up(spark)
        rounds += 1
        tally(ALONE, "in the middle of a write" if rounds % 2 == 0 else "by the clock")
    last = max(night, 1)
    for number in range(night, last + 1):
        assert start(gateway_of(spark), _night(spark, killed, model, number)) == 0
    for number in range(2, last + 1):
        assert start(gateway_of(spark), _night(spark, whole, model, number)) == 0
    _same(spark, model, killed, whole)


def _night(spark: Any, root: Path, model: Path, night: int) -> Job:
    root.mkdir(exist_ok=True)
    made = made_for(spark, root, model, night)
    source = write_events(root / f"{night}.csv", events_of(night))
    return Job(made.settings, made.now, (("ingest", source), ("run", {"everyone": night % 2 == 0})))


def _give_up(spark: Any) -> None:
    """What the JVM does for a driver that is gone comes to nothing; wait until it has."""
    idle = 0
    while idle < 3:
        spark.sparkContext.cancelAllJobs()
        time.sleep(0.1)
        idle = 0 if spark.sparkContext.statusTracker().getActiveJobsIds() else idle + 1


@pytest.mark.spark  # its drivers share a JVM; test_embedded_engine.py does it without
@pytest.mark.slow
@pytest.mark.timeout(3_600)
def test_a_driver_killed_with_its_jvm_the_tables_end_the_same(
    spark: Any, tmp_path: Path, started: Any, tally: Tally
) -> None:
    model, classes = save(tmp_path / "model"), tmp_path / "classes.jsa"
    # one driver that nobody kills leaves Java's archive of the classes it has loaded, for the others to start from
    first = started(tmp_path / "first", model, f"-XX:ArchiveClassesAtExit={classes}")
    first.go(0, 2)
    assert first.wait() == 0
    archived = f"-XX:SharedArchiveFile={classes}"
    killed, nights, dice = tmp_path / "killed", 400, random.Random(5)
    reached = rounds = 0
    following = started(killed, model, archived)
    while rounds < WITH_JVM:
        driver, following = following, started(killed, model, archived)
        driver.go(reached, nights)
        if rounds % 2:
            _in_the_middle_of_a_write(driver.is_alive, killed, dice.randint(1, 25))
        else:
            time.sleep(dice.uniform(0.1, 20.0))
        assert driver.process.poll() is None, (killed / "driver.log").read_text()[-2000:]
        driver.kill()
        reached, rounds = driver.next, rounds + 1
        tally(TOGETHER, "in the middle of a write" if rounds % 2 == 0 else "by the clock")
    whole = started(tmp_path / "whole", model, archived)
    for driver, first in ((following, reached), (whole, 0)):
        driver.go(first, reached + 1)
        assert driver.wait() == 0, (killed / "driver.log").read_text()[-2000:]
    _same(spark, model, killed, tmp_path / "whole")


def _same(spark: Any, model: Path, killed: Path, whole: Path) -> None:
    for table, dropped in (("recommendations", ["run_id"]), ("user_history", ["updated_at"])):
        found, expected = (
            sorted(map(str, made_for(spark, root, model, 0).tables.table(table).read().drop(*dropped).collect()))
            for root in (killed, whole)
        )
        assert found == expected, table
    users = made_for(spark, killed, model, 0).tables.table("recommendations").read().select("user_id").collect()
    assert len(users) == len({row[0] for row in users})
