"""Ids as texts say them, and whole numbers; the one rule of files, of lists in files and of the command line."""

import re
from typing import Any, Literal

from scoreline.config.sources import KeyType
from scoreline.errors import InputError

__all__ = ["WHOLE", "typed_id", "whole"]

WHOLE = "^[+-]?[0-9]+([.]0+)?$"


def whole(said: str) -> int | None:
    """The whole number that a text is, None if it is none; the same text as in a file.

    >>> whole("17001.0"), whole("1_000"), whole("9223372036854775808")
    (17001, None, None)
    """
    found = re.fullmatch(WHOLE, said.strip(" "))
    value = int(found[0].partition(".")[0]) if found else 2**63
    return value if -(2**63) <= value < 2**63 else None


def typed_id(said: str, kind: KeyType, of: Literal["user", "item"]) -> Any:
    """The id that somebody has typed, as the tables have it; raises InputError for what is not of the type in `keys`.

    >>> typed_id("42 ", "long", "user"), typed_id("007", "string", "item")
    (42, '007')
    """
    named = said.strip(" ")
    if not named or any("\ud800" <= sign <= "\udfff" for sign in named):  # bytes of a command that are not UTF-8
        raise InputError(f"an id of {of}s is {'empty' if not named else f'no text: {named!r}'}.")
    if kind == "string":
        return named
    if (number := whole(named)) is None:
        raise InputError(f"{of} ids of this pipeline are whole numbers (keys.{of}_id: long), found {said!r}.")
    return number
