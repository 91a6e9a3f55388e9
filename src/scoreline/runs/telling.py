"""Whom the configuration's `notify` names is told how a command ended, through Apprise; it never costs the command."""

import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from scoreline.config.settings import NotifySettings, Occasion, Settings
from scoreline.errors import ConfigurationError, told
from scoreline.redaction import redacted
from scoreline.report import Report
from scoreline.runs.record import Record
from scoreline.typed import limits_in, typed, typed_again

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

__all__ = [
    "NotifyReport",
    "Told",
    "last_state",
    "note_watch",
    "send",
    "tell_end",
    "tell_stale",
    "try_addresses",
    "watched",
]

log = logging.getLogger(__name__)

# how a service marks what it shows, by the names of apprise.NotifyType
_TYPES: Mapping[Occasion, str] = {
    "refused": "warning", "failed": "failure", "stale": "warning", "recovered": "success", "published": "success",
}  # fmt: skip
_BAD = ("refused", "failed", "interrupted")
_EMPTY = ("nothing_due", "only_failures")  # what readers see is as it was: neither a recovery nor news
_STALE = "told-stale"  # a file in the pipeline's home, from the message that it is stale to the one that it is not


_watched: ContextVar[tuple[str, bool] | None] = ContextVar("watched", default=None)


@contextmanager
def watched(trigger: str, *, again: bool) -> Iterator[None]:
    """Inside, commands are begun by a trigger of `watch`.

    again: what fails will be tried again; nobody is told of it, nor that it then went well.
    """
    token = _watched.set((trigger, again))
    try:
        yield
    finally:
        _watched.reset(token)


def note_watch(record: Record) -> None:
    """Let a command say which trigger has begun it, and one that failed that nobody was told of it."""
    if (begun_by := _watched.get()) is None:
        return
    trigger, again = begun_by
    record.say(trigger=trigger)
    if again and record.state in ("failed", "interrupted"):
        record.say(tried_again="by watch")


@dataclass(frozen=True)
class Told:
    """One address. `place`: where it stands in `notify.to`; why: the reason why it could not be told, else None."""

    place: int
    service: str
    why: str | None = None


@dataclass(frozen=True)
class NotifyReport(Report):
    """Each address of `notify.to`, and whether the service has taken the message."""

    addresses: list[Told]

    @property
    def is_bad(self) -> bool:
        return any(one.why for one in self.addresses)

    def __str__(self) -> str:
        return "\n".join(
            f"notify.to.{one.place}  {one.service}: {one.why or 'has taken the message'}" for one in self.addresses
        )


def last_state(settings: Settings, record: Record, spark: "SparkSession | None") -> str | None:
    """How the command of this kind before a good one ended, but for those that were held off or published nothing.

    None for the first, and where nobody wants to know.
    """
    if settings.notify is None or "recovered" not in settings.notify.on or record.state in (*_BAD, *_EMPTY):
        return None
    from scoreline.runs.rows import logged
    from scoreline.tables.reading import open_readers

    rows = logged(open_readers(settings, spark), ["state", "started_at", "figures"], where={"kind": [record.kind]})
    before = [
        row for row in rows if row["state"] not in _EMPTY and not {"held_off", "tried_again"} & row["figures"].keys()
    ]
    return max(before, key=lambda row: row["started_at"])["state"] if before else None


def tell_end(settings: Settings, record: Record, *, before: str | None, page: str | None = None) -> None:
    """Tell how a command ended. before: how the one of its kind before it did. page: where the page about it is."""
    if settings.notify is None or (occasion := _occasion(record, before)) is None:
        return
    said = str(record.facts.get("error") or record.left or _outcome(record))
    if page is not None:
        said = f"{said}\n\nReport: {page} on {record.facts.get('host')}"
    state = "" if occasion in (record.state, "refused") else f": {str(record.state).replace('_', ' ')}"
    steps = _next(occasion, record, has_page=page is not None)
    _tell(settings, occasion, f"{record.kind} {record.run_id}{state}", said, steps)


def tell_stale(settings: Settings, said: str, *, stale: bool) -> None:
    """Tell, once, that the promise of `freshness` is broken, and once that it is kept again."""
    mark = settings.home / _STALE
    if settings.notify is None or stale == mark.exists():
        return
    try:
        _marked(mark, there=stale)
    except OSError as error:
        log.warning("%s could not be written, so nobody is told: %s", mark, told(error))
        return
    _tell(settings, "stale" if stale else "recovered", "freshness", said, [typed("run" if stale else "log --last 5")])


def try_addresses(settings: Settings) -> NotifyReport:
    """Send a message to each address. Raises ConfigurationError where nobody is named, or without the package."""
    if settings.notify is None:
        raise ConfigurationError('The configuration names nobody to tell: notify: {to: ["${SLACK_URL}"]}.')
    title, body = f"{settings.name}: a test", "scoreline notify --test was called. Nothing has happened."
    return NotifyReport(send(settings.notify, title, body))


def send(notify: NotifySettings, title: str, body: str, *, kind: str = "info") -> list[Told]:
    """Send one message to all addresses, one after another. kind: an apprise.NotifyType.

    Raises ConfigurationError without the package.
    """
    if find_spec("apprise") is None:
        raise ConfigurationError("notify needs the package apprise: pip install 'scoreline[notify]'.")
    # it logs addresses; what became of each is told without
    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of what its services import
        for place, address in enumerate(notify.to):
            service, known, _ = address.get_secret_value().partition("://")
            why = _why_not(address.get_secret_value(), title, body, kind)
            found.append(Told(place, service if known else "?", why))
    return found


def _why_not(address: str, title: str, body: str, kind: str) -> str | None:
    """Send it to one address: why it was not taken, None if it was."""
    import apprise

    try:
        server = apprise.Apprise.instantiate(address)
        if server is None:
            return "is no address that Apprise knows, expected service://..."
        return (
            None
            if server.notify(body=body, title=title, notify_type=apprise.NotifyType(kind))
            else "has not taken the message"
        )
    except Exception as error:
        return f"failed with {type(error).__name__}"


def _occasion(record: Record, before: str | None) -> Occasion | None:
    if record.state == "refused":
        return "refused"
    if record.held_off:
        return None
    if record.state in _BAD:
        return None if (begun_by := _watched.get()) and begun_by[1] else "failed"
    if before in _BAD:  # the message says what it has left, too
        return "recovered"
    if record.left:
        return "refused"
    return "published" if record.state in ("published", "approved") else None


def _outcome(record: Record) -> str:
    model = f" by {record.model}" if record.model else ""
    return f"{record.users:,} users{model}" if record.users else "Nothing had to be done."


def _next(occasion: Occasion, record: Record, *, has_page: bool) -> list[str]:
    """What to do about it, in this order."""
    report = [] if has_page else [typed(f"report --run {record.run_id}")]
    refused_by = limits_in(str(record.facts.get("error")))
    run = typed_again(record.facts.get("command"), changed=refused_by)
    if occasion == "refused" and record.kind == "run":
        return [*report, f"{typed(f'approve {record.run_id} --reason REASON')}, or mend it and {run}"]
    if occasion in ("refused", "failed"):
        again = run if record.kind == "run" else f"{record.kind} once more"
        return [typed(f"log {record.run_id}"), f"mend it, then {again}"]
    return [typed("log --last 5")] if occasion == "recovered" else report


def _tell(settings: Settings, occasion: Occasion, what: str, said: str, steps: Sequence[str]) -> None:
    if (notify := settings.notify) is None or occasion not in notify.on:
        return
    body = redacted("\n\n".join([said, *([f"Next: {', then '.join(steps)}"] if steps else [])]))
    try:
        for one in send(notify, f"{settings.name} {occasion}: {what}", body, kind=_TYPES[occasion]):
            if one.why:
                log.warning("notify.to.%d (%s) was not told of it: %s", one.place, one.service, one.why)
    except Exception as error:  # the command stands, whoever hears of it
        log.warning("nobody was told of it: %s", told(error))


def _marked(mark: Path, *, there: bool) -> None:
    if there:
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
    else:
        mark.unlink(missing_ok=True)
