"""What is read of the run log: runs of this installation that ended well, with what they cost."""

from pathlib import Path

from builders import NOW, settings
from recorded import record
from scoreline.runs.past import PastRun, read_past
from scoreline.tables.reading import open_readers

COSTS = {"seconds": 60.0, "cpu_seconds": 100.0, "worker_peak_mib": 300}


def test_runs_of_this_installation_are_read_oldest_first(tmp_path: Path) -> None:
    made = settings(tmp_path)
    assert read_past(open_readers(made), engine="embedded") == []
    ours = {"engine": "embedded", "reasons": {"changed": 5}, "steps": {"open": 4.5, "score": 50.0}, **COSTS}
    record(made, 1, **ours)
    record(made, 9, **ours, waiting=7)
    record(made, 8, **{**ours, "engine": "spark"})
    record(made, 7, **ours, host="elsewhere", processors=10_000)
    record(made, 6, **ours, state="failed")
    found = read_past(open_readers(made), engine="embedded")
    assert [run.waiting for run in found] == [7, 0]
    assert found[1] == PastRun(NOW.replace(month=6, day=30), {"changed": 5}, 0, COSTS, opening=4.5)


def test_a_host_with_as_many_processors_is_as_good_as_this_one(tmp_path: Path) -> None:
    """A container has another name each night."""
    from scoreline.runs.usage import processors

    made = settings(tmp_path)
    record(made, 1, host="pod-1", processors=processors(), engine="embedded", **COSTS)
    assert len(read_past(open_readers(made), engine="embedded")) == 1


def test_what_did_not_do_all_of_its_work_costs_nothing_that_counts(tmp_path: Path) -> None:
    made = settings(tmp_path)
    record(made, 3, engine="embedded", reasons={"new": 5}, resumed_slices=1, **COSTS)
    record(made, 2, engine="embedded", state="nothing_due", **COSTS)
    record(made, 1, engine="embedded", reasons={"new": 5}, seconds=60.0, selection="abc", waiting=None)
    found = read_past(open_readers(made), engine="embedded")
    assert [(run.costs, run.selected, run.waiting) for run in found] == [
        ({}, False, 0),
        ({}, False, 0),
        ({"seconds": 60.0}, True, None),
    ]
