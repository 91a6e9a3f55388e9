"""Lists now against before: whole values, counted by hand."""

from typing import Any

import numpy as np
import pyarrow as pa

from scoreline.operations.report.facts import Histogram, ItemShare, ListChanges, Part
from scoreline.operations.report.lists import compare_lists, scores_of


def lists(rows: dict[int, list[tuple[Any, float]]], item: pa.DataType | None = None) -> pa.Table:
    return pa.table(
        {
            "user_id": pa.array(list(rows), pa.int64()),
            "item_ids": pa.array([[i for i, _ in row] for row in rows.values()], pa.list_(item or pa.int64())),
            "scores": pa.array([[s for _, s in row] for row in rows.values()], pa.list_(pa.float32())),
        }
    )


NEW = lists({1: [(10, 0.5), (11, 0.25)], 2: [(10, 1.0), (12, 0.5)], 3: [(13, 0.75)]})
OLD = lists({2: [(12, 1.0), (14, 0.5)], 1: [(10, 1.0), (11, 0.5)]})


def test_everything_that_changed_is_counted() -> None:
    found = compare_lists(
        NEW,
        OLD,
        of=30,
        watched={10: 6, 12: 3, 15: 1},
        genres={10: ("Drama",), 12: ("Drama", "War"), 14: ("War",)},
        catalogue={"War": 5, "Drama": 9},
    )

    assert found == ListChanges(
        users=3,
        of=30,
        replaced=2,
        overlap=Histogram(tuple(np.linspace(0, 1, 11)), (0, 0, 0, 0, 0, 1, 0, 0, 0, 1)),
        repeated=0.75,
        same=1,
        other=0,
        scores=found.scores,
        lengths=((1, 1, 0), (2, 2, 2)),
        items=4,
        items_before=4,
        top=(
            ItemShare(10, 2 / 3, 0.5, 1, 1),
            ItemShare(11, 1 / 3, 0.5, 2, 2),
            ItemShare(12, 1 / 3, 0.5, 3, 3),
            ItemShare(13, 1 / 3, 0.0, 4, None),
        ),
        came_count=1,
        came=(ItemShare(13, 1 / 3, 0.0, 4, None),),
        went_count=1,
        went=(ItemShare(14, 0.0, 0.5, None, 4),),
        popularity=(
            Part("most watched 1 %", 1, 1, 0.6, 0.4, 0.25),
            Part("next 9 %", 0, 0, 0.0, 0.0, 0.0),
            Part("next 40 %", 1, 1, 0.3, 0.2, 0.25),
            Part("other half", 1, 0, 0.1, 0.0, 0.0),
            Part("not watched by them", 3, 2, 0.0, 0.4, 0.5),
        ),
        genres=(
            Part("Drama", 9, 2, 0.9, 0.6, 0.5),
            Part("War", 5, 1, 0.3, 0.2, 0.5),
        ),
    )


def test_a_first_run_replaces_nothing() -> None:
    found = compare_lists(NEW, OLD.slice(0, 0), of=3, watched={}, genres={}, catalogue={})

    assert (found.replaced, found.overlap, found.repeated, found.items_before) == (0, None, None, 0)
    assert (found.came_count, found.went_count, found.popularity, found.genres) == (0, 0, (), ())
    assert found.scores is not None
    assert found.scores.before is None


def test_ids_may_be_texts() -> None:
    new, old = lists({1: [("b", 1.0), ("a", 0.5)]}, pa.string()), lists({1: [("a", 1.0)]}, pa.string())

    found = compare_lists(new, old, of=1, watched={}, genres={}, catalogue={})

    assert found.top == (ItemShare("a", 1.0, 1.0, 1, 1), ItemShare("b", 1.0, 0.0, 2, None))
    assert found.repeated == 0.5


def test_scores_have_the_same_edges_and_lose_nothing() -> None:
    now, before = np.array([0.0, 1.0, 1.0, 1e9]), np.array([0.5, np.nan])

    found = scores_of(now, before)

    assert found is not None
    assert (sum(found.now), sum(found.before or ())) == (4, 1)


def test_scores_that_are_all_the_same_make_a_bar_and_none_make_nothing() -> None:
    same = scores_of(np.array([2.0, 2.0]), np.array([]))

    assert same is not None
    assert (max(same.now), same.before, same.edges[0], same.edges[-1]) == (2, None, 1.5, 2.5)
    assert scores_of(np.array([np.nan]), np.array([])) is None
