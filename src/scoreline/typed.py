"""Commands that a message says to type, with the options that this process was given and the next one needs as well."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["given", "typed"]

_given: list[str] = []


@contextmanager
def given(*options: str) -> Iterator[None]:
    """What is said inside names these options with each command."""
    before = _given[:]
    _given[:] = options
    try:
        yield
    finally:
        _given[:] = before


def typed(command: str) -> str:
    """A command of ours as one has to type it.

    >>> typed("status")
    'scoreline status'
    >>> with given("--config", "my films.yaml"):
    ...     typed("log r1")
    "scoreline log r1 --config 'my films.yaml'"
    """
    return " ".join(["scoreline", command, *map(shlex.quote, _given)])
