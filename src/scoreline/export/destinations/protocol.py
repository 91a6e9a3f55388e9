"""What `scoreline export` asks of a database. A destination of your own implements `Destination`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from pyspark.sql import DataFrame

from scoreline.errors import Superseded
from scoreline.export.destinations.rows import Sent


@dataclass(frozen=True)
class Shown:
    """What readers see: a version of a table.

    content: the version of the publishing commit whose rows these are, which is an older one after a rollback; origin:
    the table's id and that commit's attempt, for a number alone is no identity; empty if it is not known.
    """

    version: int
    content: int
    origin: str


def _nothing_against() -> None:
    """Nobody has taken the version back."""


@dataclass(frozen=True)
class Change:
    """What has to be shown next.

    lists: `user_id, recommendations, source`, of everyone if `everyone`, else of those whose rows changed; gone:
    `user_id` of those to be removed (empty if `everyone`). previous: what the destination said it shows, on which the
    change builds; wanted: what to show now. `require_wanted` is to be called last before that: it raises Superseded
    if the version has been taken back meanwhile.
    """

    lists: DataFrame
    gone: DataFrame
    everyone: bool
    previous: Shown | None
    wanted: Shown
    require_wanted: Callable[[], None] = _nothing_against


class Destination(Protocol):
    """A database that shows one version at a time; whatever fails, it goes on showing the one before.

    `tests/integration/databases/test_protocol.py` is what every destination passes.
    """

    @property
    def address(self) -> str:
        """Where it is, without a password."""
        ...

    def shown(self) -> Shown | None:
        """What readers see, None before the first export."""
        ...

    def apply(self, change: Change) -> Sent:
        """Show the change, all at once, if `change.previous` is still shown; else raise Superseded and change nothing.

        The comparison and the change are one transaction, or one conditional write.
        """
        ...

    def flip_back(self, *, previous: Shown, wanted: Shown) -> int | None:
        """Show again what was shown before the last change, if those are the rows wanted and are still there.

        Gives the number of users changed; None, with nothing changed, if that cannot be.
        """
        ...


def require_unchanged(destination: Destination, table: str, found: Shown | None, previous: Shown | None) -> None:
    """Raise Superseded if something else is shown than the change builds on."""
    if found != previous:
        version = None if found is None else found.version
        raise Superseded(
            f"{destination.address}: another export has brought {table} to version {version} in the meantime, and that "
            "is shown. Export again."
        )
