"""What every destination keeps: readers see one whole published version, whoever dies and whoever is at work beside."""

import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from builders import ENGINE
from integration.databases import stores
from integration.databases.published import Lists, change, version
from scoreline.errors import RunFailed, Superseded
from scoreline.export.destinations import Change, Destination, Sent, Shown

USERS = list(range(1, 10))


@pytest.fixture(params=["sqlite", "postgres", "mariadb", "dynamodb"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> stores.Store:
    match request.param:
        case "postgres":
            return stores.emptied_postgres(request.getfixturevalue("server"))
        case "mariadb":
            return stores.emptied_mariadb(request.getfixturevalue("mariadb_server"))
        case "dynamodb":
            return stores.emptied_dynamodb(request.getfixturevalue("endpoint"))
    return stores.sqlite(tmp_path)


@pytest.fixture
def published(spark: Any, store: stores.Store) -> Any:
    """A destination that shows version 1."""
    destination = store.open()
    assert destination.shown() is None
    first = change(spark, {1: [10, 11], 2: [20], 3: [30]}, wanted=version(1))
    assert counts(destination.apply(first)) == (3, 0, {})
    return destination


def counts(sent: Sent) -> tuple[int, int, Any]:
    return sent.replaced, sent.removed, dict(sent.left_out)


def shows(store: stores.Store, lists: Lists, number: int) -> None:
    """Readers see these lists and no others, and the destination says so."""
    found = store.open().shown()
    assert (store.read(USERS), found and found.version) == ({u: i for u, i in lists.items() if i}, number)


def test_the_database_shows_what_it_is_sent(spark: Any, store: stores.Store, published: Destination) -> None:
    shows(store, {1: [10, 11], 2: [20], 3: [30]}, 1)
    some = change(spark, {2: [21, 22], 3: [], 4: [40]}, gone=[1], previous=version(1), wanted=version(2))
    assert counts(published.apply(some)) == (3, 1, {})
    shows(store, {2: [21, 22], 4: [40]}, 2)
    everyone = change(spark, {1: [12], 5: [50]}, previous=version(2), wanted=version(3))
    assert counts(published.apply(everyone)) == (2, 0, {})
    shows(store, {1: [12], 5: [50]}, 3)
    if published.flip_back(previous=version(3), wanted=version(4, content=2)) is None:
        again = change(spark, {2: [21, 22], 3: [], 4: [40]}, gone=[1, 5], previous=version(3), wanted=version(4, 2))
        published.apply(again)
    shows(store, {2: [21, 22], 4: [40]}, 4)
    assert published.shown() == version(4, content=2)
    with pytest.raises(Superseded, match="brought recommendations to version 4 in the meantime"):
        published.apply(some)
    assert published.flip_back(previous=version(3), wanted=version(5, content=3)) is None
    shows(store, {2: [21, 22], 4: [40]}, 4)


@pytest.mark.parametrize("everyone", [False, True], ids=["some", "everyone"])
def test_an_export_that_dies_anywhere_is_never_seen(
    spark: Any, store: stores.Store, published: Destination, everyone: bool
) -> None:
    if ENGINE == "embedded" and isinstance(store, stores.DynamoStore):
        pytest.skip(
            "without Spark it is written in this process, and what stands for its death is an error of a worker"
        )
    seen: Lists = {1: [10, 11], 2: [20], 3: [30]}
    shown, left, blown = version(1), 0, True
    while blown:
        bad = {1: [666 + left], 4: [667 + left]}
        wanted = version(shown.version + 1 + left)
        dying = change(spark, bad, gone=None if everyone else [3], previous=shown, wanted=wanted)
        with store.fuse(left) as fuse, suppress(stores.Killed):
            store.open().apply(dying)
        blown = fuse.blown
        found = store.open().shown()
        assert found in (shown, wanted), left  # dead before it could say that it was done
        if found == wanted:
            seen, shown = (bad if everyone else {u: i for u, i in (seen | bad).items() if u != 3}), wanted
        assert store.read(USERS) == seen, left
        if left % 3 == 2 or not blown:
            # the next export knows nothing of users 1 and 4: nothing of the dead ones' may come up under it
            earlier, shown, news = shown, version(shown.version + 100), {2: [20 + left], 3: [30]}
            store.open().apply(change(spark, news, gone=[5], previous=earlier, wanted=shown))
            seen = seen | news
            assert store.read(USERS) == seen, left
        left += 1
    assert left > 3


def test_a_worker_that_dies_half_way_leaves_nothing(spark: Any, store: stores.Store, published: Destination) -> None:
    from pyspark.sql import functions as F

    dying = change(spark, {n: [n] for n in range(1, 9)}, gone=[], previous=version(1), wanted=version(2))
    # the first partition is sent, the second raises
    raises = F.when(F.col("user_id") == 8, F.raise_error("the node is gone")).otherwise(F.col("source"))
    lists = dying.lists.repartition(2).sortWithinPartitions("user_id").withColumn("source", raises)
    with pytest.raises(Exception, match="the node is gone"):
        published.apply(Change(lists, dying.gone, False, version(1), version(2)))
    shows(store, {1: [10, 11], 2: [20], 3: [30]}, 1)
    published.apply(change(spark, {2: [22]}, gone=[3], previous=version(1), wanted=version(3)))
    shows(store, {1: [10, 11], 2: [22]}, 3)


def test_of_two_exports_at_once_one_is_shown_whole(spark: Any, store: stores.Store, published: Destination) -> None:
    """The second one goes the whole way while the first is about to show what it has sent."""
    outcomes: list[Shown | RunFailed] = []

    def tried(number: int, lists: Lists, meanwhile: Callable[[], None]) -> None:
        wanted = version(number)
        mine = change(spark, lists, gone=[3], previous=version(1), wanted=wanted, require_wanted=meanwhile)
        try:
            store.open().apply(mine)
            outcomes.append(wanted)
        except RunFailed as error:
            outcomes.append(error)

    def beside() -> None:
        other = threading.Thread(target=tried, args=(3, {2: [23]}, lambda: None))
        other.start()
        other.join()

    tried(2, {1: [12]}, beside)
    won = [outcome for outcome in outcomes if isinstance(outcome, Shown)]
    assert len(outcomes) == 2
    assert len(won) == 1
    shows(store, {2: {1: [12], 2: [20]}, 3: {1: [10, 11], 2: [23]}}[won[0].version], won[0].version)
    published.apply(change(spark, {4: [40]}, gone=[2], previous=won[0], wanted=version(4)))
    shows(store, {1: [12] if won[0].version == 2 else [10, 11], 4: [40]}, 4)


def test_a_version_that_was_taken_back_is_not_shown(spark: Any, store: stores.Store, published: Destination) -> None:
    def taken_back() -> None:
        raise Superseded("version 2 was taken back")

    for gone in ([3], None):
        late = change(spark, {1: [66]}, gone=gone, previous=version(1), wanted=version(2), require_wanted=taken_back)
        with pytest.raises(Superseded, match="taken back"):
            published.apply(late)
        shows(store, {1: [10, 11], 2: [20], 3: [30]}, 1)
    published.apply(change(spark, {}, gone=[], previous=version(1), wanted=version(3, content=1)))
    shows(store, {1: [10, 11], 2: [20], 3: [30]}, 3)


def test_a_row_that_the_database_cannot_hold_is_left_out_and_the_rest_is_shown(spark: Any, store: stores.Store) -> None:
    destination, users = store.open("string"), ["anna", "bert", "*", "ä" * 255, "0\"7,'"]
    assert destination.shown() is None
    first = {user: ["x"] for user in users}
    odd = {"a\0b": ["x"], "y" * 256: ["x"]}
    sent = destination.apply(change(spark, {**first, **odd}, wanted=version(1), kinds="string"))
    reasons = {"user id has a NUL character": 1, "user id is longer than 255 characters": 1}
    assert counts(sent) == (5, 0, reasons)
    assert store.read(users) == first
    # the old list of somebody whose new one can't be held goes: it belongs to another version
    second = {"anna": ["x\0"], "bert": ["y"], "*": ["z" * 255], "y" * 256: ["y"]}
    news = change(spark, second, gone=["a\0b"], previous=version(1), wanted=version(2), kinds="string")
    reasons = {"item id has a NUL character": 1, "user id is longer than 255 characters": 1}
    assert counts(destination.apply(news)) == (2, 0, reasons)
    assert store.read(users) == {user: second.get(user, ["x"]) for user in users if user != "anna"}
