"""Outputs of a model that is no recommender, now against before."""

import pyarrow as pa

from scoreline.operations.report.facts import Output, Spread
from scoreline.operations.report.outputs import compare_outputs

NEW = pa.table(
    {
        "user_id": [1, 2, 3],
        "model_version": ["2", "2", "2"],
        "risk": pa.array([0.5, 0.5, None], pa.float64()),
        "known": [True, False, True],
        "parts": [[1], [2], [3]],
    }
)
OLD = pa.table(
    {
        "user_id": [1, 2],
        "model_version": ["1", "2"],
        "risk": [0.25, 0.75],
        "known": [False, False],
        "parts": [[1], [2]],
    }
)


def test_numbers_are_a_histogram_and_a_line_a_version_and_others_are_counted() -> None:
    found = compare_outputs(NEW, OLD, ["risk", "known", "parts"], of=9)

    assert (found.users, found.of, found.replaced) == (3, 9, 2)
    [risk, known] = found.outputs
    assert risk.histogram is not None
    assert (sum(risk.histogram.now), sum(risk.histogram.before or ())) == (2, 2)
    assert risk.spreads == (
        Spread("now, version 2", 2, 0.5, 0.5, 0.5, 0.5),
        Spread("before, version 1", 1, 0.25, 0.25, 0.25, 0.25),
        Spread("before, version 2", 1, 0.75, 0.75, 0.75, 0.75),
    )
    assert known == Output("known", values=(("true", 2, 0), ("false", 1, 2)))
