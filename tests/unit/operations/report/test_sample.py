"""Few users of many: the same ones whatever the order, all of them counted."""

from collections import Counter

import pyarrow as pa

from scoreline.operations.report.facts import Failures
from scoreline.operations.report.sample import Tally, chosen_buckets, drawn, few, of_users

SCHEMA = pa.schema({"user_id": pa.int64(), "value": pa.int64()})


def batches(users: list[int], size: int = 7) -> list[pa.RecordBatch]:
    rows = pa.table({"user_id": users, "value": [user * 10 for user in users]}, SCHEMA)
    return rows.to_batches(max_chunksize=size)


def test_few_rows_are_the_same_whatever_their_order() -> None:
    up, down = few(batches(list(range(100))), SCHEMA, 5), few(batches(list(range(99, -1, -1)), 3), SCHEMA, 5)

    assert up.num_rows == 5
    assert up.equals(down)
    assert up["value"].to_pylist() == [user * 10 for user in up["user_id"].to_pylist()]


def test_fewer_rows_than_that_are_all_kept() -> None:
    assert few(batches([3, 1, 2]), SCHEMA, 5)["user_id"].to_pylist() == [1, 2, 3]
    assert few([], SCHEMA, 5).num_rows == 0


def test_texts_are_drawn_too() -> None:
    schema = pa.schema({"user_id": pa.string()})
    users = [f"u{n:03}" for n in range(60)]
    found = [few([pa.record_batch({"user_id": order}, schema)], schema, 4) for order in (users, list(reversed(users)))]

    assert found[0].num_rows == 4
    assert found[0].equals(found[1])


def test_rows_of_users_are_one_each() -> None:
    found = of_users(batches([1, 2, 2, 3, 4]), SCHEMA, pa.array([2, 4, 9]))

    assert found.to_pydict() == {"user_id": [2, 4], "value": [20, 40]}
    assert of_users([], SCHEMA, pa.array([2], pa.int64())).to_pydict() == {"user_id": [], "value": []}


def test_buckets_are_spread_and_hold_about_as_many_users_as_are_wanted() -> None:
    counts = Counter(dict.fromkeys(range(64), 100))

    assert chosen_buckets(counts, 400) == [0, 16, 32, 48]
    assert chosen_buckets(counts, 10**6) == list(range(64))
    assert chosen_buckets(counts, 1) == [0]
    assert chosen_buckets(Counter(), 10) == []


def test_drawn_users_are_the_same_for_the_same_run() -> None:
    users = list(range(1000))

    assert drawn(users, 3, "a") == drawn(users, 3, "a") != drawn(users, 3, "b")
    assert drawn([5, 6], 3, "a") == [5, 6]


def test_a_tally_counts_rows_and_failures() -> None:
    tally = Tally()
    tally.add(pa.record_batch({"bucket": [0, 0, 3], "source": ["model", "fallback", "model"]}))
    tally.add(pa.record_batch({"bucket": [3], "source": ["model"]}))
    tally.add_failures(
        pa.record_batch({"user_id": [7, 8, 9], "code": ["A", "B", "B"], "message": [None, "first", "second"]})
    )

    assert (tally.buckets, tally.sources, tally.scored) == ({0: 2, 3: 2}, {"model": 3, "fallback": 1}, 4)
    assert tally.failures() == (Failures("B", 2, "8", "first"), Failures("A", 1, "7", ""))
