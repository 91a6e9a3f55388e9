"""Which items of a key-value store a pointer shows, and which nobody needs. Decides, does no I/O.

Exports are numbered. Of a user's items readers see the newest whose number is not above `upto`, not below `base`, and
not in `unshown`: the exports that have begun and did not become what is shown, because they died or lost a race. So
their items never come up, however late somebody writes them.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from scoreline.export.destinations.protocol import Shown

# exports are numbered by the clock, so no item of a user whose id is "*" has this key
KEY = {"user_id": "*", "export_id": 0}


@dataclass(frozen=True)
class Pointer:
    """base: the last export that sent everyone, which hides all that is older; before, before_base: `upto` and `base`
    as they were until this export."""

    shown: Shown
    upto: int
    base: int
    before: int
    before_base: int
    unshown: frozenset[int]

    def attributes(self) -> dict[str, Any]:
        """The attributes of the pointer's item, without `unshown`, which exports add to and take from."""
        shown = {"version": self.shown.version, "content": self.shown.content, "origin": self.shown.origin}
        numbers = {"upto": self.upto, "base": self.base, "before": self.before, "before_base": self.before_base}
        return shown | numbers


def pointer_of(item: Mapping[str, Any]) -> Pointer | None:
    """The pointer of an item; None if nothing was shown yet."""
    if "upto" not in item:
        return None
    return Pointer(
        Shown(int(item["version"]), int(item["content"]), str(item["origin"])),
        upto=int(item["upto"]),
        base=int(item["base"]),
        before=int(item["before"]),
        before_base=int(item["before_base"]),
        unshown=frozenset(int(number) for number in item.get("unshown", ())),
    )


def newest(numbers: Collection[int], base: int, upto: int, unshown: Collection[int]) -> int | None:
    """Which of a user's items readers see.

    >>> newest([3, 5, 6, 8], base=4, upto=6, unshown={6})
    5
    """
    return max((n for n in numbers if base <= n <= upto and n not in unshown), default=None)


def stale(items: Mapping[int, bool], pointer: Pointer) -> list[int]:
    """Which of a user's items can be removed; `items` says for each number whether it is a mark that the user has left.

    Readers of this pointer and of the one before see the same without them. An export that has begun since may need
    those with higher numbers.
    """
    now = newest(items, pointer.base, pointer.upto, pointer.unshown)
    earlier = newest(items, pointer.before_base, pointer.before, pointer.unshown)
    if len(items) == 1 and now is not None and now == earlier and items[now]:
        return [now]  # a mark under which nothing is left
    return [n for n in items if n <= pointer.upto and n not in (now, earlier)]
