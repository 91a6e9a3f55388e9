"""`scoreline watch` in a process of its own, over a pipeline of the suite; what it says and how it ends."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import psutil
from pyspark.sql import SparkSession

from builders import context
from embedded import rows
from integration.databases.server import free_port
from scoreline.config.loading import load_settings
from scoreline.context import Context
from scoreline.export.export import export
from scoreline.ingest.new import ingest_new
from scoreline.pipeline.run import run

MOMENTS = {
    "user_history": ("updated_at", "added_at"),
    "recommendations": ("run_id", "scored_at"),
    "quarantine": ("ingested_at",),
    "ingested_files": ("ingested_at", "modified_at", "size"),
}
ENDS = ("done", "published", "nothing_due", "nothing_new", "only_failures", "refused", "failed")
APP = {"name": "app", "signal": True, "debounce": "0s", "steps": ["run", "export"]}
INCOMING = {
    "name": "incoming",
    "files": "incoming",
    "every": "1s",
    "settle": "0s",
    "steps": ["ingest", "run", "export"],
}


def configured(root: Path, registry: Any, *triggers: dict[str, Any], **changes: Any) -> Path:
    """A configuration over `root`, with `changes` to its sections; `incoming` is a folder in it."""
    incoming = root / "incoming"
    incoming.mkdir(parents=True, exist_ok=True)
    chosen = [{**one, "files": str(incoming)} if "files" in one else one for one in triggers]
    watch = {"triggers": chosen, **changes.pop("watch", {})}
    if any("signal" in one or "webhook" in one for one in triggers):
        watch = {"http": {"port": free_port()}, **watch}
    files = {"files": str(incoming), "settle": "0s"}
    columns = {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}
    given = {
        "name": "test",
        "engine": "embedded",
        "tables": {"root": str(root / "tables")},
        "events": {"columns": columns, "weight_range": [0, 10], "max_bad_share": 0.9, **files},
        "histories": {"buckets": 8},
        "model": {"uri": "models:/films/1", "folder": str(registry.folder), "train": {"estimator": "popularity"}},
        "mlflow": {"tracking_uri": registry.uri, "experiment": "runs"},
        "scoring": {"k": 5, "slice_users": 15},
        "export": {"url": f"sqlite:///{root / 'serving.db'}"},
        "watch": watch,
    }
    file = root / "pipeline.yaml"
    file.write_text(json.dumps(given | changes), encoding="utf-8")
    return file


def made_by(spark: SparkSession, config: Path, root: Path) -> Context:
    """The pipeline of a configuration with the suite's session, and its tables and application's database in `root`."""
    given = {"events", "histories", "model", "mlflow", "scoring"}
    said = load_settings(config).model_dump(include=given, exclude_unset=True)
    return context(spark, root / "tables", export={"url": f"sqlite:///{root / 'serving.db'}"}, **said)


def exported(root: Path) -> list[tuple[Any, ...]]:
    """The application's rows, but for what names a run or a moment."""
    with closing(sqlite3.connect(root / "serving.db")) as sql:
        names = [row[1] for row in sql.execute("PRAGMA table_info(recommendations)")]
        kept = ", ".join(name for name in names if name not in ("run_id", "scored_at", "exported_at"))
        return sorted(sql.execute(f"SELECT {kept} FROM recommendations").fetchall())


def all_rows(made: Context, root: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Whole tables and the application's, but for what names a run or a moment."""
    there = {name: without for name, without in MOMENTS.items() if made.tables.table(name).exists()}
    tables = {name: rows(made, name, without=without) for name, without in there.items()}
    return {**tables, "exported": exported(root)}


def same_as_undisturbed(spark: SparkSession, config: Path, incoming: Path) -> None:
    """Compare whole tables with those of the three commands, given once when all files were there."""
    killed, calm = config.parent, config.parent / "calm"
    calm.mkdir()
    other = made_by(spark, config, calm)
    ingest_new(other, str(incoming))
    run(other)
    export(other)
    assert all_rows(made_by(spark, config, killed), killed) == all_rows(other, calm)
    assert len(exported(killed)) > 60


class Watch:
    """The process and what it has said."""

    def __init__(self, config: Path, *arguments: str, env: dict[str, str] | None = None, before: str = "") -> None:
        self.config, self.log, self.errors = config, config.with_suffix(".log"), config.with_suffix(".err")
        self.port = json.loads(config.read_text())["watch"].get("http", {}).get("port")
        code = f"import sys\n{before}\nfrom scoreline.cli.main import entry\nentry(sys.argv[1:])"
        self._from = self.log.stat().st_size if self.log.exists() else 0
        with self.log.open("ab") as said, self.errors.open("ab") as errors:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, "watch", "--config", str(config), *arguments],
                stdin=subprocess.DEVNULL, stdout=said, stderr=errors, env={**os.environ, **(env or {})},
                start_new_session=True,
            )  # fmt: skip

    @property
    def said(self) -> str:
        with self.log.open(encoding="utf-8") as file:
            file.seek(self._from)
            return file.read()

    def until(self, is_so: Callable[[], Any] | str, *, seconds: float = 60) -> Any:
        """Wait for a word in what it says, or for anything."""
        asked: Callable[[], Any] = (lambda: is_so in self.said) if isinstance(is_so, str) else is_so
        deadline = time.monotonic() + seconds
        while not (found := asked()):
            assert self.process.poll() is None, f"it has ended:\n{self.said}\n{self.errors.read_text()}"
            assert time.monotonic() < deadline, f"never {is_so}:\n{self.said}\n{self.errors.read_text()}"
            time.sleep(0.02)
        return found

    def ask(self, path: str, body: Any = None, *, method: str | None = None, **headers: str) -> tuple[int, Any]:
        """Status and JSON of an answer; 0 if nobody answers."""
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        request = Request(f"http://127.0.0.1:{self.port}{path}", data=data, method=method, headers=named)
        try:
            with urlopen(request, timeout=30) as answer:
                return answer.status, json.loads(answer.read())
        except HTTPError as error:
            return error.code, json.loads(error.read())
        except (HTTPException, OSError, ValueError):  # killed before, or in the middle of its answer
            return 0, None

    def asked(self, *users: int, name: str = "app", **more: Any) -> str:
        """Ask for a run; gives the id when it is accepted."""
        said = {"users": list(users), **more} if users else more
        status, answer = self.until(lambda: (found := self.ask(f"/signals/{name}", said))[0] and found)
        assert status == 202, answer
        return str(answer["id"])

    def answered(self, one: str, *, seconds: float = 60) -> Any:
        """The state of a signal when it has ended."""
        return self.until(lambda: self._ended(one), seconds=seconds)

    def _ended(self, one: str) -> Any:
        answer = self.ask(f"/signals/{one}")[1]
        return answer if answer and answer.get("state") in ENDS else None

    @property
    def worker(self) -> psutil.Process | None:
        with suppress(psutil.NoSuchProcess):
            for child in psutil.Process(self.process.pid).children():
                with suppress(psutil.Error):
                    if "scoreline.watch.worker" in child.cmdline():
                        return child
        return None

    def kill(self) -> None:
        """kill -9, of itself only."""
        self.process.kill()
        self.process.wait()

    def end(self, number: int = signal.SIGTERM, *, seconds: float = 30) -> int:
        """Tell it to stop; its exit code."""
        self.process.send_signal(number)
        return self.process.wait(seconds)


@contextmanager
def watching(config: Path, *arguments: str, **named: Any) -> Iterator[Watch]:
    """Inside, it watches; at the end nothing of it is left."""
    made = Watch(config, *arguments, **named)
    try:
        yield made
    finally:
        end_all(made)


def end_all(made: Watch) -> None:
    """End it and its worker by their ids, whatever has become of them."""
    worker = made.worker
    if made.process.poll() is None:
        made.kill()
    if worker is not None:
        with suppress(psutil.Error):
            for process in [worker, *worker.children(recursive=True)]:
                with suppress(psutil.Error):
                    process.kill()
