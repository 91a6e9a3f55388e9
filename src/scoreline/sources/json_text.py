"""JSON as Spark takes it, without Spark: what it is lenient about, and scalars as they are written.

Single quotes, NaN and the infinities are taken, of a name that is there twice the last, and what follows a line's first
value is passed over. Everything else that is no JSON is a misfit.
"""

import json
import re
from collections.abc import Iterator

__all__ = ["Misfit", "Nested", "Record", "objects"]

Record = dict[str, str | None]

_FAST = json.JSONDecoder(parse_int=str, parse_float=str, parse_constant=str).raw_decode
_BLANK = re.compile(r"[ \t\r\n]*")
_ESCAPE = r"""\\(?:["\\/bfnrt']|u[0-9a-fA-F]{4})"""
# half of a pair of surrogates stands for a byte that is no UTF-8 (`surrogateescape`)
_STRING = re.compile(
    rf'"(?:[^"\\\x00-\x1f\ud800-\udfff]|{_ESCAPE})*"' + "|" + rf"'(?:[^'\\\x00-\x1f\ud800-\udfff]|{_ESCAPE})*'"
)
_SCALAR = re.compile(
    r"(?:-?(?:0|[1-9][0-9]*)(?:[.][0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null|NaN|[+-]?Infinity|[+-]INF)"
    r"(?=[ \t\r\n,\]}]|$)"
)


class Nested(str):
    """A list or an object, as it is written."""

    __slots__ = ()


class Misfit(ValueError):
    """A text that is no JSON, or none of an object."""


def objects(text: str, at: int = 0) -> Iterator[Record]:
    """The objects of a text that begins with one, or with an array of them; none of a blank one. Raises Misfit.

    Values are text: of a list or an object all of it as it is written. null is None.
    """
    at = _after(text, at)
    if at == len(text):
        return
    if text[at] != "[":
        yield _object(text, at)[0]
        return
    at = _after(text, at + 1)
    while not text.startswith("]", at):
        found, at = _object(text, at)
        yield found
        at = _next(text, at, "]")


def _after(text: str, at: int) -> int:
    return _BLANK.match(text, at).end()  # type: ignore[union-attr]


def _next(text: str, at: int, end: str) -> int:
    """The place of the next member, or of the end."""
    at = _after(text, at)
    if text.startswith(end, at):
        return at
    at = _expect(text, at, ",")
    if text.startswith(end, at):
        raise Misfit
    return at


def _expect(text: str, at: int, sign: str) -> int:
    if not text.startswith(sign, at):
        raise Misfit
    return _after(text, at + 1)


def _object(text: str, at: int) -> tuple[Record, int]:
    if not text.startswith("{", at):
        raise Misfit
    try:
        found, end = _FAST(text, at)
        if all(value is None or isinstance(value, str | bool) for value in found.values()):
            found = {key: str(value).lower() if isinstance(value, bool) else value for key, value in found.items()}
            "".join([*found, *(value for value in found.values() if value)]).encode()
            return found, end
    except (ValueError, RecursionError):
        pass
    try:
        return _slowly(text, at)
    except RecursionError:
        raise Misfit from None


def _slowly(text: str, at: int) -> tuple[Record, int]:
    found: Record = {}
    at = _expect(text, at, "{")
    while not text.startswith("}", at):
        name, at = _string(text, at)
        at = _expect(text, _after(text, at), ":")
        found[name], at = _value(text, at)
        at = _next(text, at, "}")
    return found, at + 1


def _value(text: str, at: int) -> tuple[str | None, int]:
    if text.startswith(('"', "'"), at):
        return _string(text, at)
    if text.startswith("{", at):
        _, end = _slowly(text, at)
        return Nested(text[at:end]), end
    if text.startswith("[", at):
        end = _expect(text, at, "[")
        while not text.startswith("]", end):
            end = _next(text, _value(text, end)[1], "]")
        return Nested(text[at : end + 1]), end + 1
    if (scalar := _SCALAR.match(text, at)) is None:
        raise Misfit
    return None if scalar[0] == "null" else scalar[0], scalar.end()


def _string(text: str, at: int) -> tuple[str, int]:
    if (found := _STRING.match(text, at)) is None:
        raise Misfit
    written = found[0]
    if "'" in written:  # which Python's reader knows neither as a quote nor behind a backslash
        inside = re.sub(r"""\\'|\\.|["]""", _requoted, written[1:-1])
        written = f'"{inside}"'
    # half of a pair of surrogates, which JSON can write and UTF-8 cannot, is a question mark, as Java has it
    return str(json.loads(written)).encode("utf-8", "replace").decode(), found.end()


def _requoted(found: re.Match[str]) -> str:
    return {"\\'": "'", '"': '\\"'}.get(found[0], found[0])
