"""Each audit gate refuses a run that breaks it; readers see what they saw before, until a person publishes it."""

from datetime import timedelta
from typing import Any

import pytest

from builders import NOW
from faults.tally import Tally
from integration.truth import published
from scoreline.errors import AuditRefused, InputError
from scoreline.pipeline.approve import approve_run
from scoreline.pipeline.run import run
from scoreline.tables.history import published_commit

LATER = NOW + timedelta(hours=1)

# limits that the second model's lists cannot meet
GATES: dict[str, tuple[dict[str, Any], str]] = {
    "empty lists": ({"max_empty_share": 0}, "share of empty lists"),
    "short lists": ({"max_short_share": 0}, "lists shorter than asked for"),
    "top item": ({"max_top_item_share": 0.01}, "share of the top item"),
    "coverage": ({"min_distinct_items": 1000}, "different items recommended"),
    "overlap too low": ({"min_overlap": 1.0}, "overlap with the lists replaced"),
    "nothing moved": ({"max_overlap": 0.0}, "overlap with the lists replaced"),
    "scores": ({"max_psi": 0.0001}, "shift of the scores"),
}
FALLBACK = ({"max_fallback_share": 0}, "share of fallbacks")


@pytest.fixture
def second(ran: Any) -> Any:
    """One run is published; `second(audit=...)` is the context of the next, by another model, asked for 39 items."""
    return lambda **audit: ran("films/2", now=LATER, scoring={"k": 39, "slice_users": 30}, audit=audit)


@pytest.mark.slow  # `make faults`
def test_each_gate_refuses_and_readers_see_what_they_saw(second: Any, tally: Tally) -> None:
    before = published(second())
    resumed = []
    for gate, (limits, message) in GATES.items():
        if gate == "empty lists":
            continue  # nobody's list is empty here; unit tests hold that gate
        with pytest.raises(AuditRefused, match=message):
            run(second(**limits))
        assert published(second()) == before
        tally("audit gate refuses", gate)
        key = next(iter(limits))
        resumed.append({**limits, "warn": [key]})
    # the same limits, now warning
    everything = {k: v for limits in resumed for k, v in limits.items() if k != "warn"}
    report = run(second(**everything, warn=list(everything)))
    assert report.resumed_slices == 3  # eight buckets, of which thirty users fill three
    assert len(report.warnings) == len(everything)
    assert published(second()) != before


@pytest.mark.both
def test_a_person_publishes_what_the_audit_refused_and_it_is_recorded(second: Any) -> None:
    made = second(min_overlap=1.0)
    with pytest.raises(AuditRefused) as refused:
        run(made)
    run_id = str(refused.value).split(" run ")[1].split(";")[0]
    with pytest.raises(InputError, match="Say why"):
        approve_run(made, run_id, reason=" ")
    with pytest.raises(InputError, match=f"no staged rows of run nonsense; .*{run_id}"):
        approve_run(made, "nonsense", reason="because")
    mistyped = [row for row in made.tables.table("runs").read().collect() if "held_off" in row["figures"]]
    assert [(row["kind"], row["run_id"] in (run_id, "nonsense")) for row in mistyped] == [("approve", False)] * 2
    report = approve_run(made, run_id, reason="the catalogue was replaced")
    assert len(report.broken) == 1
    assert report.broken[0].endswith("expected at least 1 (audit.min_overlap)")
    found = published_commit(made.tables.table("recommendations").commits())
    assert found is not None
    assert (found.note.run_id, found.note.approval) == (run_id, "the catalogue was replaced")
    assert run(second()).state == "nothing_due"
    rows = made.tables.table("runs").read().where(f"run_id = '{run_id}'").collect()
    assert sorted(row["state"] for row in rows) == ["approved", "refused"]
    assert _logged_states(made, run_id) == ["approved", "refused"]


def _logged_states(made: Any, run_id: str) -> list[str]:
    """The states that MLflow has of a run."""
    from mlflow import MlflowClient

    client = MlflowClient(made.settings.tracking_uri)
    experiment = client.get_experiment_by_name(made.settings.experiment)
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], f"tags.`scoreline.run_id` = '{run_id}'")
    return sorted(run.data.tags["scoreline.state"] for run in runs)


def test_a_refused_run_that_was_overtaken_is_not_published_by_hand(second: Any, ran: Any) -> None:
    with pytest.raises(AuditRefused) as refused:
        run(second(min_overlap=1.0))
    run_id = str(refused.value).split(" run ")[1].split(";")[0]
    run(ran(now=LATER + timedelta(hours=1)), full_refresh=True)
    with pytest.raises(InputError, match="has changed since run"):
        approve_run(second(), run_id, reason="I like it")


@pytest.mark.slow  # `make faults`
def test_far_fewer_users_are_refused_unless_told(ran: Any, tally: Tally) -> None:
    before = published(ran())
    ran().tables.table("user_history").delete("user_id > 20")
    with pytest.raises(AuditRefused, match="20 users now, 60 published before"):
        run(ran(now=LATER))
    assert published(ran()) == before
    tally("audit gate refuses", "far fewer users")
    ran().tables.table("user_history").delete("true")
    with pytest.raises(AuditRefused, match="0 users now, 60 published before"):
        run(ran(now=LATER))
    assert published(ran()) == before
    tally("audit gate refuses", "no users")
    report = run(ran(now=LATER, audit={"min_users_share": 0}))
    assert report.audit.left == 60
    assert published(ran()) == {}
