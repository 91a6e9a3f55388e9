"""What every section of a file is, and values that several of them hold."""

import re
from datetime import timedelta
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

__all__ = ["Duration", "Fraction", "Section", "parse_duration"]

Fraction = Annotated[float, Field(ge=0, le=1)]

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(value: object) -> object:
    """Turn `30m`, `12h`, `7d` or `2w` into a timedelta; anything else is left to pydantic to refuse.

    >>> parse_duration("36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)\s*([smhdw])", value.strip())):
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    if isinstance(value, timedelta) or value is None:
        return value
    raise ValueError("a duration is a whole number and a unit of s, m, h, d or w, such as 12h or 7d")


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


class Section(BaseModel):
    """A part of the file: frozen, and strict about keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
