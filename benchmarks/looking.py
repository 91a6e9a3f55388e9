"""Commands that only look, as they are and made to ask a session of Spark: each a process from its start to its end.

python benchmarks/looking.py [turns]; a part of `make bench`, too
"""

import sys
import tempfile
from pathlib import Path

from engines import ROOT, Costs, as_table, measured, median
from measure import adopt_orphans

COMMANDS = {"show of one user": ["show", "42"], "status": ["status"]}
# the same reading, with nothing left to delta-rs
BY_SPARK = """
from scoreline.tables.reading import Readers
Readers._options = lambda readers, location: None
from scoreline.cli.main import entry
entry()
"""
WAYS = {"spark": ["-c", BY_SPARK], "embedded": ["-m", "scoreline"]}


def both(turns: int) -> dict[str, Costs]:
    """The median of some turns, by command and way."""
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
    return {name: {way: median(found[name, way]) for way in WAYS} for name in COMMANDS}


if __name__ == "__main__":
    print(as_table(both(int(sys.argv[1]) if len(sys.argv) > 1 else 3)))
