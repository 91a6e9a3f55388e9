"""`ingest --new` for one new file, beside 10,001 that were taken and beside one: CPU and wall, in turn.

python benchmarks/new_files.py [turns] [embedded|spark]
"""

import statistics
import sys
import tempfile
from pathlib import Path

from engines import measured
from measure import adopt_orphans

TAKEN = (0, 10_000)
CONFIG = """
name: files
engine: {engine}
tables: {{root: {root}}}
events:
  columns: {{user_id: user, item_id: item, time: at}}
  files: {root}/incoming
  settle: 0s
model: {{uri: models:/files@champion}}
"""


def main(turns: int, engine: str) -> None:
    adopt_orphans()
    with tempfile.TemporaryDirectory() as folder:
        roots = {taken: Path(folder, str(taken)) for taken in TAKEN}
        for taken, root in roots.items():
            (root / "incoming").mkdir(parents=True)
            (root / "p.yaml").write_text(CONFIG.format(engine=engine, root=root))
            # of both the histories are the same: what is read of them is not in question
            (root / "incoming" / "first.csv").write_text("user,item,at\n" + "".join(_line(at) for at in range(10_000)))
            for number in range(taken):
                (root / "incoming" / f"{number}.csv").write_text("user,item,at\n" + _line(number))
            _ingest(root)
        found: dict[int, list[tuple[float, float]]] = {taken: [] for taken in TAKEN}
        for turn in range(turns):
            for taken, root in roots.items():
                (root / "incoming" / f"new-{turn}.csv").write_text("user,item,at\n" + _line(20_000 + turn))
                found[taken].append(_ingest(root))
    for taken, costs in found.items():
        cpu, wall = (statistics.median(values) for values in zip(*costs, strict=True))
        print(f"{engine:<9} {taken + 1:>6,} taken files: {cpu:5.2f} CPU s {wall:5.2f} s (median of {turns})")


def _line(number: int) -> str:
    return f"{number % 1000},{number},{1_700_000_000 + number}\n"


def _ingest(root: Path) -> tuple[float, float]:
    command = [sys.executable, "-m", "scoreline", "ingest", "--new", "--quiet", "--config", str(root / "p.yaml")]
    return measured(command, root)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5, sys.argv[2] if len(sys.argv) > 2 else "embedded")
