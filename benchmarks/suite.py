"""The benchmark: `make bench`, or python benchmarks/suite.py [--quick] [--only PART …] [--fresh] [--report].

Each part runs in processes of its own and leaves WORK/results-MODE/PART.json; a benchmark that was interrupted goes on
where it stopped, as long as neither the package nor the benchmark has changed since. At the end the table is printed
and docs/performance.md, .json and .svg are written from the same files (below WORK with --quick and --trial).
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import page
import table
from parts import Part, parts
from places import REPOSITORY, Bench, NotHere, PartFailed

_MINUTES = {"full": 90.0, "quick": 4.3, "trial": 60.0}


def fingerprint() -> str:
    """Of the package and of the benchmark: figures of other code are no part of this run."""
    digest = hashlib.sha256()
    for folder in ("src/scoreline", "benchmarks"):
        for path in sorted((REPOSITORY / folder).rglob("*.py")):
            if "online" not in path.parts and path.name not in ("page.py", "table.py", "curves.py", "figures.py"):
                digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def open_results(bench: Bench, *, fresh: bool) -> None:
    """Keep the results of an interrupted run of the same code; begin anew otherwise."""
    about = bench.results / "about.json"
    known = json.loads(about.read_text()) if about.exists() else {}
    if fresh or known.get("code") != fingerprint() or "ended" in known:
        shutil.rmtree(bench.results, ignore_errors=True)
        bench.results.mkdir(parents=True)
        began = datetime.now(UTC).isoformat(timespec="minutes")
        about.write_text(json.dumps({"code": fingerprint(), "began": began, "machine": page.machine()}))


def run_part(bench: Bench, part: Part) -> None:
    """Run one part and keep what it found, or why it found nothing."""
    began, load = time.monotonic(), os.getloadavg()[0]
    print(f"{datetime.now(UTC):%H:%M:%S} {part.name:<28}", end="", flush=True)
    found: dict[str, object]
    try:
        found = {"state": "done", "found": part.does(bench)}
    except NotHere as error:
        found = {"state": "not here", "message": str(error)}
    except PartFailed as error:
        found = {"state": "failed", "message": str(error)}
    except Exception as error:  # one part must not end the others
        found = {"state": "failed", "message": f"{type(error).__name__}: {error}"[:300]}
    seconds = time.monotonic() - began
    kept = {**found, "part": part.name, "seconds": seconds, "load": load, "code": fingerprint()}
    (bench.results / f"{part.name}.json").write_text(json.dumps(kept, indent=1))
    print(f"{seconds:7.0f} s  {found['state']}  {found.get('message', '')}", flush=True)


def run_all(bench: Bench, only: list[str], minutes: float) -> None:
    """Run what is missing (or what is asked for), as long as there is time."""
    began = time.monotonic()
    for part in parts(bench):
        if only and not any(part.name.startswith(name) for name in only):
            continue
        path = bench.results / f"{part.name}.json"
        if not only and path.exists() and json.loads(path.read_text())["state"] != "left out":
            continue
        if time.monotonic() - began > minutes * 60:
            said = f"{minutes:g} minutes are over; --only {part.name} measures it"
            path.write_text(json.dumps({"state": "left out", "message": said, "part": part.name}))
            print(f"         {part.name:<28} left out: {said}")
            continue
        run_part(bench, part)


def close_results(bench: Bench, only: list[str]) -> None:
    about = bench.results / "about.json"
    known = json.loads(about.read_text())
    known["origin"] = json.loads((bench.workload(bench.large) / "origin.json").read_text())
    if not only:
        known["ended"] = datetime.now(UTC).isoformat(timespec="seconds")
    about.write_text(json.dumps(known))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    modes = parser.add_mutually_exclusive_group()
    small = {"dest": "mode", "action": "store_const", "default": "full"}
    modes.add_argument("--quick", const="quick", help="small sizes, within 5 minutes", **small)
    modes.add_argument("--trial", const="trial", help="tiny sizes: does every part work?", **small)
    parser.add_argument("--only", nargs="+", default=[], metavar="PART", help="run the parts whose names begin so")
    parser.add_argument("--fresh", action="store_true", help="forget results of an interrupted run")
    parser.add_argument("--report", action="store_true", help="run nothing, write the table and the page again")
    parser.add_argument("--minutes", type=float, help="begin no part after so many minutes")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "scoreline-bench")
    parser.add_argument("--peers-python", type=Path, default=REPOSITORY / ".venv-peers" / "bin" / "python")
    parser.add_argument("--replay-python", type=Path, default=REPOSITORY / ".venv-replay" / "bin" / "python")
    asked = parser.parse_args()
    known = {
        "own": Path(sys.executable),
        "peers": asked.peers_python.absolute(),
        "replay": asked.replay_python.absolute(),
    }
    bench = Bench(asked.work.absolute(), known, asked.mode)
    if not asked.report:
        if not asked.only or not (bench.results / "about.json").exists():
            open_results(bench, fresh=asked.fresh)
        run_all(bench, asked.only, asked.minutes or _MINUTES[asked.mode])
        close_results(bench, asked.only)
    results = table.read_results(bench.results)
    print(table.as_text(results))
    docs = REPOSITORY / "docs" if asked.mode == "full" else bench.results / "docs"
    print(f"written: {page.write(results, docs)}")


if __name__ == "__main__":
    main()
