"""What is said of an item by the list that a model of somebody else gives; ours are asked in integration/operations."""

import pyarrow as pa
import pytest

from scoreline.operations.pinned_row import PinnedRow
from scoreline.operations.recompute import Listed
from scoreline.operations.why_not import reason_of
from scoreline.sources.rules import ScoringRules

HISTORY = pa.table(
    {
        "item_ids": [[1, 2]],
        "event_times": pa.array([[0, 1]], pa.list_(pa.timestamp("us", "UTC"))),
        "older_item_ids": pa.array([None], pa.list_(pa.int64())),
    }
)
PINNED = PinnedRow(HISTORY, None, None, ScoringRules(2, True, None, None), False, ())
PUBLISHED = Listed((10, 11), (5.0, 4.0), "model")
DEEP = Listed((10, 11, 12), (5.0, 4.0, 3.0), "model")


@pytest.mark.parametrize(
    ("item", "deep", "asked", "reason", "rank", "said"),
    [
        (12, DEEP, 9, "outscored", 3, "place 3 with 3; the last one listed, Eleven, has 4."),
        (13, DEEP, 9, "unknown", None, "the model gives 3 items for this history and no more"),
        (13, DEEP, 3, "outscored", None, "it is not among the first 3."),
        (13, PUBLISHED, None, "cannot_say", None, "takes no param k: what comes behind its 2 items nobody can ask"),
        (13, Listed(code="MODEL_RAISED", message="k is 9"), 9, "cannot_say", None, "(MODEL_RAISED, k is 9)"),
        (12, Listed((12,), (7.0,), "fallback"), 9, "no_signal", 1, "it is at place 1 of that, with 7."),
        (2, DEEP, 9, "seen", None, "the user has seen it, last on 1970-01-01."),
        (11, DEEP, 9, "listed", 2, "it is in the list, at place 2 with 4."),
    ],
)
def test_the_reason_is_what_the_longer_list_shows(
    item: int, deep: Listed, asked: int | None, reason: str, rank: int | None, said: str
) -> None:
    found = reason_of(item, {11: "Eleven"}, published=PUBLISHED, pinned=PINNED, model=None, deep=deep, asked=asked)
    assert (found.reason, found.rank) == (reason, rank)
    assert said in found.said
