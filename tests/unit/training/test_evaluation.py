import math

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from scoreline.errors import InputError
from scoreline.models.artifacts import FittedModel
from scoreline.models.item_neighbours import ItemNeighbours
from scoreline.models.popularity import Popularity
from scoreline.training.evaluation import difference, evaluate
from scoreline.training.experiment import Recipe, Split, evaluated, make_estimator
from scoreline.training.interactions import Interactions, SplitBy

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
    popular = Popularity().fit(before.matrix())
    found = evaluate(FittedModel(catalogue, popular, popular), before, after)
    # Nobody knew of 9 yet. User 0 gets 2, 3, 4: hit at rank 1, of two; user 3 gets 1, 2, 3: hit at rank 1.
    first = (1 / math.log2(3)) / (1 + 1 / math.log2(3))
    assert found.users == 2
    assert found.ndcg_at_10 == pytest.approx((first + 1 / math.log2(3)) / 2)
    assert found.recall_at_20 == pytest.approx(0.75)
    assert found.coverage == pytest.approx(4 / 4)
    assert found.per_user["recall_at_20"].tolist() == [0.5, 1.0]


def test_users_the_model_knows_nothing_of_are_tested_on_the_fallback_they_would_get() -> None:
    # twenty users watch 1 and 2 together; twenty have an item each that nobody else has, and watch 1 next
    together, alone = [[(1, 1), (2, 2)]] * 20, [[(100 + user, 3), (1, 100)] for user in range(20)]
    events = Interactions.from_histories(histories(*together, *alone))
    late = events.times >= 100 * DAY
    train, test = events.where(~late), events.where(late)
    popular = Popularity().fit(train.matrix())
    model = FittedModel(events.catalogue, ItemNeighbours().fit(train.matrix()), popular)
    found = evaluate(model, train, test)
    assert (found.users, found.ndcg_at_10) == (20, 1.0)
    blocked = events.catalogue.index_of(pa.array([1])) != np.arange(len(events.catalogue))
    assert evaluate(model, train, test, eligible=blocked).ndcg_at_10 == 0.0


@pytest.mark.parametrize("estimator", ["popularity", "item_neighbours", "latent_factors"])
def test_a_recipe_is_fitted_on_what_was_before_the_cut_only(estimator: str) -> None:
    """Before it all watch 1 or 2, and one user 3; after it all others watch 3, which only they can tell."""
    early = [[(3, 3)], [(1, 1), (2, 2)]] + [[(1 + user % 2, 1)] for user in range(20)]
    late = [[], []] + [[(3, 9)]] * 20
    events = Interactions.from_histories(histories(*[a + b for a, b in zip(early, late, strict=True)]))
    after = events.times >= 9 * DAY
    recipes = [Recipe(estimator, make_estimator(estimator, {}).get_params())]
    (found,) = evaluated(Split(events.where(~after), events.where(after)), recipes)
    leaked = Split(events, events.where(after), exclude_seen=False)
    (told,) = evaluated(leaked, [Recipe("popularity", make_estimator("popularity", {}).get_params())])
    assert told.ndcg_at_10 == 1.0
    # 1 or 2, whichever the user has not seen, is watched more than 3
    assert (found.users, found.ndcg_at_10) == (20, pytest.approx(1 / math.log2(3)))


def test_the_difference_of_two_models_is_paired() -> None:
    rows = [[(1, 1), (2, 2), (3, 9)], [(1, 1), (3, 2), (2, 9)], [(2, 1), (1, 2), (3, 9)]]
    events = Interactions.from_histories(histories(*rows))
    late = events.times >= 9 * DAY
    train, test = events.where(~late), events.where(late)
    good, none = Popularity().fit(train.matrix()), Popularity().fit(train.matrix())
    one, other = (FittedModel(events.catalogue, model, popular) for model, popular in ((good, good), (none, good)))
    best = evaluate(one, train, test)
    shut = evaluate(other, train, test, eligible=np.arange(3) == 1)  # item 2 only: right for the second user
    found = difference(best, shut, "recall_at_20")
    assert best.per_user["recall_at_20"].tolist() == [1.0, 1.0, 1.0]
    assert shut.per_user["recall_at_20"].tolist() == [0.0, 1.0, 0.0]
    assert found.mean == pytest.approx(2 / 3)
    assert found.error == pytest.approx(np.std([1, 0, 1], ddof=1) / np.sqrt(3))


def test_events_of_one_moment_are_split_at_random_whatever_their_ids_and_rows() -> None:
    rng = np.random.default_rng(0)
    rows = [[(int(item), 7) for item in rng.choice(100, 10, replace=False)] for _ in range(200)]
    table = histories(*rows)
    for by in ("time", "user"):
        events = Interactions.from_histories(table)
        late = events.held_out(by, 0.2)  # type: ignore[arg-type]
        assert (late.sum(), events.tied()) == (400, 1.0)
        assert abs(events.items[late].mean() - events.items[~late].mean()) < 5
        pairs = {(int(u), int(i)) for u, i in zip(events.users[late], events.items[late], strict=True)}
        shuffled = Interactions.from_histories(table.take(rng.permutation(200)))
        again = shuffled.held_out(by, 0.2)  # type: ignore[arg-type]
        owners = shuffled.user_ids.to_numpy()[shuffled.users[again]]
        assert {(int(u), int(i)) for u, i in zip(owners, shuffled.items[again], strict=True)} == pairs
        other = events.held_out(by, 0.2, seed=1)  # type: ignore[arg-type]
        assert 0.1 < (late & other).sum() / 400 < 0.35


def watched_again(*rows: list[tuple[int, int, int]]) -> pa.Table:
    """One user per argument, given as (item, first day, newest day)."""
    table = histories(*[[(item, newest) for item, _, newest in row] for row in rows])
    spans = [[(newest - first) * DAY for _, first, newest in row] for row in rows]
    column = pa.array([row if any(row) else None for row in spans], pa.list_(pa.int64()))
    return table.append_column("since_first_us", column)


@pytest.mark.parametrize("by", ["time", "user"])
def test_what_was_met_before_the_cut_and_again_after_it_is_known_and_no_hit(by: SplitBy) -> None:
    rows = [(2, 2, 2), (3, 4, 4), (1, 1, 100)], [(3, 1, 1), (1, 2, 2)], [(1, 90, 90), (2, 95, 100)]
    events = Interactions.from_histories(watched_again(*rows))
    late = events.times >= 90 * DAY
    before, after = events.cut(late, by)
    assert before.users.tolist() == [0, 0, 0, 1, 1]
    assert before.items.tolist() == [0, 1, 2, 2, 0], "at its first time"
    assert before.times.tolist() == [1 * DAY, 2 * DAY, 4 * DAY, 1 * DAY, 2 * DAY]
    assert (after.users.tolist(), after.items.tolist()) == ([2, 2], [0, 1])
    _, where_seen_items_come_again = events.cut(late, by, again=True)
    assert where_seen_items_come_again.users.tolist() == [0, 2, 2]


def test_histories_in_which_nothing_was_met_again_are_split_as_they_are() -> None:
    events = Interactions.from_histories(watched_again([(1, 1, 1), (2, 9, 9)], [(2, 3, 3)]))
    late = events.held_out("time", 0.4)
    assert events.firsts is None
    assert [part.items.tolist() for part in events.cut(late, "time")] == [[0, 1], [1]]


def test_ties_at_the_cut_leave_what_is_clearly_before_and_after_it() -> None:
    events = Interactions.from_histories(histories(*[[(1, 1), (2, 5), (3, 5), (4, 5), (5, 9)]] * 10))
    late = events.held_out("time", 0.4)
    assert late.sum() == 20
    assert late[events.times == 9 * DAY].all()
    assert not late[events.times == 1 * DAY].any()
    assert set(events.items[late].tolist()) == {1, 2, 3, 4}


def test_no_user_on_both_sides_gives_no_figures() -> None:
    events = Interactions.from_histories(histories([(1, 1)], [(2, 9)]))
    late = events.held_out("time", 0.5)
    popular = Popularity().fit(events.matrix())
    found = evaluate(FittedModel(events.catalogue, popular, popular), events.where(~late), events.where(late))
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
