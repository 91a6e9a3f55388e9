"""Which items a pointer shows, and which can go."""

import pytest

from scoreline.export.destinations.pointer import KEY, Pointer, pointer_of, stale
from scoreline.export.destinations.protocol import Shown

NOW = Pointer(Shown(7, 7, "t/a"), upto=30, base=10, before=20, before_base=10, unshown=frozenset({25}))


def test_what_is_stored_stays_what_it_is() -> None:
    """Another key would lose the pointer of every table there is."""
    assert KEY == {"user_id": "*", "export_id": 0}
    assert NOW.attributes() == {
        "version": 7, "content": 7, "origin": "t/a", "upto": 30, "base": 10, "before": 20, "before_base": 10,
    }  # fmt: skip
    assert pointer_of({**KEY, **NOW.attributes(), "unshown": {25}}) == NOW
    assert pointer_of(KEY) is None


@pytest.mark.parametrize(
    ("items", "gone"),
    [
        ({30: False}, []),  # readers see it
        ({20: False}, []),
        ({20: True}, [20]),  # a mark, seen before and now, with nothing under it
        ({30: True}, []),  # a mark that hides nothing for readers of the pointer before: they may still be there
        ({40: False}, []),  # of an export that has begun since
        ({25: False}, [25]),  # of one that died
        ({5: False}, [5]),  # hidden by the last export of everyone
        ({5: False, 20: False, 25: False, 30: False, 40: False}, [5, 25]),
        ({12: False, 20: True, 30: False}, [12]),
        ({12: False, 20: True}, [12]),
    ],
)
def test_only_what_no_reader_sees_can_go(items: dict[int, bool], gone: list[int]) -> None:
    assert stale(items, NOW) == gone
