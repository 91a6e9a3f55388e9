"""`scoreline watch` beside the commands: from a signal to the published list of one changed user in the database.

    python benchmarks/watching.py [--turns N] [--engines embedded spark] [--postgres] [--only one|many|memory]

Each turn one user has a new event in a new file; the watch is sent a signal, the commands are typed one after another
(`ingest --new`, `run --users`, `export`). Both ways take turns on tables of their own. CPU is of the whole tree of
processes: of the watch from before the signal to the answer. Then 1,000 signals in a minute for as many users.
"""

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from multiprocessing import get_context
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import psutil
import yaml

from engines import ROOT, measured
from measure import adopt_orphans, cpu_seconds

sys.path.insert(0, str(ROOT / "tests"))

from integration.databases.server import free_port, postgres
from scoreline.runs.usage import held_bytes

HEAD = "user,item,kind,at"
WAYS = ("warm", "cold")
# docs/triggers.md, "Few users on Spark"
FEW: dict[str, str | int | bool] = {
    "spark.sql.shuffle.partitions": 1,
    "spark.sql.adaptive.enabled": False,
    "spark.sql.codegen.factoryMode": "NO_CODEGEN",
}


@dataclass
class World:
    """A pipeline over the demo's data in a folder of its own."""

    folder: Path
    engine: str
    export: str
    port: int = field(default_factory=free_port)

    def make(self, *, debounce: str = "0s") -> None:
        self.folder.mkdir(parents=True)
        said = yaml.safe_load((ROOT / "conf" / "demo.yaml").read_text())
        trigger = {"name": "app", "signal": True, "debounce": debounce, "steps": ["ingest", "run", "export"]}
        trigger |= {"spark": FEW} if self.engine == "spark" else {}
        said |= {"engine": self.engine, "export": {"url": "${EXPORT}"}}
        said |= {"watch": {"triggers": [trigger], "http": {"port": self.port}}}
        said["events"] |= {"files": "incoming", "settle": "0s"}
        (self.folder / "demo.yaml").write_text(yaml.safe_dump(said))
        (self.folder / "incoming").mkdir()
        subprocess.run(self.command("demo"), cwd=self.folder, capture_output=True, check=True)

    def command(self, *words: str) -> list[str]:
        return ["env", f"EXPORT={self.export}", sys.executable, "-m", "scoreline", *words, "--config", "demo.yaml"]

    def event(self, users: range, name: str) -> None:
        lines = [f"{user},{user % 1200},like,2026-06-30T12:00:00Z" for user in users]
        (self.folder / "incoming" / f"{name}.csv").write_text("\n".join([HEAD, *lines]) + "\n")

    def post(self, users: range) -> str:
        body = json.dumps({"users": list(users)}).encode()
        with urlopen(Request(f"http://127.0.0.1:{self.port}/signals/app", body), timeout=30) as answer:
            return str(json.load(answer)["id"])

    def ended(self, one: str, *, each: float = 0.05) -> dict[str, Any]:
        while True:
            with urlopen(f"http://127.0.0.1:{self.port}/signals/{one}", timeout=30) as answer:
                said: dict[str, Any] = json.load(answer)
            if said["state"] not in ("queued", "running"):
                return said
            time.sleep(each)


@contextmanager
def watching(world: World) -> Iterator[int]:
    """A watch over the world, warm: its process."""
    with (world.folder / "watch.log").open("w") as log:
        process = subprocess.Popen(world.command("watch"), cwd=world.folder, stdout=log, stderr=log)
        try:
            while "watches demo" not in (world.folder / "watch.log").read_text():
                time.sleep(0.1)
            yield process.pid
        finally:
            process.terminate()
            process.wait(90)


def by_watch(world: World, pid: int, user: int) -> tuple[float, float]:
    world.event(range(user, user + 1), f"user-{user}")
    spent, began = cpu_seconds(pid), time.monotonic()
    said = world.ended(world.post(range(user, user + 1)))
    if said["state"] != "published":
        raise SystemExit(f"{said}\n{(world.folder / 'watch.log').read_text()[-3000:]}")
    return cpu_seconds(pid) - spent, time.monotonic() - began


def by_commands(world: World, user: int) -> tuple[float, float]:
    world.event(range(user, user + 1), f"user-{user}")
    words = (("ingest", "--new"), ("run", "--users", str(user)), ("export",))
    costs = [measured(world.command(*one), world.folder) for one in words]
    return sum(cpu for cpu, _ in costs), sum(wall for _, wall in costs)


def one_user(scratch: Path, engine: str, exports: Mapping[str, str], turns: int) -> None:
    """Print the medians of both ways, and how many times cheaper the watch is. exports: by way, the database's URL."""
    to = exports["warm"].partition(":")[0]
    warm, cold = (World(scratch / f"{engine}-{to}-{way}", engine, exports[way]) for way in WAYS)
    for world in (warm, cold):
        world.make()
    found: dict[str, list[tuple[float, float]]] = {"watch": [], "commands": []}
    # in a process of its own: it waits for the last child to end, and the watch is one of ours
    typist = ProcessPoolExecutor(1, mp_context=get_context("spawn"), initializer=adopt_orphans)
    with typist, watching(warm) as pid:
        for user in (1, 2, 3):  # what a warm process is
            by_watch(warm, pid, user)
        for user in range(11, 11 + turns):
            found["watch"].append(by_watch(warm, pid, user))
            found["commands"].append(typist.submit(by_commands, cold, user).result())
    (cpu, wall), (cold_cpu, cold_wall) = (map(statistics.median, zip(*costs, strict=True)) for costs in found.values())
    print(
        f"| {engine} | {to} | {cold_cpu:.2f} | {cold_wall:.2f} | {cpu:.2f} | {wall:.2f} | {cold_cpu / cpu:.1f}x | "
        f"{cold_wall / wall:.1f}x |",
        flush=True,
    )


def many(scratch: Path, engine: str, *, signals: int = 1_000, seconds: float = 60.0) -> None:
    """Print in how many runs so many signals in a minute are published, and how long each waits."""
    world = World(scratch / f"{engine}-many", engine, "sqlite:///serving.db")
    world.make(debounce="2s")
    world.event(range(1, signals + 1), "all")
    ids: list[str] = []
    with watching(world) as pid:
        spent, began = cpu_seconds(pid), time.monotonic()
        for number in range(signals):
            time.sleep(max(0.0, began + number * seconds / signals - time.monotonic()))
            ids.append(world.post(range(number + 1, number + 2)))
        answers = [world.ended(one) for one in ids]
        cpu = cpu_seconds(pid) - spent
    waits = sorted(_moment(one["ended_at"]) - _moment(one["accepted_at"]) for one in answers)
    runs = {one["run_id"] for one in answers}
    states = sorted({one["state"] for one in answers})
    p50, p99 = waits[len(waits) // 2], waits[int(len(waits) * 0.99)]
    told = f"{signals:,} signals in {seconds:.0f} s: {' and '.join(states)} in {len(runs)} runs, {cpu:.0f} CPU s"
    print(f"{engine}: {told}; from accepted to published p50 {p50:.1f} s, p99 {p99:.1f} s", flush=True)


def memory(scratch: Path, engine: str, chains: int) -> None:
    """Print what is held, in MiB, ten times on the way, and how many workers there were."""
    world = World(scratch / f"{engine}-memory", engine, "sqlite:///serving.db")
    world.make()
    with watching(world) as pid:
        for number in range(1, chains + 1):
            by_watch(world, pid, number)
            if number % max(1, chains // 10) == 0:
                own = psutil.Process(pid).memory_info().rss
                held = f"watch {own >> 20}, worker {(held_bytes(pid) - own) >> 20} MiB"
                print(f"{engine}, {number:,} chains: {held}", flush=True)
    replaced = (world.folder / "watch.log").read_text().count("the worker is replaced")
    print(f"{engine}: {replaced + 1} workers", flush=True)


def _moment(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=7)
    parser.add_argument("--engines", nargs="+", default=["embedded", "spark"], choices=["embedded", "spark"])
    parser.add_argument("--postgres", action="store_true", help="export to a PostgreSQL, too")
    parser.add_argument("--only", choices=["one", "many", "memory"])
    asked = parser.parse_args()
    with ExitStack() as stack:
        scratch = Path(tempfile.mkdtemp())
        stack.callback(shutil.rmtree, scratch, ignore_errors=True)
        databases = [dict.fromkeys(WAYS, "sqlite:///serving.db")]
        if asked.postgres:
            databases.append({way: stack.enter_context(postgres()) for way in WAYS})
        if asked.only in (None, "one"):
            print("| engine | export | commands: CPU s | wall | watch: CPU s | wall | CPU | wall |")
            print("|" + " --- |" * 8)
            for engine in asked.engines:
                for exports in databases:
                    one_user(scratch, engine, exports, asked.turns)
        if asked.only in (None, "many"):
            for engine in asked.engines:
                many(scratch, engine)
        if asked.only == "memory":
            for engine in asked.engines:
                memory(scratch, engine, asked.turns)


if __name__ == "__main__":
    main()
