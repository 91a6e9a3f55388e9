"""Push what was published since the last export to the application's database, all at once.

The database says which version of which table it shows; the next export compares that version with the newest. A run's
id in each row tells what is the same, or the lists themselves do where somebody else has changed rows. Where they
cannot be compared, everyone's lists are sent, unless a table that was made anew has too few of them yet. How a database
takes the rows is its destination's business.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, field
from functools import partial

from pyspark.sql import functions as F

from scoreline.context import Context, logged, step
from scoreline.engine.failures import explained
from scoreline.engine.frames import count
from scoreline.engine.thrown import engine_errors
from scoreline.errors import AuditRefused, ConfigurationError, Superseded
from scoreline.export.destinations import Change, Destination, Sent, Shown, open_destination
from scoreline.report import Report
from scoreline.tables.delta import Table
from scoreline.tables.history import Commit, origin
from scoreline.tables.names import RECOMMENDATIONS, USER_ID
from scoreline.typed import typed

_LISTS = (USER_ID, RECOMMENDATIONS, "source")
_VANISHED = (
    "DELTA_VERSION_NOT_FOUND", "DELTA_TIMESTAMP", "FILE_NOT_EXIST", "DELTA_FILE_NOT_FOUND", "time travel",
    "the table's log names it", "Invalid table version",
)  # fmt: skip
_ATTEMPTS = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ExportReport(Report):
    """What was sent: users whose rows were replaced or removed, and the version now shown.

    left_out: for each reason, the users whose lists the database cannot hold; they have no list there. everyone: why
    all lists were sent, None if only what had changed.
    """

    replaced: int
    removed: int
    version: int
    previous: int | None
    target: str
    left_out: Mapping[str, int] = field(default_factory=dict)
    everyone: str | None = None

    def __str__(self) -> str:
        if self.previous == self.version and self.everyone is None:
            return f"{self.target} shows version {self.version} already; nothing was sent."
        sent = f"{self.replaced:,} users replaced, {self.removed:,} removed"
        lines = [f"{self.target}: {sent}; it shows version {self.version}"]
        if self.everyone is not None and self.previous is not None:
            lines.append(f"  everyone's lists were sent: {self.everyone}")
        lines += [f"  {count:,} users left out: {reason}" for reason, count in self.left_out.items()]
        return "\n".join(lines)


@logged("export")
@step
def export(context: Context) -> ExportReport:
    """Bring the database to the newest version of `recommendations`; doing it twice sends nothing the second time.

    Where another export or a rollback comes between, what the table says then is sent. Raises Superseded, with what
    the database shows untouched, if that goes on; AuditRefused if the table is another than the one whose lists the
    database shows, and has lists of a smaller share of the users than `audit.min_users_share`.
    """
    settings = context.settings.export
    if context.settings.input is not None:
        raise ConfigurationError(
            "Only lists of recommendations are exported; this pipeline has an input section and publishes predictions. "
            "Read them from the table."
        )
    if settings is None:
        raise ConfigurationError(
            "The configuration has no export section: give export.url, such as sqlite:///serving.db."
        )
    destination = open_destination(settings, context.keys)
    source = context.tables.existing(RECOMMENDATIONS, made_by=typed("run"))
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            report = _once(context, destination, source)
            _require_wanted(source, report.version, destination.address)
            record = context.record
            record.users = report.replaced + report.removed
            record.read(source.name, report.version)
            record.say(**_told(report))
            return report
        except Superseded:
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError  # not reached


def _told(report: ExportReport) -> dict[str, object]:
    """All that the report says, under the names that the run log has for it."""
    said = asdict(report)
    return {"destination": said.pop("target"), "why_everyone": said.pop("everyone"), **said}


def _once(context: Context, destination: Destination, source: Table) -> ExportReport:
    # the database first: should a newer export come between, we find it newer than what we have read of the table
    previous = destination.shown()
    commits, table_id = source.commits(), str(source.detail()["id"])
    wanted = _wanted(commits, table_id)
    sent, everyone = (
        (Sent(), None) if previous == wanted else _sent(context, destination, source, previous, wanted, commits)
    )
    before = previous.version if previous else None
    return ExportReport(
        sent.replaced, sent.removed, wanted.version, before, destination.address, sent.left_out, everyone
    )


def _wanted(commits: Sequence[Commit], table_id: str) -> Shown:
    made = origin(commits, commits[0].version) or commits[0]
    return Shown(commits[0].version, made.version, _identity(table_id, made))


def _identity(table_id: str, made: Commit) -> str:
    return f"{table_id}/{made.attempt or ''}"


def _sent(
    context: Context,
    destination: Destination,
    source: Table,
    previous: Shown | None,
    wanted: Shown,
    commits: Sequence[Commit],
) -> tuple[Sent, str | None]:
    """What was sent, and why everyone's lists were; None if only what had changed."""
    check = partial(_require_wanted, source, wanted.version, destination.address)
    why = _why_everyone(previous, wanted, commits)
    if previous is not None and why is None:
        if (flipped := destination.flip_back(previous=previous, wanted=wanted)) is not None:
            return Sent(replaced=flipped), None
        with _explained(destination):
            try:
                return destination.apply(_difference(source, previous, wanted, check, commits)), None
            except engine_errors() as error:
                if not any(sign in str(error) for sign in _VANISHED):
                    raise
        why = f"version {previous.version}, which the database showed, can't be read any more"
    elif previous is not None:
        _require_users(context, source, wanted.version, destination.address)
    with _explained(destination):
        return destination.apply(_everyone(source, previous, wanted, check)), why


def _why_everyone(previous: Shown | None, wanted: Shown, commits: Sequence[Commit]) -> str | None:
    """Why what the database shows cannot be compared with the table; None if it can."""
    if previous is None:
        return "nothing had been exported"
    table_id = wanted.origin.split("/", 1)[0]
    made = next((c for c in commits if c.version == previous.content), None)
    if previous.version > wanted.version or made is None or _identity(table_id, made) != previous.origin:
        return "what the database showed is not from this table as it is now"
    return None


def _require_users(context: Context, source: Table, version: int, address: str) -> None:
    """Raise AuditRefused if a table that was made anew has lists of too few users: the others would lose theirs."""
    limits, histories = context.settings.audit, context.tables.table("user_history")
    if limits.min_users_share is None or not histories.exists():
        return
    listed, users = count(source.read(version)), count(histories.read())
    if listed >= limits.min_users_share * users:
        return
    said = (
        f"{address} shows lists of another table than {source.location} is now, and this one has lists of "
        f"{listed:,} of {users:,} users, expected at least {limits.min_users_share:.0%} (audit.min_users_share)"
    )
    if "min_users_share" in limits.warn:
        log.warning("%s", said)
        return
    raise AuditRefused(
        f"Nothing was sent: {said}. The others would lose theirs. Make their lists first: {typed('run')}. If they are "
        f"really gone: {typed('export --set audit.min_users_share=0')}"
    )


def _require_wanted(source: Table, version: int, address: str) -> None:
    """Raise Superseded if a rollback has begun since `version` was read."""
    later = [c for c in source.commits(limit=50) if c.version > version]
    if any(c.operation == "RESTORE" or c.kind == "rollback" for c in later):
        raise Superseded(
            f"{source.location}: version {version} was taken back while it was exported to {address}. Export again."
        )


def _explained(destination: Destination) -> AbstractContextManager[None]:
    return explained(f"the export to {destination.address} failed; it shows what it showed before")


def _everyone(source: Table, previous: Shown | None, wanted: Shown, check: Callable[[], None]) -> Change:
    new = source.read(wanted.version)
    return Change(new.select(*_LISTS), new.select(USER_ID).limit(0), True, previous, wanted, check)


def _difference(
    source: Table, previous: Shown, wanted: Shown, check: Callable[[], None], commits: Sequence[Commit]
) -> Change:
    new = source.read(wanted.version)
    told_by = ["run_id"] if _ours_alone(commits, previous.version, wanted.version) else ["run_id", *_LISTS[1:]]
    old = source.read(previous.version).select(USER_ID, F.struct(*told_by).alias("_old"))
    changed = new.join(old, on=USER_ID, how="left").where(~F.col("_old").eqNullSafe(F.struct(*told_by)))
    gone = old.join(new.select(USER_ID), on=USER_ID, how="left_anti").select(USER_ID)
    return Change(changed.select(*_LISTS), gone, False, previous, wanted, check)


def _ours_alone(commits: Sequence[Commit], since: int, until: int) -> bool:
    """Whether the rows of all versions from `since` to `until` were published by runs, whose id tells rows apart."""
    made = [origin(commits, c.version) for c in commits if since <= c.version <= until]
    return all(commit is not None and commit.kind in ("publish", "rollback") for commit in made)
