"""Whole commands on both engines, each a process from its start to its end: CPU of all it started, and wall, in turn.

python benchmarks/engines.py [turns]
"""

import ctypes
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "demo: ingest, train, run, export, show": ["demo"],
    "demo again, nothing due": ["demo"],
    "show of one user": ["show", "42"],
    "status": ["status"],
    "plan": ["plan"],
    "run, nothing due": ["run"],
    "ingest of 30 events": ["ingest", "--events", "data/demo/events-next-day.csv"],
    "run of the users due": ["run"],
    "run of everyone": ["run", "--full-refresh"],
}
_PR_SET_CHILD_SUBREAPER = 36


def measured(command: list[str], folder: Path) -> tuple[float, float]:
    """CPU and wall seconds; a JVM that outlives its Python is waited for, its seconds count."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    while True:
        try:
            os.wait()
        except ChildProcessError:
            break
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, took


def main() -> None:
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 1
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(turns):
        with tempfile.TemporaryDirectory() as scratch:
            for name, command in COMMANDS.items():
                for engine in ("spark", "embedded"):
                    folder = Path(scratch, engine)
                    folder.mkdir(exist_ok=True)
                    whole = [sys.executable, "-m", "scoreline", *command]
                    whole += ["--config", str(ROOT / "conf" / "demo.yaml"), "--set", f"engine={engine}"]
                    found.setdefault((name, engine), []).append(measured(whole, folder))
    print("| command | Spark CPU s | wall | embedded CPU s | wall | CPU | wall |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name in COMMANDS:
        (cpu, wall), (own_cpu, own_wall) = (
            tuple(statistics.median(part) for part in zip(*found[name, engine], strict=True))
            for engine in ("spark", "embedded")
        )
        ratios = f"{cpu / own_cpu:.1f}x | {wall / own_wall:.1f}x"
        print(f"| {name} | {cpu:.1f} | {wall:.1f} | {own_cpu:.1f} | {own_wall:.1f} | {ratios} |")


if __name__ == "__main__":
    main()
