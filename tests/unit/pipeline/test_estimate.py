"""What a run will cost, from logs of many kinds: the bounds hold four times of five, and say no more than is known."""

import math
from statistics import median

import numpy as np
import pytest

from recorded import NAMES, cost, past_run, series
from scoreline.pipeline.estimate import Costs, Learned, learn, learn_costs


def learned(runs: list[tuple[dict[str, int], float]]) -> Learned:
    found = learn(runs)
    assert found is not None
    return found


@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("name", NAMES)
def test_of_each_log_four_of_five_runs_cost_what_was_estimated(name: str, seed: int) -> None:
    found = learned(series(name, seed)).estimated({"changed": 1000})
    assert found.compared == 40
    assert found.held >= 0.8 * found.compared


@pytest.mark.parametrize("name", NAMES)
def test_from_the_second_run_on_too(name: str) -> None:
    runs = series(name, runs=16)
    held = [
        found.low <= took <= found.high
        for place, (reasons, took) in enumerate(runs)
        if place and (found := learned(runs[:place]).estimated(reasons))
    ]
    assert sum(held) >= 0.8 * len(held)


def test_how_good_the_last_estimates_were_is_told_as_if_each_had_been_made_before_its_run() -> None:
    runs = series("a busy neighbour now and then", runs=25)
    made = [(learned(runs[:place]).estimated(runs[place][0]), runs[place][1]) for place in range(1, 25)]
    told = learned(runs).estimated({"changed": 1000})
    assert (told.compared, told.held) == (24, sum(found.low <= took <= found.high for found, took in made))
    errors = [abs(math.log(took / found.expected)) for found, took in made]
    assert told.usual_error == pytest.approx(math.expm1(median(errors)))


@pytest.mark.parametrize("name", ["steady", "always as many", "in parts"])
def test_the_bounds_of_a_steady_installation_are_near(name: str) -> None:
    found = learned(series(name)).estimated(series(name)[-1][0])
    assert 1 < found.high / found.low < 1.25**2


def test_the_fixed_part_and_what_a_user_costs_are_found_by_reason_in_spite_of_outliers() -> None:
    dice = np.random.default_rng(7)
    runs = []
    for night in range(30):
        reasons = {"other_model": 50_000} if night % 7 == 6 else {"changed": int(dice.integers(200, 5000))}
        runs.append((reasons, cost(reasons) * dice.lognormal(0, 0.02) * (4 if night % 13 == 0 else 1)))
    found = learned(runs)
    assert found.fixed == pytest.approx(8, rel=0.1)
    assert found.per_user["changed"] == pytest.approx(0.003, rel=0.15)
    assert found.per_user["other_model"] == pytest.approx(0.002, rel=0.05)


def test_a_reason_that_no_run_has_had_costs_what_the_others_do() -> None:
    found = learned([({"changed": users}, 5 + users / 100) for users in (100, 400, 900, 1600)])
    assert found.estimated({"too_old": 900}).expected == pytest.approx(14, rel=0.02)


def test_nothing_is_negative_where_more_users_cost_less() -> None:
    runs = [({"changed": users}, 20 - users / 1000) for users in range(1000, 9000, 1000)]
    found = learned(runs).estimated({"changed": 100_000})
    assert found.fixed >= 0
    assert found.per_user["changed"] >= 0
    assert 0 < found.low <= found.expected <= found.high


def test_one_run_says_half_to_double_and_of_other_sizes_all_that_may_be() -> None:
    one = learned([({"changed": 1000}, 60.0)])
    same, more, less = (one.estimated({"changed": users}) for users in (1000, 10_000, 100))
    assert (same.low, same.expected, same.high) == pytest.approx((30, 60, 120))
    assert (more.low, more.high) == pytest.approx((30, 1200))
    assert (less.low, less.high) == pytest.approx((3, 120))
    assert (same.compared, same.held, same.usual_error) == (0, 0, None)


def test_many_more_users_than_ever_have_wide_bounds_and_few_more_have_not() -> None:
    runs = series("always as many")
    known, more, many = (learned(runs).estimated({"changed": users}) for users in (5000, 6000, 500_000))
    assert more.high / more.low < 1.3 * known.high / known.low
    assert many.high / many.low > 50 * known.high / known.low


def test_no_run_is_no_idea() -> None:
    assert learn([]) is None
    assert Costs().estimate({"new": 3}) is None
    only_looked = [past_run(0), past_run(1, {"new": 3})]  # nobody was due; taken over from an interrupted one
    assert learn_costs(only_looked, selected=False).estimate({"new": 3}) is None


def test_runs_for_some_users_are_estimated_from_such_runs() -> None:
    some = past_run(0, {"changed": 2}, costs={"seconds": 3.0}, selected=True)
    everybody = past_run(1, {"changed": 2}, costs={"seconds": 60.0})
    found = [learn_costs([some, everybody], selected=selected).estimate({"changed": 2}) for selected in (True, False)]
    assert [one.seconds.expected for one in found if one] == pytest.approx([3, 60])


def test_memory_is_not_told_of_far_more_users_than_a_run_has_had() -> None:
    runs = [past_run(night, {"new": 1000}, costs={"seconds": 60.0, "worker_peak_mib": 350.0}) for night in range(3)]
    costs = learn_costs(runs, selected=False)
    found = [costs.estimate({"new": users}) for users in (10, 2000, 2001)]
    assert [one is not None and one.worker_peak_mib is not None for one in found] == [True, True, False]


def test_it_reads_as_a_person_would_say_it() -> None:
    costs = {"seconds": 660.0, "cpu_seconds": 1200.0, "worker_peak_mib": 350.0}
    runs = [past_run(night, {"changed": 1000}, costs=costs) for night in range(12)]
    found = learn_costs(runs, selected=False).estimate({"changed": 1000, "new": 10})
    assert found is not None
    head, time, cpu, worker, accuracy = str(found).splitlines()
    assert head == "It would take, by 12 past runs and four times of five within the bounds:"
    assert time.startswith("  time       11 min (")
    assert time.endswith("ms (new)")
    assert cpu.startswith("  CPU        20 min (")
    assert worker.startswith("  a worker   35")
    assert worker.endswith(" MiB) of memory")
    assert accuracy == "Of the last 11 estimates of time 11 held, half of them were off by 0% or less."
    for past, told in ((5, False), (6, True)):  # so many runs are one estimate fewer
        few = learn_costs(runs[:past], selected=False).estimate({"changed": 1000})
        assert ("Of the last" in str(few)) is told


def test_what_a_run_takes_to_open_is_not_charged_to_its_users() -> None:
    """First everybody in a warm process, then two small runs of which most is the start; then 654 took 10.1 s."""
    users, seconds, opening = (1500, 15, 12), (2.4, 6.8, 9.3), (0.3, 5.0, 7.0)
    past = [
        past_run(
            number,
            {"changed" if number else "new": users[number]},
            costs={"seconds": seconds[number]},
            opening=opening[number],
        )
        for number in range(3)
    ]
    found = learn_costs(past, selected=False).estimate({"changed": 654})
    assert found is not None
    assert found.seconds.low < 10.1 < found.seconds.high < 30
    assert found.seconds.expected == pytest.approx(7, rel=0.3)
