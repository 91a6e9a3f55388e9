"""Times of the day: zones, both nights of daylight saving, what was missed, clocks that are set."""

import re
from datetime import UTC, datetime, timedelta

import pytest

from scoreline.config.watch import TriggerSettings
from scoreline.errors import ConfigurationError
from scoreline.watch.schedule import come, next_starts, next_times

NIGHTLY = TriggerSettings(name="nightly", at="30 2 * * *", timezone="Europe/Berlin", steps=("run",))
OFTEN = TriggerSettings(name="often", at="*/30 * * * *", timezone="Europe/Berlin", steps=("run",))
MINUTE = timedelta(minutes=1)


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def fired(trigger: TriggerSettings, begin: str, end: str, *, each: timedelta = MINUTE) -> list[str]:
    """When a watch that looks each so often starts something, in UTC."""
    began = now = utc(begin)
    last, found = None, []
    while now <= utc(end):
        seen = come(trigger, last=last, now=now, began=began)
        if seen.at is not None and not seen.missed:
            found.append(f"{now:%d %H:%M}")
        last, now = seen.mark, now + each
    return found


def test_a_night_whose_hour_is_skipped_has_its_run_right_after() -> None:
    assert fired(NIGHTLY, "2026-03-28T12:00", "2026-03-30T12:00") == ["29 01:00", "30 00:30"]


def test_a_night_whose_hour_comes_twice_has_one_run() -> None:
    assert fired(NIGHTLY, "2026-10-24T12:00", "2026-10-26T12:00") == ["25 00:30", "26 01:30"]
    assert fired(NIGHTLY, "2026-10-25T01:10", "2026-10-25T12:00") == []  # begun between the two


def test_what_runs_every_half_hour_runs_every_half_hour() -> None:
    assert fired(OFTEN, "2026-10-24T23:45", "2026-10-25T02:15") == [
        "25 00:00",
        "25 00:30",
        "25 01:00",
        "25 01:30",
        "25 02:00",
    ]


def test_times_that_came_while_something_else_worked_are_one_start() -> None:
    assert fired(OFTEN, "2026-07-01T00:10", "2026-07-01T10:00", each=timedelta(hours=3)) == [
        "01 03:10",
        "01 06:10",
        "01 09:10",
    ]


def test_a_time_that_was_missed_is_made_up_for_within_its_grace_only() -> None:
    last, came = utc("2026-07-01T12:00"), utc("2026-07-02T00:30")

    soon, late = came + timedelta(minutes=59), came + timedelta(minutes=61)
    assert (
        come(NIGHTLY, last=last, now=soon, began=soon).at,
        come(NIGHTLY, last=last, now=soon, began=soon).missed,
    ) == (came, False)
    assert come(NIGHTLY, last=last, now=late, began=late).missed
    assert not come(
        NIGHTLY, last=last, now=late, began=last
    ).missed  # something else worked for long, nothing was missed


def test_a_new_trigger_waits_for_its_first_time() -> None:
    now = utc("2026-07-02T00:31")

    assert come(NIGHTLY, last=None, now=now, began=now).at is None


def test_a_clock_that_is_set_back_does_nothing_twice_and_never_waits_for_years() -> None:
    last = utc("2026-07-02T00:30")
    back = come(NIGHTLY, last=last, now=last - timedelta(minutes=5), began=last)
    assert (back.at, back.mark) == (None, last)

    far = come(NIGHTLY, last=utc("2030-01-01T00:00"), now=utc("2026-07-02T00:00"), began=last)
    assert (far.at, far.mark) == (None, utc("2026-07-02T00:00"))


def test_the_next_starts_are_those_of_all_triggers_by_time() -> None:
    app = TriggerSettings(name="app", signal=True, steps=("run", "export"))

    lines = str(next_starts([NIGHTLY, OFTEN, app], now=utc("2026-07-01T23:50"), count=4)).splitlines()

    assert [line.split() for line in lines] == [
        ["Thu", "2026-07-02", "02:00", "Europe/Berlin", "often", "run"],
        ["Thu", "2026-07-02", "02:30", "Europe/Berlin", "nightly", "run"],
        ["Thu", "2026-07-02", "02:30", "Europe/Berlin", "often", "run"],
        ["Thu", "2026-07-02", "03:00", "Europe/Berlin", "often", "run"],
        ["POST", "/signals/app", "app", "run,", "export"],
    ]


@pytest.mark.parametrize("at", ["at noon", "*/5 30 2 * * *", "@daily", "61 2 * * *"])
def test_a_time_that_cron_does_not_know_is_named(at: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(f'nightly: at: "{at}" is no time as cron writes it')):
        next_times(NIGHTLY.model_copy(update={"at": at}), now=utc("2026-07-01T00:00"), count=1)
