"""A key-value store shows one version at a time, though it has no transaction over many users."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from integration.databases import stores
from integration.databases.published import Pipeline, change, version
from scoreline.errors import RunFailed
from scoreline.export.destinations.dynamodb import DynamoDestination, open_dynamodb, read_user
from scoreline.export.destinations.pointer import Pointer, newest, stale
from scoreline.export.export import export
from scoreline.pipeline.fence import rollback
from scoreline.tables.schema import Keys


@pytest.fixture
def store(endpoint: str) -> stores.DynamoStore:
    return stores.emptied_dynamodb(endpoint)


def keys(store: stores.DynamoStore) -> list[str]:
    """The users of all items, the pointer's aside."""
    items = store.open().client().scan()["Items"]
    return sorted(item["user_id"] for item in items if item["export_id"] != 0)


def test_what_died_does_not_come_up_after_a_rollback(
    spark: Any, tmp_path: Path, store: stores.DynamoStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Pipeline(spark, tmp_path / "tables", f"dynamodb://eu-central-1?endpoint={store.endpoint}")
    made.everyone({1: [10], 2: [20]})
    assert export(made.context).replaced == 2
    made.everyone({1: [666], 2: [667]})
    with monkeypatch.context() as patch:
        patch.setattr(DynamoDestination, "_turned", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            export(made.context)
    assert store.read([1, 2]) == {1: [10], 2: [20]}
    rollback(made.table)
    assert export(made.context).replaced == 0
    assert store.read([1, 2]) == {1: [10], 2: [20]}
    made.everyone({1: [10], 2: [21]}, kept=(1,))
    export(made.context)
    assert store.read([1, 2]) == {1: [10], 2: [21]}


def test_old_items_are_removed_and_the_pointer_shares_its_name_with_a_user(
    spark: Any, store: stores.DynamoStore
) -> None:
    destination = store.open("string")
    destination.apply(change(spark, {"*": ["a"], "b": ["a"], "c": ["a"]}, wanted=version(1), kinds="string"))
    assert keys(store) == ["*", "b", "c"]
    for number, lists, gone in ((2, {"*": ["b"]}, ["c"]), (3, {"*": ["c"]}, []), (4, {}, [])):
        news = change(spark, lists, gone=gone, previous=version(number - 1), wanted=version(number), kinds="string")
        destination.apply(news)
        assert store.read(["*", "b", "c"]) == {"*": [[*"abc"][min(number, 3) - 1]], "b": ["a"]}
    assert keys(store) == ["*", "b"]  # nothing is left of the user who has gone
    destination.apply(change(spark, {}, gone=["*"], previous=version(4), wanted=version(5), kinds="string"))
    assert destination.shown() == version(5)
    assert store.read(["*", "b"]) == {"b": ["a"]}


def test_a_list_that_is_too_large_for_an_item_is_left_out(spark: Any, store: stores.DynamoStore) -> None:
    lists = {"anna": ["x"], "": ["x"], "bert": [f"{n:0255}" for n in range(1_500)]}
    sent = store.open("string").apply(change(spark, lists, wanted=version(1), kinds="string"))
    assert (sent.replaced, dict(sent.left_out)) == (1, {"list is larger than 400 KB": 1, "user id is empty": 1})
    assert store.read(["anna", "bert"]) == {"anna": ["x"]}


@given(
    st.sets(st.integers(1, 9)),
    st.sets(st.integers(1, 9)),
    st.sets(st.integers(1, 9)),
    st.lists(st.integers(1, 9), min_size=4, max_size=4),
)
def test_readers_do_not_miss_what_is_removed(
    numbers: set[int], marks: set[int], unshown: set[int], bounds: list[int]
) -> None:
    before_base, before, base, upto = sorted(bounds)
    base = base if base == upto else before_base  # a pointer's base is its own number, or the one before's
    pointer = Pointer(version(1), upto, base, before, before_base, frozenset(unshown - {upto, before}))
    items = {number: number in marks for number in numbers}
    left = numbers - set(stale(items, pointer))

    def seen(of: set[int], low: int, high: int) -> int | None:
        found = newest(of, low, high, pointer.unshown)
        return None if found is None or items[found] else found  # a mark is as good as nothing

    for low, high in ((before_base, before), (base, upto)):
        assert seen(left, low, high) == seen(numbers, low, high)
    assert len({n for n in left if n <= upto}) <= 2
    assert {n for n in numbers if n > upto} <= left


def test_a_table_that_is_not_there_is_one_message(endpoint: str) -> None:
    missing = open_dynamodb(f"dynamodb://eu-central-1?endpoint={endpoint}", "nowhere", Keys("long", "long"))
    with pytest.raises(RunFailed, match=r"dynamodb://eu-central-1/nowhere did not answer as it should.*not found"):
        missing.shown()


def test_before_the_first_export_nobody_has_a_list(store: stores.DynamoStore) -> None:
    assert read_user(store.open().client(), "1") is None
