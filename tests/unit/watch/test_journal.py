"""What is accepted stays, is answered together, and is never doubled."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from scoreline.watch.journal import Ask, Journal


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    found = Journal(tmp_path / "new" / "watch.db")
    yield found
    found.close()


def accept(journal: Journal, *users: int, at: float = 0.0, key: str | None = None, everyone: bool = False) -> str:
    start = journal.accept("app", Ask(users or None, everyone), now=at, due_at=at + 2, key=key)
    assert start is not None
    return start.id


def test_signals_within_the_pause_are_one_chain_each_user_once(journal: Journal) -> None:
    ids = [accept(journal, 1, 2), accept(journal, 2, 3, at=1.5)]

    assert journal.take(["app"], now=1.9) is None
    chain = journal.take(["app"], now=2.0)

    assert chain is not None
    assert (chain.ids, chain.ask, chain.attempt) == (tuple(ids), Ask((1, 2, 3)), 1)
    assert journal.take(["app"], now=99.0) is None


def test_what_asks_for_something_else_has_a_chain_of_its_own(journal: Journal) -> None:
    some, everyone, all_users = accept(journal, 1), accept(journal, 1, everyone=True, at=0.1), accept(journal, at=0.2)

    chains = [journal.take(["app"], now=9) for _ in range(4)]

    assert [chain and (chain.ids, chain.ask) for chain in chains] == [
        ((some,), Ask((1,))), ((everyone,), Ask((1,), everyone=True)), ((all_users,), Ask()), None,
    ]  # fmt: skip


def test_a_key_that_comes_again_is_the_same_start_and_no_other(journal: Journal) -> None:
    first = accept(journal, 1, key="k")

    assert accept(journal, 1, key="k", at=5) == first
    assert journal.accept("app", Ask((2,)), now=5, due_at=5, key="k") is None
    assert accept(journal, 1, key="other") != first
    assert journal.waiting() == {"app": 2}


def test_a_trigger_that_comes_while_its_start_waits_is_no_second_one(journal: Journal) -> None:
    assert journal.fire("nightly", "1", now=1)
    assert not journal.fire("nightly", "2", now=2)
    chain = journal.take(["nightly"], now=2)
    assert journal.fire("nightly", "3", now=3)  # what has come since it began is not part of it

    assert (chain is not None, journal.mark("nightly"), journal.waiting()) == (True, "3", {"nightly": 2})


def test_who_was_killed_has_lost_nothing(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "watch.db")
    one = accept(journal, 1, key="k")
    assert journal.take(["app"], now=3) is not None
    other = Journal(tmp_path / "watch.db")  # as after kill -9: nobody has closed it

    assert (other.recover(now=4), other.recover(now=4)) == (1, 0)
    chain = other.take(["app"], now=4)

    assert chain is not None
    assert (chain.ids, chain.attempt, chain.first_tried_at) == ((one,), 2, 4)  # its hour begins anew
    assert accept(other, 1, key="k") == one
    for opened in (journal, other):
        opened.close()


def test_an_attempt_is_counted_and_a_wait_for_others_is_not(journal: Journal) -> None:
    accept(journal, 1)
    for counts, attempt, first in ((True, 1, 3), (True, 2, 3), (False, 3, 3), (True, 3, 30)):
        chain = journal.take(["app"], now=3 if first == 3 else 30)
        assert chain is not None
        assert (chain.attempt, chain.first_tried_at) == (attempt, first)
        journal.put_back(chain, due_at=3, outcome={"message": "away"}, counts=counts)


def test_how_it_ended_can_be_asked_for_a_week(journal: Journal) -> None:
    one = accept(journal, 1)
    chain = journal.take(["app"], now=3)
    assert chain is not None
    journal.end(chain, "published", {"version": 7}, now=4)

    found = journal.get(one)
    assert found is not None
    assert (found.state, found.outcome, found.accepted_at, found.ended_at) == ("published", {"version": 7}, 0, 4)
    accept(journal, 2, at=8 * 86_400)
    later = journal.take(["app"], now=9 * 86_400)
    assert later is not None
    journal.end(later, "done", {}, now=9 * 86_400)
    assert journal.get(one) is None


def test_starts_of_a_trigger_that_is_gone_wait_and_disturb_nobody(journal: Journal) -> None:
    accept(journal, 1)

    assert (journal.next_due(["nightly"]), journal.take(["nightly"], now=9)) == (None, None)
    assert journal.next_due(["nightly", "app"]) == 2


def test_many_at_once_are_all_there(journal: Journal) -> None:
    with ThreadPoolExecutor(8) as pool:
        ids = list(pool.map(lambda user: accept(journal, user), range(1, 201)))
    chain = journal.take(["app"], now=9)

    assert chain is not None
    assert (set(chain.ids), sorted(chain.ask.users or ())) == (set(ids), list(range(1, 201)))
