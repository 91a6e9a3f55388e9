"""What the parameters of an estimator may be: one frozen model beside each estimator, checked before anything is done.

Types are strict: a parameter is the number, text or null that the file says, and nothing is turned into something else.
"""

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ..errors import InputError

__all__ = [
    "HalfLife",
    "HistoryHalfLife",
    "MinWeight",
    "Parameters",
    "as_text",
    "check",
    "described",
    "numbers",
    "problems",
]

_EXPONENT = re.compile(r"[-+]?[0-9]+(\.[0-9]*)?[eE][-+]?[0-9]+")
_KINDS = {"integer": "whole number", "number": "number", "string": "text", "null": "null"}


HalfLife = Annotated[
    Annotated[float, Field(ge=0.01, le=1e9)] | None,
    Field(description="an event that is so many days old counts half when training; null: all count alike"),
]
HistoryHalfLife = Annotated[
    Annotated[float, Field(ge=0.01, le=1e9)] | None,
    Field(
        description="in a history that is scored, an event counts half for so many events after it; null: all count "
        "alike; not given: `scoreline train` takes the better of the default and null"
    ),
]
MinWeight = Annotated[
    Annotated[float, Field(ge=-1e9, le=1e9)] | None,
    Field(description="events below it count as seen, not as liked; null: all are liked"),
]


class Parameters(BaseModel):
    """The parameters of one estimator, named as in its constructor and with the same defaults."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)


def numbers(given: Mapping[str, object]) -> dict[str, object]:
    """The parameters of a YAML file: `1e9` is a number to everybody but YAML 1.1, which gives text for it.

    >>> numbers({"shrinkage": "1e9", "popularity_exponent": "0,3"})
    {'shrinkage': 1000000000.0, 'popularity_exponent': '0,3'}
    """
    return {
        name: float(value) if isinstance(value, str) and _EXPONENT.fullmatch(value) else value
        for name, value in given.items()
    }


def problems(schema: type[Parameters], given: Mapping[str, Any], *, of: str = "") -> dict[str, str]:
    """What is wrong with the parameters `given`, by name: what would be right. of: the estimator, for the message."""
    # a scalar of NumPy is the number it holds
    plain = {key: value.item() if hasattr(value, "dtype") else value for key, value in given.items()}
    try:
        schema.model_validate(plain)
    except ValidationError as error:
        expected = {row.name: row.expected for row in described(schema)}
        wrong = dict.fromkeys(str(problem["loc"][0]) for problem in error.errors())
        unknown = f"unknown parameter of {of}" if of else "unknown parameter"
        return {
            name: f"expected {expected[name]}" if name in expected else f"{unknown}; {_hint(name, expected)}"
            for name in wrong
        }
    return {}


def check(estimator: str, schema: type[Parameters], given: Mapping[str, object]) -> None:
    """Raise `InputError` with a line for each parameter of the estimator that is not what `schema` says."""
    lines = [
        f"{estimator}: {name} is {given[name]!r}, {said}"
        if name in schema.model_fields
        else f"{estimator} has no parameter {name}; {_hint(name, schema.model_fields)}"
        for name, said in problems(schema, given).items()
    ]
    if lines:
        raise InputError("\n".join(lines))


def _hint(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"did you mean {close[0]}?" if close else f"it has {', '.join(known) or 'none'}"


@dataclass(frozen=True)
class Description:
    """One parameter in words."""

    name: str
    expected: str
    default: str
    meaning: str


def described(schema: type[Parameters]) -> Iterator[Description]:
    """The parameters of an estimator, in the order of its constructor."""
    for name, said in schema.model_json_schema().get("properties", {}).items():
        default = "null" if said.get("default") is None else str(said["default"])
        yield Description(name, _expected(said), default, str(said.get("description", "")))


def as_text(estimator: str, schema: type[Parameters]) -> str:
    """The parameters of an estimator as lines for a terminal."""
    rows = list(described(schema))
    lines = [f"  {row.name}: {row.expected}; default {row.default}\n      {row.meaning}" for row in rows]
    return "\n".join([f"{estimator}, under model.train.params:", *(lines or ["  it has no parameters"])])


def _expected(said: Mapping[str, Any]) -> str:
    """The type and the bounds of a property of a JSON schema.

    >>> _expected({"type": "integer", "minimum": 1, "maximum": 10})
    'whole number, 1 to 10'
    """
    if "anyOf" in said:
        return ", or ".join(_expected(one) for one in said["anyOf"])
    if "enum" in said:
        return "one of " + ", ".join(map(str, said["enum"]))
    kind = _KINDS[said["type"]]
    if "maximum" not in said:
        return kind
    low = f"{said['minimum']:.15g}" if "minimum" in said else f"above {said['exclusiveMinimum']:.15g}"
    return f"{kind}, {low} to {said['maximum']:.15g}"
