"""What a row of `runs` says, also one of an earlier version of ours."""

import json
from typing import Any, get_args

from builders import NOW
from builders import settings as settings_of
from run_facts import gate, run
from scoreline.config.scoring import GateName
from scoreline.operations.report.facts import FIGURES, Limit, recorded
from scoreline.pipeline.audit import AuditMetrics, evaluate_gates, users_gate


def row(**changes: Any) -> dict[str, Any]:
    made = {"run_id": "a", "kind": "run", "state": "published", "started_at": NOW, "finished_at": NOW, "model": "m",
            "users": 2, "figures": json.dumps({"scored": 4, "empty": 1, "score_seconds": 2.0})}  # fmt: skip
    return made | changes


def test_a_row_gives_its_figures_and_what_follows_from_them() -> None:
    found = recorded(row())

    assert found.figure("share of empty lists") == 0.25
    assert found.figure("users scored") == 4
    assert found.figure("users scored or failed") is None
    assert found.seconds == {"score": 2.0}
    assert found.users_per_second == 2.0


def test_a_row_without_figures_or_with_other_ones_is_no_error() -> None:
    for figures in (None, "", "no json", "[1]", '{"scored": "many"}'):
        found = recorded(row(figures=figures))
        assert found.figure("users scored") is None
        assert (found.seconds, found.users_per_second) == ({}, None)


def test_every_gate_of_the_audit_is_known_by_its_name() -> None:
    everything = dict.fromkeys(get_args(GateName), 0.5) | {"min_distinct_items": 1}
    limits = settings_of(audit=everything).audit
    metrics = AuditMetrics(
        wanted=2, scored=2, empty=0, short=0, items=4, distinct_users=2, sampled_users=2, distinct_items=3,
        top_item_share=0.5, overlap=0.5, score_psi=0.1, not_finite=0,
    )  # fmt: skip
    gates = [*evaluate_gates(metrics, limits), *users_gate(1, 2, limits)]

    assert {gate.name for gate in gates} == set(FIGURES)


def test_a_figure_is_what_the_gate_has_found() -> None:
    metrics = AuditMetrics(wanted=4, scored=4, empty=1, short=2, fallback=3, items=9, distinct_users=4,
                           distinct_items=3, top_item_share=0.5, overlap=0.5, score_psi=0.1, not_finite=0)  # fmt: skip
    everything = dict.fromkeys(get_args(GateName), 0.5) | {"min_distinct_items": 1}
    found = recorded(row(figures=json.dumps(metrics.known())))

    gates = evaluate_gates(metrics, settings_of(audit=everything).audit)
    assert {gate.name: gate.found for gate in gates} == {gate.name: found.figure(gate.name) for gate in gates}


def test_limits_are_those_recorded_or_none() -> None:
    said = gate("failed users", 1, "at most 0 (audit.max_failed_share)", 0, passed=False)

    found = run(figures={"limits": [said, "?"]})

    assert found.limits == (Limit("failed users", 1, "at most 0 (audit.max_failed_share)", 0, False),)
    assert found.figure("failed users") == 1
    assert run().limits is None


def test_what_refused_a_run_stands_in_its_error() -> None:
    error = "The audit refused to publish run a; ...\n  - overlap is 0.1, expected at least 0.5\nThe staged rows"

    assert run(state="refused", figures={"error": error}).broken == ("overlap is 0.1, expected at least 0.5",)
    assert run(state="approved", figures={"broken": ["x is 1"]}).broken == ("x is 1",)
    assert run().broken == ()


def test_steps_are_read_as_they_are_written_now_and_before() -> None:
    assert run(figures={"steps": {"open": 1.5, "score": 2}}).seconds == {"open": 1.5, "score": 2.0}
    assert run(figures={"score_seconds": 2, "open_seconds": 1}).seconds == {"open": 1.0, "score": 2.0}
