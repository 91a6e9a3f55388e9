import pyarrow as pa
import pytest

from scoreline.operations import recompute
from scoreline.operations.recompute import Listed, compared, without_each

MOMENT = pa.timestamp("us", "UTC")


def history(items: list[int], *, older: list[int] | None = None, spans: list[int] | None = None) -> pa.Table:
    """A row of user_history; item i has weight i / 2 and came at i seconds."""
    times = [item * 1_000_000 for item in items]
    return pa.table(
        {
            "user_id": pa.array([7]),
            "item_ids": pa.array([items]),
            "weights": pa.array([[item / 2 for item in items]], pa.list_(pa.float32())),
            "event_times": pa.array([times], pa.list_(MOMENT)),
            "event_count": pa.array([len(items)], pa.int32()),
            "last_event_at": pa.array([times[-1]], MOMENT),
            "older_item_ids": pa.array([older], pa.list_(pa.int64())),
            "since_first_us": pa.array([spans], pa.list_(pa.int64())),
        }
    )


def test_each_event_is_left_out_of_all_that_tells_of_it() -> None:
    rows = without_each(history([4, 2, 6], older=[1], spans=[0, 5, 0]))
    assert rows.drop_columns("last_event_at").to_pydict() | {"event_times": None} == {
        "user_id": [7] * 4,
        "item_ids": [[4, 2, 6], [2, 6], [4, 6], [4, 2]],
        "weights": [[2.0, 1.0, 3.0], [1.0, 3.0], [2.0, 3.0], [2.0, 1.0]],
        "event_times": None,
        "event_count": [3, 2, 2, 2],
        "older_item_ids": [[1], [1, 4], [1, 2], [1, 6]],
        "since_first_us": [[0, 5, 0], [5, 0], [0, 0], [0, 5]],
    }
    seconds = [[at.second for at in times] for times in rows["event_times"].to_pylist()]
    assert seconds == rows["item_ids"].to_pylist()
    assert [at.second for at in rows["last_event_at"].to_pylist()] == [6, 6, 6, 2]
    assert rows.schema.equals(history([4, 2, 6]).schema)


def test_a_history_of_one_event_becomes_an_empty_one() -> None:
    rows = without_each(history([4]))
    assert rows["item_ids"].to_pylist() == [[4], []]
    assert rows["older_item_ids"].to_pylist() == [None, [4]]
    assert rows["since_first_us"].to_pylist() == [None, None]
    assert rows["last_event_at"].to_pylist()[1] is None


def test_of_a_long_history_the_newest_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recompute, "MOST_EVENTS", 2)
    assert without_each(history([1, 2, 3, 4]))["item_ids"].to_pylist() == [[1, 2, 3, 4], [1, 2, 4], [1, 2, 3]]


PUBLISHED = Listed((3, 5), (0.75, 0.5), "model")


@pytest.mark.parametrize(
    ("now", "state", "said"),
    [
        (PUBLISHED, "identical", "the published one, bit for bit"),
        (Listed((3, 5), (0.75, 0.5 + 2**-23), "model"), "differs", "at 1 places the score is another, by 1.2e-07"),
        (Listed((3, 6), (0.75, 0.5), "model"), "differs", "another at 1 of 2 places"),
        (Listed((3,), (0.75,), "model"), "differs", "another at 1 of 2 places"),
        (Listed((3, 5), (0.75, 0.5), "fallback"), "differs", "of source fallback, and model is published"),
        (Listed(code="MODEL_RAISED", message="no"), "failed", "gives no list: MODEL_RAISED, no"),
    ],
)
def test_a_list_is_the_published_one_or_it_is_said_where_not(now: Listed, state: str, said: str) -> None:
    found = compared(PUBLISHED, now, other_rules=False)
    assert (found.state, said in found.said) == (state, True)


def test_zeros_of_both_signs_are_different_bits() -> None:
    found = compared(Listed((3,), (0.0,), "model"), Listed((3,), (-0.0,), "model"), other_rules=True)
    assert [(d.rank, d.item) for d in found.differences] == [(1, 3)]
    assert found.said.endswith("this is by those of today.")
