import numpy as np
import pyarrow as pa
import pytest

from scoreline.config.settings import AuditSettings
from scoreline.pipeline.audit import (
    AuditMetrics,
    added,
    evaluate_gates,
    item_figures,
    overlap_figures,
    score_figures,
    users_gate,
)

FINE = {"wanted": 1000, "scored": 1000, "failed": 0, "seen": 0, "forbidden": 0, "empty": 0, "fallback": 0}


def lists(rows: dict[int, list[int] | None]) -> pa.Table:
    kinds = pa.schema([("user_id", pa.int64()), ("item_ids", pa.list_(pa.int64()))])
    return pa.table({"user_id": list(rows), "item_ids": list(rows.values())}, schema=kinds)


def test_a_good_run_passes_every_gate() -> None:
    assert all(gate.passed for gate in evaluate_gates(AuditMetrics(**FINE), AuditSettings()))


@pytest.mark.parametrize(
    ("found", "limits", "name"),
    [
        ({"scored": 999}, {}, "users scored or failed"),
        ({"distinct_users": 999}, {}, "different users staged"),
        ({"seen": 1}, {}, "seen items recommended"),
        ({"forbidden": 1}, {}, "items recommended that the rules forbid"),
        ({"unusable": 1}, {}, "results that are null or NaN"),
        ({"not_finite": 1}, {}, "scores that are NaN or infinite"),
        ({"short": 301}, {"max_short_share": 0.3}, "share of lists shorter than asked for"),
        ({"distinct_items": 9}, {"min_distinct_items": 10}, "different items recommended"),
        ({"overlap": 1.0}, {"max_overlap": 0.99}, "overlap with the lists replaced"),
        ({"score_psi": 0.3}, {"max_psi": 0.25}, "shift of the scores (PSI)"),
        ({"scored": 994, "failed": 6}, {}, "failed users"),
        ({"scored": 0, "failed": 1000}, {"max_failed_share": 1}, "users scored"),
        ({"empty": 11}, {}, "share of empty lists"),
        ({"fallback": 501}, {"max_fallback_share": 0.5}, "share of fallbacks"),
        ({"top_item_share": 0.9}, {"max_top_item_share": 0.8}, "share of the top item"),
        ({"overlap": 0.1}, {"min_overlap": 0.2}, "overlap with the lists replaced"),
    ],
)
def test_each_gate_refuses_what_it_guards(found: dict[str, float], limits: dict[str, float], name: str) -> None:
    gates = evaluate_gates(AuditMetrics(**{**FINE, **found}), AuditSettings(**limits))
    assert [gate.name for gate in gates if not gate.passed] == [name]
    assert [gate.name for gate in gates if gate.refuses] == [name]
    key = next(iter(limits), None)
    if key and key != "max_failed_share":
        warned = evaluate_gates(AuditMetrics(**{**FINE, **found}), AuditSettings(**limits, warn=[key]))
        assert not any(gate.refuses for gate in warned)


def test_far_fewer_users_than_before_are_refused_unless_told() -> None:
    assert [gate.refuses for gate in users_gate(499, 1000, AuditSettings())] == [True]
    assert [gate.refuses for gate in users_gate(500, 1000, AuditSettings())] == [False]
    assert users_gate(0, 1000, AuditSettings(min_users_share=None)) == []
    assert users_gate(5, 0, AuditSettings()) == []


def test_a_few_that_always_fail_do_not_refuse_the_nights_without_news() -> None:
    found = {**FINE, "wanted": 3, "scored": 0, "failed": 3}
    assert not any(gate.refuses for gate in evaluate_gates(AuditMetrics(**found), AuditSettings(), whole_table=False))
    assert any(gate.refuses for gate in evaluate_gates(AuditMetrics(**found), AuditSettings(), whole_table=True))


@pytest.mark.parametrize(("scored", "refused"), [(99, False), (100, True)])
def test_limits_about_everybody_say_nothing_of_a_few_who_were_asked_for(scored: int, refused: bool) -> None:
    found = AuditMetrics(
        **{**FINE, "wanted": scored, "scored": scored, "distinct_users": scored, "top_item_share": 1.0}
    )
    limits = AuditSettings(max_top_item_share=0.5)
    gates = evaluate_gates(found, limits, whole_table=False, selected=True)
    assert any(gate.refuses for gate in gates) is refused
    assert any(gate.refuses for gate in evaluate_gates(found, limits, whole_table=False))


def test_seen_items_are_refused_in_the_list_of_one() -> None:
    one = AuditMetrics(wanted=1, scored=1, seen=1)
    assert [g.name for g in evaluate_gates(one, AuditSettings(), selected=True) if g.refuses] == [
        "seen items recommended"
    ]


def test_the_shift_of_scores_is_none_when_nothing_moves_and_large_when_they_do() -> None:
    dice = np.random.default_rng(0)
    old = dice.normal(0, 1, 10_000)
    assert score_figures(dice.normal(0, 1, 10_000), old)["score_psi"] < 0.01
    assert score_figures(dice.normal(1, 1, 10_000), old)["score_psi"] > 0.5
    assert score_figures(old, np.array([]))["score_psi"] is None
    assert score_figures(np.array([1.0, np.nan, np.inf]), old)["not_finite"] == 2


def test_failures_below_the_floor_are_tolerated_in_small_tables() -> None:
    gates = evaluate_gates(AuditMetrics(**{**FINE, "wanted": 50, "scored": 45, "failed": 5}), AuditSettings())
    assert all(gate.passed for gate in gates)


@pytest.mark.parametrize(
    ("users", "failed", "refused"),
    [(8, 1, True), (8, 2, True), (9, 1, True), (10, 1, False), (10, 2, True), (49, 5, True), (60, 5, False)],
)
def test_a_model_that_fails_for_more_than_a_tenth_is_refused_in_small_tables(
    users: int, failed: int, refused: bool
) -> None:
    found = {**FINE, "wanted": users, "scored": users - failed, "failed": failed}
    assert any(gate.refuses for gate in evaluate_gates(AuditMetrics(**found), AuditSettings())) is refused
    part_of_it = evaluate_gates(AuditMetrics(**{**found, "among": users}), AuditSettings(), whole_table=False)
    assert any(gate.refuses for gate in part_of_it) is refused
    few_of_many = evaluate_gates(AuditMetrics(**{**found, "among": 100_000}), AuditSettings(), whole_table=False)
    assert not any(gate.refuses for gate in few_of_many)


def test_item_figures_of_a_sample() -> None:
    found = item_figures(lists({1: [10, 20], 2: [10], 3: [10, 30], 4: []}))
    assert found == {"sampled_users": 4, "distinct_items": 3, "top_item_share": 0.75}
    assert item_figures(lists({})) == {"sampled_users": 0, "distinct_items": 0, "top_item_share": None}


def test_overlap_is_over_users_that_had_a_list() -> None:
    new = lists({1: [10, 20], 2: [5, 6], 3: [7], 4: []})
    old = lists({3: [8, 7], 1: [20, 10], 9: [1], 4: []})
    assert overlap_figures(new, old) == {"overlap": 0.75, "overlap_users": 2}
    assert overlap_figures(new, lists({})) == {"overlap": None, "overlap_users": 0}


@pytest.mark.parametrize(("overlap", "said"), [(0.25, "25.0%"), (0.9996, "99.9%"), (1.0, "100.0%")])
def test_all_of_the_lists_is_said_of_no_less(overlap: float, said: str) -> None:
    assert f"{said} overlap with the lists replaced" in str(AuditMetrics(items=9, empty=0, overlap=overlap))


def test_where_users_only_leave_nobody_has_to_be_scored() -> None:
    gates = evaluate_gates(AuditMetrics(left=2), AuditSettings(), whole_table=False)
    assert "users scored" not in [gate.name for gate in gates]
    assert not any(gate.refuses for gate in gates)


def test_metrics_of_nothing_are_zero() -> None:
    assert set(AuditMetrics().known().values()) == {0}


def test_figures_of_slices_add_up() -> None:
    assert added([{"scored": 3, "empty": None}, {"scored": 4, "left": 1}]) == {"scored": 7, "empty": 0, "left": 1}
