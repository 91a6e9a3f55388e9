"""When a time of the day comes next, and which one has come since. Decides, waits for nothing.

By cronsim, which does as Debian's cron does: a time that the night in spring skips comes right after it, one that the
night in autumn has twice comes once; what runs every so many minutes just goes on.
https://github.com/cuu508/cronsim
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice, takewhile
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from scoreline.config.watch import TriggerSettings
from scoreline.errors import ConfigurationError, told
from scoreline.report import Report

__all__ = ["Come", "Next", "NextStarts", "come", "next_starts", "next_times"]

_FIELDS = 5  # minute hour day month weekday
_BACK = timedelta(hours=1)  # a clock that is set back by more begins anew; by less no time comes twice
_LOOKED = timedelta(days=32)  # how far back at least: what was missed before that is not even told


@dataclass(frozen=True)
class Come:
    """A time that has come since the last look. `at`: which, None if none; `mark`: up to where it has been looked.

    missed: it came while nothing watched, longer ago than the grace, and is not made up for.
    """

    mark: datetime
    at: datetime | None = None
    missed: bool = False


def come(trigger: TriggerSettings, *, last: datetime | None, now: datetime, began: datetime) -> Come:
    """Look whether the time of a trigger has come since `last` (None: it is new), all of them together once.

    began: when this process began to watch; what came before it was missed.
    """
    if last is None or last - now > _BACK:
        return Come(now)
    if now <= last:
        return Come(last)
    since = max(last, now - max(trigger.grace, _LOOKED))
    times = takewhile(lambda at: at <= now, _times(trigger, since))
    newest = max((at for at in times if at > since), default=None)  # in an hour that comes twice: not once more
    if newest is None:
        return Come(last)
    return Come(now, newest, missed=newest < began and now - newest > trigger.grace)


def next_times(trigger: TriggerSettings, *, now: datetime, count: int) -> list[datetime]:
    """The next times of the day, in the trigger's zone."""
    return list(islice(_times(trigger, now), count))


@dataclass(frozen=True)
class Next:
    """One start to come. `at` is None for what comes when it comes: `when` says then what it waits for."""

    trigger: str
    at: datetime | None
    when: str
    steps: tuple[str, ...]


@dataclass(frozen=True)
class NextStarts(Report):
    """The next starts by the clock, earliest first, and what else would start something."""

    starts: list[Next]

    def rows(self) -> list[dict[str, object]]:
        return [{"trigger": one.trigger, "at": one.at, "when": one.when} for one in self.starts]

    def __str__(self) -> str:
        return "\n".join(
            f"{one.when if one.at is None else _written(one.at):<34} {one.trigger:<16} {', '.join(one.steps)}"
            for one in self.starts
        )


def _written(at: datetime) -> str:
    zone = getattr(at.tzinfo, "key", "UTC")
    return f"{at:%a %Y-%m-%d %H:%M} {zone}"


def next_starts(triggers: Sequence[TriggerSettings], *, now: datetime, count: int = 10) -> NextStarts:
    """The next `count` starts by the clock, then the triggers without one."""
    timed = [trigger for trigger in triggers if trigger.at is not None]
    times = [(at, trigger) for trigger in timed for at in next_times(trigger, now=now, count=count)]
    times.sort(key=lambda one: one[0])
    by_clock = [Next(trigger.name, at, str(trigger.at), trigger.steps) for at, trigger in times[:count]]
    others = [Next(one.name, None, _waits_for(one), one.steps) for one in triggers if one.at is None]
    return NextStarts([*by_clock, *others])


def _waits_for(trigger: TriggerSettings) -> str:
    if trigger.files is not None:
        return f"a new file: {trigger.files}"
    if trigger.table is not None:
        return f"a new version of {trigger.table}"
    if trigger.source is not None:
        return "news of events.source"
    if trigger.model is not None:
        return "another version of the model"
    return f"POST /{'signals' if trigger.signal else 'webhooks'}/{trigger.name}"


def _times(trigger: TriggerSettings, since: datetime) -> Iterator[datetime]:
    try:
        if len(str(trigger.at).split()) != _FIELDS:  # a sixth would be seconds
            raise CronSimError("Wrong number of fields")
        return CronSim(str(trigger.at), since.astimezone(ZoneInfo(trigger.timezone)))
    except CronSimError as error:
        raise ConfigurationError(
            f'watch.triggers: {trigger.name}: at: "{trigger.at}" is no time as cron writes it ({told(error)}); '
            'expected minute hour day month weekday, such as "30 2 * * *".'
        ) from None
