"""Look an installation over: what is there, what is not as it should be, and what to do about it."""

import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Literal

from scoreline.config.settings import Settings
from scoreline.context import Context, open_context, step
from scoreline.engine.engine import engine_of
from scoreline.engine.frames import count
from scoreline.errors import ScorelineError, told
from scoreline.hashing import verify
from scoreline.operations.log import last_of_each
from scoreline.operations.repair import doubled
from scoreline.pipeline.published import target_of
from scoreline.pipeline.staging import PREFIX, SCRATCH
from scoreline.registry.files import abandoned, download
from scoreline.registry.versions import pin
from scoreline.report import Report
from scoreline.runs.freshness import measure
from scoreline.tables.names import PUBLISHED, TABLES
from scoreline.tables.reading import Readers, open_readers
from scoreline.typed import typed

Verdict = Literal["ok", "warn", "bad"]

_LITTLE_SPACE = 2 << 30
_MANY_FILES = 200
_OLD = timedelta(days=1)
# what to do where a user has more rows than one
_ONE_ROW_EACH = {
    "user_history": ("repair", "puts them together."),
    **dict.fromkeys(PUBLISHED, ("run --verify", "gives each one row.")),
}


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found and, unless it is well, what to do."""

    name: str
    verdict: Verdict
    found: str
    advice: str = ""


@dataclass(frozen=True)
class DoctorReport(Report):
    """All that was looked at, in the order of a run's way."""

    checks: tuple[Check, ...]

    @property
    def is_bad(self) -> bool:
        """Whether a run would fail, or do wrong."""
        return any(check.verdict == "bad" for check in self.checks)

    def rows(self) -> list[dict[str, object]]:
        """A row a check."""
        return [vars(check) for check in self.checks]

    def __str__(self) -> str:
        lines = []
        for check in self.checks:
            lines.append(f"{check.verdict:<5} {check.name:<22} {check.found}")
            if check.verdict != "ok":
                lines.append(f"{'':<28} {check.advice}")
        bad, warn = (sum(check.verdict == verdict for check in self.checks) for verdict in ("bad", "warn"))
        return "\n".join([*lines, "All is well." if not bad + warn else f"{bad} bad, {warn} to look at."])


def examine(settings: Settings) -> DoctorReport:
    """Every check, in the order in which things depend on each other; a check that fails does not stop the others."""
    checks = [_python(), *_guarded("space", lambda: [_space(settings)])]
    context: list[Context] = []
    checks += _guarded("engine", lambda: _session(settings, context))
    checks += _guarded("registry", lambda: _model(settings))
    for made in context:
        checks += _tables(made)
    checks += _guarded("last runs", lambda: list(_last_runs(open_readers(settings))))
    return DoctorReport(tuple(checks))


@step
def _tables(context: Context) -> list[Check]:
    checks = _guarded("storage", lambda: [_writable(context)])
    for name in TABLES:
        checks += _guarded(f"table {name}", lambda name=name: list(_table(context, name)))  # type: ignore[misc]
    return checks + _guarded("leftovers", lambda: list(_leftovers(context)))


def _guarded(name: str, look: Callable[[], list[Check]]) -> list[Check]:
    try:
        return look()
    except ScorelineError as error:
        return [Check(name, "bad", str(error), "See the message.")]
    except Exception as error:  # whatever else storage, Java or MLflow throw: that is what is being looked for
        logging.getLogger(__name__).debug("check=%s failed", name, exc_info=True)
        return [Check(name, "bad", told(error), "See the message; --debug shows all of it.")]


def _python() -> Check:
    found = ".".join(map(str, sys.version_info[:3]))
    return Check("Python", "ok", found)


def _space(settings: Settings) -> Check:
    place = next(folder for folder in (settings.home, *settings.home.parents) if folder.exists())
    free = shutil.disk_usage(place).free
    said = f"{free / 2**30:.1f} GiB free at {place}"
    if free < _LITTLE_SPACE:
        return Check(
            "space", "warn", said, f"A run stages its rows before it publishes: make room, or {typed('vacuum')}."
        )
    return Check("space", "ok", said)


def _session(settings: Settings, context: list[Context]) -> list[Check]:
    made = open_context(settings)
    context.append(made)
    return [Check("engine", "ok", engine_of(made.spark).described())]


def _model(settings: Settings) -> list[Check]:
    model = pin(
        settings.model.uri,
        tracking_uri=settings.tracking_uri,
        registry_uri=settings.mlflow.registry_uri,
        allow=settings.model.allow,
    )
    said = f"{settings.model.uri} is {model.name} version {model.version}"
    expected = settings.model.sha256 or model.digest
    if expected is None:
        advice = f"Promote it ({typed('promote')}) to have its digest recorded, or pin model.sha256."
        return [Check("model", "warn", f"{said}; nobody has recorded its digest", advice)]

    def verified() -> list[Check]:
        verify(download(model, settings.model_folder), expected)
        return [Check("model", "ok", f"{said}; its files have the recorded digest")]

    return _guarded("model", verified)


def _writable(context: Context) -> Check:
    table = context.tables.table(f"{SCRATCH}doctor")
    try:
        table.write(context.spark.range(1), "overwrite")
        found = table.read().count()
    finally:
        table.drop()
    said = f"a table can be written, read and removed in {table.location.removesuffix(table.name).rstrip('/.')}"
    if found == 1 and not context.tables.keeps_writers_apart():
        advice = "Let one driver at a time write these tables, or set S3DynamoDBLogStore (docs/deploy/storage.md)."
        return Check("storage", "warn", f"{said}; two hosts that commit at once are not kept apart here", advice)
    return Check("storage", "ok" if found == 1 else "bad", said)


def _table(context: Context, name: str) -> Iterator[Check]:
    table = context.tables.table(name)
    if not table.exists():
        return
    detail = table.detail()
    files, size = detail["numFiles"], detail["sizeInBytes"]
    rows = table.read().count()
    said = f"{rows:,} rows in {files:,} files, {size / 2**20:,.1f} MiB, version {table.version()}"
    if files > _MANY_FILES and size / files < 8 << 20:
        yield Check(f"table {name}", "warn", said, f"Many small files make every run slower: {typed('optimize')}.")
    else:
        yield Check(f"table {name}", "ok", said)
    if name in _ONE_ROW_EACH and (twice := count(doubled(table.read()))):
        command, does = _ONE_ROW_EACH[name]
        yield Check(f"table {name}", "bad", f"{twice:,} users have two rows", f"{typed(command)} {does}")


def _last_runs(readers: Readers) -> Iterator[Check]:
    """What was last tried and last done; a run that failed since is one thing, a schedule that stopped another."""
    for kind, last in last_of_each(readers).items():
        done = f"done {last['done_at']:%Y-%m-%d %H:%M} UTC" if last["done_at"] else "no other is in the log"
        if last["done_at"] == last["tried_at"]:
            yield Check(f"last {kind}", "ok", f"{done}: {last['state']}")
            continue
        said = f"tried {last['tried_at']:%Y-%m-%d %H:%M} UTC: {last['state']}; {done}"
        verdict: Verdict = "ok" if last["state"] == "running" else "warn"
        yield Check(f"last {kind}", verdict, said, f"Why: {typed('log ' + last['run_id'])}")
    if readers.settings.freshness is None:
        return
    found = measure(readers, target_of(readers, readers.settings.name), now=datetime.now(UTC))
    if found is not None and found.fresh_share is not None:
        said = str(found).splitlines()[-1].split(maxsplit=1)[1]
        yield Check("freshness", "warn" if found.stale else "ok", said, f"See the last runs, then {typed('run')}.")


def _leftovers(context: Context) -> Iterator[Check]:
    found = [name for prefix in (PREFIX, SCRATCH) for name in context.tables.names(prefix)]
    old = []
    for name in found:
        table = context.tables.table(name)
        at = table.commits(limit=1)[0].at.astimezone(UTC) if table.exists() else table.touched_at()
        if datetime.now(UTC) - at > _OLD:
            old.append(name)
    fetching = [str(path) for path in abandoned(context.settings.model_folder)]
    if old or fetching:
        listed = ", ".join([*old, *fetching])
        yield Check("leftovers", "warn", f"of runs that nobody took up: {listed}", f"{typed('vacuum')} removes them.")
    else:
        said = f"{len(found)} staged run(s), none older than a day" if found else "none"
        yield Check("leftovers", "ok", said)
