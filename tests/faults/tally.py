"""Counts of what the fault suite has done, a line per fault."""

import json
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

Tally = Callable[..., None]
COUNTS: dict[str, Counter[str]] = {}


def count(fault: str, case: str = "", *, times: int = 1) -> None:
    """One more round of a fault that ended as promised."""
    COUNTS.setdefault(fault, Counter())[case] += times


def lines() -> list[str]:
    width = max((len(fault) for fault in COUNTS), default=0)
    return [
        f"{fault:<{width}}  {sum(cases.values()):>6,} rounds as promised"
        + (f", {len(cases)} cases" if len(cases) > 1 else "")
        for fault, cases in sorted(COUNTS.items())
    ]


def keep() -> None:
    """Add the lines to the file that `make faults` prints at its end."""
    place = os.environ.get("SCORELINE_FAULTS")
    if place and COUNTS:
        with Path(place).open("a", encoding="utf-8") as file:
            file.writelines(json.dumps({fault: dict(cases)}) + "\n" for fault, cases in COUNTS.items())


def report(place: Path) -> str:
    """The table over all parts of the suite."""
    for line in place.read_text(encoding="utf-8").splitlines():
        for fault, cases in json.loads(line).items():
            for case, times in cases.items():
                count(fault, case, times=times)
    return "\n".join(lines())


if __name__ == "__main__":
    print(report(Path(os.environ["SCORELINE_FAULTS"])))
