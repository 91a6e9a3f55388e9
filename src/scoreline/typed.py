"""Commands that a message says to type, with the options that this process was given and the next one needs as well."""

import re
import shlex
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

__all__ = ["given", "limits_in", "typed", "typed_again"]

# options that decide what a run is, and whether a value follows
_DECIDING = {
    "--set": True, "--full-refresh": False, "--users": True, "--users-from": True, "--fraction": True, "--budget": True,
}  # fmt: skip
_LIMIT = re.compile(r"\((audit\.\w+)\)")
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


def typed_again(command: object, *more: str, changed: Collection[str] = ()) -> str:
    """`run` with the options that decided what a run was, as its recorded command line had them.

    changed: keys whose limit is to be another one; what was set is left out.

    >>> with given("--config", "films.yaml", "--set", "scoring.k=5"):
    ...     typed_again("scoreline run --full-refresh --set model.uri=models:/slow/1 --quiet")
    'scoreline run --config films.yaml --full-refresh --set model.uri=models:/slow/1'
    >>> typed_again("scoreline run --set=audit.min_overlap=1.0 --users 1,2", "--restart", changed=["audit.min_overlap"])
    'scoreline run --restart --set audit.min_overlap=LIMIT --users 1,2'
    """
    config = _given[:2] if _given[:1] == ["--config"] else []
    words = _words(command)
    said = words[2:] if words[:1] == ["scoreline"] and words[1:2] in (["run"], ["watch"]) else _given
    return " ".join(["scoreline run", *more, *map(shlex.quote, [*config, *_deciding(said, changed)])])


def limits_in(text: str) -> list[str]:
    """The keys of the limits that a text names, as the audit's own texts do.

    >>> limits_in("overlap is 0.1, expected at least 0.5 (audit.min_overlap)")
    ['audit.min_overlap']
    """
    return _LIMIT.findall(text)


def _words(command: object) -> list[str]:
    try:
        return shlex.split(str(command or ""))
    except ValueError:  # a quote that was hidden with a secret
        return []


def _deciding(words: Sequence[str], changed: Collection[str]) -> Iterator[str]:
    rest = iter(words)
    for word in rest:
        name, is_said, value = word.partition("=")
        if name not in _DECIDING:
            continue
        yield name
        if _DECIDING[name]:
            value = value if is_said else next(rest, "")
            key = value.partition("=")[0]
            yield f"{key}=LIMIT" if name == "--set" and key in changed else value
