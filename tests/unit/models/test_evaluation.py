import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreline.errors import InputError
from scoreline.evaluation import evaluate
from scoreline.interactions import Interactions
from scoreline.models.popularity import Popularity

DAY = 86_400_000_000


def histories(*rows: list[tuple[int, int]]) -> pa.Table:
    """One user per argument, given as (item, day) pairs."""
    return pa.table(
        {
            "user_id": list(range(len(rows))),
            "item_ids": pa.array([[item for item, _ in row] for row in rows], pa.list_(pa.int64())),
            "weights": pa.array([[1.0 for _ in row] for row in rows], pa.list_(pa.float32())),
            "event_times": pa.array(
                [[day * DAY for _, day in row] for row in rows], pa.list_(pa.timestamp("us", "UTC"))
            ),
        }
    )


def test_time_split_cuts_at_one_moment() -> None:
    events = Interactions.from_histories(histories([(1, 1), (2, 9)], [(1, 2), (3, 3)], [(2, 10)]))
    assert events.held_out("time", 0.4).tolist() == [False, True, False, False, True]


def test_user_split_takes_the_end_of_each_history() -> None:
    rows = [(7, 5), (8, 1), (9, 3), (10, 2), (11, 4)], [(7, 1)], [], [(7, 2), (8, 1)]
    events = Interactions.from_histories(histories(*rows))
    tested = events.held_out("user", 0.5)
    assert events.where(tested).histories().items.tolist() == [0, 4, 0]  # items 7 and 11 of the first user
    assert np.diff(events.where(tested).histories().offsets).tolist() == [2, 0, 0, 1]


@given(
    st.lists(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=8), min_size=1),
    st.floats(0.05, 0.95),
)
def test_user_split_leaves_everybody_an_event(rows: list[list[tuple[int, int]]], share: float) -> None:
    if not any(rows):
        return
    events = Interactions.from_histories(histories(*rows))
    tested = events.held_out("user", share)
    kept = np.bincount(events.users[~tested], minlength=len(rows))
    assert all(kept[user] >= 1 for user, row in enumerate(rows) if row)
    for user in range(len(rows)):
        own = events.users == user
        if (own & tested).any():
            assert events.times[own & tested].min() >= events.times[own & ~tested].max()


def test_figures_by_hand() -> None:
    # Watched: 1 by three, 2 by two, 3 and 4 by one. User 0 (saw 1) goes on to 3 and 9, user 3 (saw 4) to 2.
    train = histories([(1, 1)], [(1, 1), (2, 1)], [(1, 1), (2, 1), (3, 1)], [(4, 1)])
    later = histories([(3, 9), (9, 9)], [], [], [(2, 9)])
    merged = pa.concat_tables([train, later])
    catalogue = Interactions.from_histories(merged).catalogue
    before, after = Interactions.from_histories(train), Interactions.from_histories(later)
    before, after = (
        Interactions(
            catalogue,
            4,
            part.users,
            catalogue.index_of(part.catalogue.ids_of(part.items)),
            part.weights,
            part.times,
        )
        for part in (before, after)
    )
    found = evaluate(Popularity().fit(before.matrix()), before, after)
    # User 0 gets 2, 3, 4, 9: hits at ranks 1 and 3; user 3 gets 1, 2, 3, 9: hit at rank 1.
    first = (1 / math.log2(3) + 1 / math.log2(5)) / (1 + 1 / math.log2(3))
    assert found.users == 2
    assert found.ndcg_at_10 == pytest.approx((first + 1 / math.log2(3)) / 2)
    assert found.recall_at_20 == pytest.approx(1.0)
    assert found.coverage == pytest.approx(5 / 4)


def test_no_user_on_both_sides_gives_no_figures() -> None:
    events = Interactions.from_histories(histories([(1, 1)], [(2, 9)]))
    late = events.held_out("time", 0.5)
    found = evaluate(Popularity().fit(events.matrix()), events.where(~late), events.where(late))
    assert found.users == 0
    assert math.isnan(found.ndcg_at_10)


def test_histories_without_an_event_are_refused() -> None:
    with pytest.raises(InputError, match="no event to learn from"):
        Interactions.from_histories(histories([], []))
    with pytest.raises(InputError, match="no column event_times; there are user_id"):
        Interactions.from_histories(histories([(1, 1)]).drop_columns("event_times"))


def test_events_without_a_time_are_refused() -> None:
    table = histories([(1, 1), (2, 2)])
    times = pa.array([[None, 3]], pa.list_(pa.timestamp("us", "UTC")))
    with pytest.raises(InputError, match="2 event_times \\(1 of them null"):
        Interactions.from_histories(table.set_column(3, "event_times", times))
