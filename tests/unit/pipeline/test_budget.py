"""Which buckets fit into a time, and when at this pace everybody is fresh."""

from datetime import timedelta

import pytest

from builders import NOW
from recorded import past_run
from scoreline.errors import InputError
from scoreline.pipeline.budget import pace, within_budget
from scoreline.pipeline.estimate import Learned

MINUTE = timedelta(minutes=1)
COUNTS = {bucket: {"changed": 10} for bucket in range(6)}
SURE = Learned(20.0, {"changed": 1.0}, 1.0, fewest=1, most=100, spread=0.0)  # 20 s, and a second a user


@pytest.mark.parametrize(
    ("seconds", "taken"), [(30, [5]), (39, [5]), (40, [5, 0]), (60, [5, 0, 3, 1]), (9999, [5, 0, 3, 1])]
)
def test_as_many_as_fit_are_taken_in_their_turn(seconds: int, taken: list[int]) -> None:
    assert within_budget([5, 0, 3, 1], COUNTS, SURE, timedelta(seconds=seconds)) == taken


def test_what_fits_is_judged_by_the_upper_bound() -> None:
    unsure = Learned(20.0, {"changed": 1.0}, 1.0, fewest=1, most=100)  # up to the double
    assert within_budget([0, 1, 2], COUNTS, unsure, 80 * timedelta(seconds=1)) == [0, 1]


def test_a_time_that_nothing_fits_into_is_an_error_that_says_what_would() -> None:
    with pytest.raises(InputError, match=r"--budget is 29 s, .* \(10 users\) may take 30 s .* Give at least 30s\."):
        within_budget([4, 1], COUNTS, SURE, timedelta(seconds=29))
    assert within_budget([], COUNTS, SURE, timedelta(seconds=1)) == []


def test_without_an_idea_one_bucket_is_taken() -> None:
    assert within_budget([4, 1], COUNTS, None, MINUTE) == [4]
    assert within_budget([], COUNTS, None, MINUTE) == []


def test_a_first_run_in_part_says_how_many_more_are_needed() -> None:
    found = pace([], now=NOW, taken=30, left=70)
    assert (found.runs, found.every, found.becoming, found.fresh_at) == (3, None, None, None)
    assert str(found) == (
        "30 due users were taken, 70 are left: everybody will be fresh after 3 more such runs "
        "(if nobody else becomes due)"
    )


def test_a_run_to_learn_from_forecasts_nothing() -> None:
    found = pace([past_run(0, {"new": 20})], now=NOW + timedelta(days=1), taken=3, left=97, to_learn=True)
    assert (found.runs, found.every, found.becoming, found.fresh_at) == (None, None, None, None)
    assert str(found) == (
        "3 due users were taken, 97 are left: this run was to learn what one takes, the next takes as many as fit into "
        "the time"
    )


def test_at_this_pace_counts_how_often_runs_are_and_who_becomes_due_between_two() -> None:
    # each night 20 become due; the last run before this one has left 60 of them
    past = [past_run(night, {"changed": 20}) for night in range(5)] + [past_run(5, {"changed": 20}, waiting=60)]
    found = pace(past, now=NOW + timedelta(days=6), taken=30, left=50)
    assert (found.becoming, found.runs, found.every) == (20, 5, 86400)
    assert found.fresh_at == NOW + timedelta(days=11)
    assert str(found) == (
        "30 due users were taken, 50 are left: at this pace everybody will be fresh on 2026-07-12 at 03:00 UTC, after "
        "5 more such runs (20 users become due from one run to the next), one every 24.0 h"
    )


def test_a_pace_that_is_too_slow_is_called_so() -> None:
    past = [past_run(night, {"changed": 20}) for night in range(5)]
    found = pace(past, now=NOW + timedelta(days=5), taken=20, left=50)
    assert (found.runs, found.fresh_at) == (None, None)
    assert "never will all be fresh at this pace, 20 users become due from one run to the next" in str(found)


def test_a_full_refresh_makes_everybody_due_and_only_what_is_left_counts() -> None:
    past = [past_run(night, {"asked": 25}, waiting=None) for night in range(5)]
    found = pace(past, now=NOW + timedelta(days=5), taken=25, left=75, full_refresh=True)
    assert (found.runs, found.becoming, found.fresh_at) == (3, None, NOW + timedelta(days=8))
