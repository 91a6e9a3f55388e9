from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from scoreline.pipeline.manifest import Slice
from scoreline.pipeline.plan import choose_buckets, cut_slices, make_plan

counts = st.dictionaries(st.integers(0, 63), st.integers(0, 50), max_size=64)


@given(counts, st.integers(1, 200))
def test_slices_hold_each_due_bucket_once(to_score: dict[int, int], limit: int) -> None:
    slices = cut_slices(to_score, slice_users=limit)
    assert [b for s in slices for b in s.buckets] == sorted(b for b, users in to_score.items() if users)
    assert [s.number for s in slices] == list(range(len(slices)))
    for part in slices:
        assert part.users == sum(to_score[b] for b in part.buckets)
        assert part.users <= limit or len(part.buckets) == 1


@given(st.sets(st.integers(0, 15), min_size=1), st.integers(1, 8))
def test_fractions_reach_every_bucket_in_turn(due: set[int], parts: int) -> None:
    """Whoever is scored goes to the end of the queue, so 1/fraction runs reach everybody, whatever was before."""
    last = {bucket: datetime(2026, 1, 1 + bucket, tzinfo=UTC) for bucket in due if bucket % 3}
    reached: set[int] = set()
    for turn in range(parts):
        chosen = choose_buckets(due, last, buckets=16, fraction=1 / parts)
        reached |= set(chosen)
        last |= dict.fromkeys(chosen, datetime(2026, 6, 1 + turn, tzinfo=UTC))
    assert reached == due


def test_the_bucket_that_waited_longest_goes_first() -> None:
    last = {0: datetime(2026, 1, 3, tzinfo=UTC), 1: datetime(2026, 1, 1, tzinfo=UTC)}
    assert choose_buckets([0, 1, 2], last, buckets=3, fraction=1 / 3) == [2]
    assert choose_buckets([0, 1], last, buckets=3, fraction=1 / 3) == [1]


def test_departures_are_due_but_not_scored() -> None:
    plan = make_plan({0: {"left": 2, "new": 3}, 1: {"left": 1}}, [0, 1], users=3, buckets=2, slice_users=10)
    assert (plan.due, plan.to_score, plan.leaving) == (6, 3, 3)
    assert plan.slices == (Slice(0, (0,), 3),)
    assert plan.whole_table


def test_only_chosen_buckets_count() -> None:
    plan = make_plan({0: {"new": 3}, 1: {"changed": 4}}, [1], users=7, buckets=2, slice_users=10)
    assert plan.reasons == {"changed": 4}
    assert not plan.whole_table


def test_some_users_are_never_all() -> None:
    plan = make_plan({0: {"new": 7}}, [0], users=7, buckets=2, slice_users=10, selected=True)
    assert (plan.to_score, plan.whole_table, plan.complete) == (7, False, False)
