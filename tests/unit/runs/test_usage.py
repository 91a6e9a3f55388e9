"""The cost of a process and of what it has started, ended or not."""

import subprocess
import sys
import time

from scoreline.runs.usage import Usage, peak_of_forks

BUSY = "import time; made = bytearray(64 << 20); end = time.process_time() + 0.3\nwhile time.process_time() < end: pass"


def test_a_process_that_was_started_counts_while_it_lives_and_after_it() -> None:
    before = Usage.now()
    child = subprocess.Popen(
        [sys.executable, "-c", f"{BUSY}\nprint(flush=True); input()"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert child.stdout is not None
    child.stdout.readline()
    alive = Usage.now()
    child.communicate(b"\n")
    time.sleep(0.01)
    after = Usage.now()
    assert alive.cpu_seconds - before.cpu_seconds >= 0.3
    assert alive.peak_bytes - before.peak_bytes >= 64 << 20
    assert after.cpu_seconds - before.cpu_seconds >= 0.3


FORKS = """
import os, sys
if os.fork() == 0:
    made = bytearray(200 << 20)
    print(flush=True)
    sys.stdin.readline()
    os._exit(0)
made = bytearray(400 << 20)
os.wait()
"""


def test_the_largest_fork_is_told_from_the_process_that_forked_it() -> None:
    assert peak_of_forks("a-daemon") is None
    daemon = subprocess.Popen([sys.executable, "-c", FORKS, "a-daemon"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert daemon.stdout is not None
    daemon.stdout.readline()
    found = peak_of_forks("a-daemon")
    daemon.communicate(b"\n")
    assert found is not None
    assert 200 << 20 <= found < 400 << 20
