"""The cost of a process and of what it has started, ended or not."""

import subprocess
import sys
import time

from scoreline.runs.usage import Usage

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
