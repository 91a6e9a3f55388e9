"""Commands that only look, as they are and made to ask a session of Spark: each a process from its start to its end.

python benchmarks/looking.py [turns]
"""

import sys
import tempfile
from pathlib import Path

from engines import ROOT, measured, median
from measure import adopt_orphans

COMMANDS = {"show of one user": ["show", "42"], "status": ["status"]}
HEAD = ("command", "by Spark: CPU s", "wall", "without: CPU s", "wall", "CPU", "wall")
# the same reading, with nothing left to delta-rs
BY_SPARK = """
from scoreline.tables.reading import Readers
Readers._options = lambda readers, location: None
from scoreline.cli.main import entry
entry()
"""
WAYS = {"spark": ["-c", BY_SPARK], "without": ["-m", "scoreline"]}


def main() -> None:
    turns = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    adopt_orphans()
    config = ["--config", str(ROOT / "conf" / "demo.yaml"), "--set", "engine=spark"]
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    with tempfile.TemporaryDirectory() as folder:
        measured([sys.executable, "-m", "scoreline", "demo", *config, "--set", "engine=embedded"], Path(folder))
        for _ in range(turns):
            for name, command in COMMANDS.items():
                for way, python in WAYS.items():
                    whole = [sys.executable, *python, *command, *config]
                    found.setdefault((name, way), []).append(measured(whole, Path(folder)))
    print("\n".join("| " + " | ".join(row) + " |" for row in (HEAD, ("---",) * len(HEAD))))
    for name in COMMANDS:
        spark, without = (median(found[name, way]) for way in WAYS)
        seconds = [f"{costs[kind]:.2f}" for costs in (spark, without) for kind in ("cpu", "wall")]
        ratios = [f"{spark[kind] / without[kind]:.0f}x" for kind in ("cpu", "wall")]
        print("| " + " | ".join([name, *seconds, *ratios]) + " |")


if __name__ == "__main__":
    main()
