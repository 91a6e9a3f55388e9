"""Steps done by the embedded engine: in a process of their own, since a process has one engine."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from builders import NOW
from scoreline.context import Context

HOUR = timedelta(hours=1)
STEPS = """
import json, sys
from dataclasses import replace
from datetime import datetime
from scoreline.config.settings import Settings
from scoreline.context import open_context
from scoreline.errors import ScorelineError
from scoreline.export.export import export
from scoreline.ingest.ingest import ingest_events
from scoreline.operations.maintenance import optimize, vacuum
from scoreline.operations.repair import repair_histories
from scoreline.operations.show import show_users
from scoreline.pipeline.rollback import roll_back
from scoreline.pipeline.run import plan_run, run
from scoreline.tables.reading import open_readers

does = {"ingest": ingest_events, "run": run, "plan": plan_run, "export": export, "rollback": roll_back,
        "show": lambda made, user: show_users(open_readers(made.settings), [user])[0],
        "optimize": optimize, "vacuum": vacuum, "repair": repair_histories}


def reported(settings, steps):
    made = open_context(Settings.model_validate({**json.loads(settings), "engine": "embedded"}))
    for step, at, given in json.loads(steps):
        arguments, named = ([given], {}) if isinstance(given, str) else ([], given)
        try:
            report = does[step](replace(made, now=datetime.fromisoformat(at)), *arguments, **named)
            print(report.to_json(), flush=True)
        except ScorelineError as error:
            print(json.dumps({"error": f"{type(error).__name__}: {error}"}), flush=True)


for asked in [sys.argv[1:]] if sys.argv[1:] else map(json.loads, sys.stdin):
    reported(*asked)
"""


def command(made: Context, *steps: tuple[str, Any], hours: int = 0) -> list[str]:
    """What does the steps without a JVM, over the tables of `made`, and prints a report a line."""
    settings = made.settings.model_dump(exclude_unset=True)
    settings["export"] = {"url": made.settings.export.url.get_secret_value()} if made.settings.export else None
    at = (NOW + hours * HOUR).isoformat()
    asked = json.dumps([(step, at, given) for step, given in steps])
    return [sys.executable, "-c", STEPS, json.dumps(settings, default=_written), asked]


def _written(value: object) -> str:
    return f"{value // timedelta(seconds=1)}s" if isinstance(value, timedelta) else str(value)


@contextmanager
def kept_embedded(**environment: str) -> Iterator[Callable[..., list[dict[str, Any]]]]:
    """`embedded`, done by one process for all that is asked inside: most of what a small step takes is its start."""
    with subprocess.Popen(
        [sys.executable, "-c", STEPS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        asks, answers = process.stdin, process.stdout

        def done(made: Context, *steps: tuple[str, Any], hours: int = 0) -> list[dict[str, Any]]:
            print(json.dumps(command(made, *steps, hours=hours)[3:]), file=asks, flush=True)
            return [json.loads(answers.readline()) for _ in steps]

        yield done


def embedded(made: Context, *steps: tuple[str, Any], hours: int = 0) -> list[dict[str, Any]]:
    """The reports of the steps."""
    done = subprocess.run(command(made, *steps, hours=hours), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-4000:]
    return [json.loads(line) for line in done.stdout.splitlines()]


def rows(made: Context, table: str, *, without: tuple[str, ...] = ()) -> list[tuple[Any, ...]]:
    """A whole table, sorted; nothing in it is left out but what names a run or a moment."""
    found = made.tables.table(table).read().drop(*without)
    return sorted((tuple(map(repr, row)) for row in found.collect()), key=str)
