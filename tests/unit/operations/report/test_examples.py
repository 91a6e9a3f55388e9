"""The users that a page shows."""

from test_lists import lists

from scoreline.operations.report.examples import choose_listed, choose_scored
from scoreline.operations.report.facts import Listed

import pyarrow as pa  # isort: skip


def test_a_user_is_shown_for_each_reason_and_once() -> None:
    new = lists({user: [(user, 1.0), (100, 0.5)] for user in range(1, 31)})
    old = lists({user: [(user, 1.0), (100, 0.5)] if user != 4 else [(7, 1.0)] for user in range(1, 29)})
    new = new.append_column("source", pa.array(["fallback" if user == 9 else "model" for user in range(1, 31)]))
    lengths = {user: 50 + user for user in range(1, 31)}

    found = choose_listed(new, old, lengths, seed="run-1")

    assert len({one.user_id for one in found}) == 10
    why = {one.why: [other.user_id for other in found if other.why == one.why] for one in found}
    assert {reason: len(users) for reason, users in why.items()} == {
        "at random": 3, "most changed": 2, "least changed": 2, "cold": 1, "longest history": 2,
    }  # fmt: skip
    assert why["most changed"][0] == 4
    assert why["cold"] == [9]
    assert why["longest history"] == [29, 30] or why["longest history"] == [30, 29]
    assert found == choose_listed(new, old, lengths, seed="run-1")
    assert found != choose_listed(new, old, lengths, seed="run-2")


def test_both_lists_say_where_an_item_was() -> None:
    new = lists({1: [(10, 0.5), (11, 0.25)]}).append_column("source", pa.array(["model"]))

    [one] = choose_listed(new, lists({1: [(11, 1.0), (12, 0.5)]}), {1: 3}, seed="x")

    assert one.now == (Listed(10, 0.5, None), Listed(11, 0.25, 1))
    assert one.before == (Listed(11, 1.0, 2), Listed(12, 0.5, None))
    assert (one.repeated, one.events) == (0.5, 3)


def test_a_user_without_a_list_before_has_none() -> None:
    new = lists({1: [(10, 0.5)]}).append_column("source", pa.array(["model"]))

    [one] = choose_listed(new, lists({}), {}, seed="x")

    assert (one.before, one.repeated, one.events) == (None, None, None)


def test_outputs_are_shown_now_and_before() -> None:
    new = pa.table({"user_id": [1, 2], "risk": [0.5, 0.75]})
    old = pa.table({"user_id": [2], "risk": [0.25]})

    found = choose_scored(new, old, ["risk"], seed="x")

    assert {one.user_id: one.outputs for one in found} == {1: {"risk": (0.5, None)}, 2: {"risk": (0.75, 0.25)}}
