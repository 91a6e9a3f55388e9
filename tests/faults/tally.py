"""Counts of what the fault suite has done, a line per fault."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import builders

Tally = Callable[..., None]
COUNTS: dict[str, Counter[str]] = {}


def count(fault: str, case: str = "", *, times: int = 1) -> None:
    """One more round of a fault that ended as promised."""
    COUNTS.setdefault(fault, Counter())[case] += times


def lines(by_engine: dict[str, dict[str, Counter[str]]]) -> list[str]:
    """A line per fault: rounds as promised on each engine that had it, and cases."""
    faults = sorted({fault for counts in by_engine.values() for fault in counts})
    width = max(map(len, faults), default=0)
    head = f"{'rounds as promised':<{width}}" + "".join(f"{engine:>10}" for engine in by_engine)
    found = [head]
    for fault in faults:
        rounds = "".join(f"{sum(counts.get(fault, {}).values()) or '-':>10}" for counts in by_engine.values())
        cases = {case for counts in by_engine.values() for case in counts.get(fault, {})}
        found.append(f"{fault:<{width}}{rounds}" + (f"  {len(cases)} cases" if len(cases) > 1 else ""))
    return found


def keep() -> None:
    """Add the counts to the file that `make faults` prints at its end."""
    place = os.environ.get("SCORELINE_FAULTS")
    if place and COUNTS:
        counts = {fault: dict(cases) for fault, cases in COUNTS.items()}
        with Path(place).open("a", encoding="utf-8") as file:
            file.write(json.dumps({"engine": builders.ENGINE, "counts": counts}) + "\n")


def report(place: Path) -> str:
    """The table over all parts of the suite."""
    by_engine: dict[str, dict[str, Counter[str]]] = {"spark": {}, "embedded": {}}
    for line in map(json.loads, place.read_text(encoding="utf-8").splitlines()):
        for fault, cases in line["counts"].items():
            by_engine[line["engine"]].setdefault(fault, Counter()).update(cases)
    return "\n".join(lines(by_engine))


if __name__ == "__main__":
    print(report(Path(os.environ["SCORELINE_FAULTS"])))
