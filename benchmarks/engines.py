"""Whole commands on both engines, each a process from its start to its end: CPU of all it started, and wall, in turn.

python benchmarks/engines.py [turns]; a part of `make bench`, too
"""

import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from measure import adopt_orphans, reaped_cpu

ROOT = Path(__file__).parents[1]
ENGINES = ("spark", "embedded")
COMMANDS = {
    "demo: ingest, train, run, export, show": ["demo"],
    "demo again, nothing due": ["demo"],
    "plan": ["plan"],
    "run, nothing due": ["run"],
    "ingest of one event": ["ingest", "--events", "data/demo/one-event.csv"],
    "run, one user due": ["run"],
    "ingest of 30 events": ["ingest", "--events", "data/demo/events-next-day.csv"],
    "run of the users due": ["run"],
    "run of everyone": ["run", "--full-refresh"],
}
Costs = dict[str, dict[str, float]]  # by engine: cpu and wall, seconds


def measured(command: list[str], folder: Path) -> tuple[float, float]:
    """CPU and wall seconds; a JVM that outlives its Python is waited for, its seconds count."""
    spent, began = reaped_cpu(), time.monotonic()
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    took = time.monotonic() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: {done.stderr[-2000:]}")
    return reaped_cpu() - spent, took


def both(turns: int) -> dict[str, Costs]:
    """The median of some turns, by command and engine."""
    adopt_orphans()
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for _ in range(turns):
        with tempfile.TemporaryDirectory() as scratch:
            for name, command in COMMANDS.items():
                for engine in ENGINES:
                    folder = Path(scratch, engine)
                    folder.mkdir(exist_ok=True)
                    whole = [sys.executable, "-m", "scoreline", *command]
                    whole += ["--config", str(ROOT / "conf" / "demo.yaml"), "--set", f"engine={engine}"]
                    found.setdefault((name, engine), []).append(measured(whole, folder))
                    _one_event(folder / "data" / "demo")
    return {name: {engine: median(found[name, engine]) for engine in ENGINES} for name in COMMANDS}


def _one_event(folder: Path) -> None:
    head = (folder / "events-next-day.csv").read_text(encoding="utf-8").splitlines()[:2]
    (folder / "one-event.csv").write_text("\n".join(head) + "\n", encoding="utf-8")


def median(turns: list[tuple[float, float]]) -> dict[str, float]:
    cpu, wall = zip(*turns, strict=True)
    return {"cpu": statistics.median(cpu), "wall": statistics.median(wall)}


def rows(found: dict[str, Costs]) -> list[tuple[str, ...]]:
    """Command, CPU and wall on Spark, CPU and wall embedded, ratios of CPU and of wall."""
    made = []
    for name, costs in found.items():
        on_spark, embedded = costs["spark"], costs["embedded"]
        seconds = (on_spark["cpu"], on_spark["wall"], embedded["cpu"], embedded["wall"])
        ratios = (f"{on_spark[kind] / embedded[kind]:.1f}x" for kind in ("cpu", "wall"))
        made.append((name, *(f"{value:.2f}" if value < 1 else f"{value:.1f}" for value in seconds), *ratios))
    return made


HEAD = ("command", "Spark CPU s", "wall", "embedded CPU s", "wall", "CPU", "wall")


def as_table(found: dict[str, Costs]) -> str:
    return "\n".join("| " + " | ".join(row) + " |" for row in (HEAD, ("---",) * len(HEAD), *rows(found)))


if __name__ == "__main__":
    print(as_table(both(int(sys.argv[1]) if len(sys.argv) > 1 else 1)))
