"""Keep secrets out of what people and logs read: errors, log lines, MLflow parameters, the `runs` table.

What came by `${ENV}` under a name that says it is a secret, and the password of any URL that was configured or named as
a source, is remembered for the whole process: a log line does not know which pipeline it is about. What was never
remembered is known by its shape.
"""

import json
import logging
import re
from collections.abc import Iterator
from urllib.parse import quote, quote_plus, unquote, unquote_plus

__all__ = ["Redacted", "is_secret_name", "redacted", "remember", "remember_in", "secrets_in", "without_credentials"]

HIDDEN = "***"
_LEAST = 4  # what is shorter would hide half of every text
_NAME = re.compile(
    r"pass(word|wd|phrase)?($|[._-])|pwd|secret|token|credential|(api|access|account|private)[._-]?key", re.I
)
_NO_SECRET = re.compile(r"[._-](provider|class|enabled|type|path|file)$", re.I)
# A database's password is what SQLAlchemy takes it for, and as much further as there is an @: it may hold / : ? and @
_URL = re.compile(r"(?P<before>(?P<scheme>[A-Za-z][\w+.-]*)://[^\s/@:'\"]*:)(?P<secret>(?!@)\S+)(?P<after>@\S*)")
# elsewhere a number behind the host is a port
_PORT = re.compile(r"\d{1,5}([/?#;]|$)")
_WITH_PORTS = {"http", "https", "hdfs", "s3", "s3a", "gs", "abfs", "abfss", "wasb", "wasbs", "viewfs", "file", "spark"}
# up to the next pair of a query, to the closing quote, or to the end of the word
_VALUE = (
    r"""(?:'(?P<single>(?:[^'\\]|\\.)*)'|"(?P<double>(?:[^"\\]|\\.)*)"|(?P<plain>(?:(?![&;,]\s*[\w.-]+\s*=)\S)+))"""
)
_OF_URLS = 2  # of the shapes, so many stand before an @
_SHAPES = [
    re.compile(r"(?i)(?P<before>\bjdbc:oracle:\w+:[^\s/@]+/)(?P<plain>\S+)(?=@)"),
    re.compile(r"(?i)(?P<before>\bhttps?://)(?P<plain>[^\s/@:'\"]+)(?=@)"),
    re.compile(
        r"(?i)(?P<before>\bauthorization['\"]?\s*[=:]\s*['\"]?(?:(?:bearer|basic|token|digest|negotiate)\s+)?)"
        r"(?P<plain>[^\s'\"]+)"
    ),
    re.compile(r"(?i)(?P<before>\bbearer\s+)(?P<plain>(?=\S*\d)[\w.~+/=-]{8,})"),
    re.compile(r"(?i)(?P<before>\b(?:x-amz-)?sig(?:nature)?=)(?P<plain>[^\s&,'\"]+)"),
    re.compile(
        r"(?i)(?P<before>\b[\w.-]*(?:password|passwd|pwd|secret|token|credential|api[._-]?key|access[._-]?key"
        r"|account[._-]?key)[\w.-]*['\"]?\s*[=:]\s*)" + _VALUE
    ),
]
_known: set[str] = set()


def is_secret_name(name: str) -> bool:
    """Whether a key or an environment variable of this name holds a secret.

    >>> is_secret_name("DB_PASSWORD"), is_secret_name("spark.hadoop.fs.s3a.secret.key"), is_secret_name("HOME")
    (True, True, False)
    >>> is_secret_name("spark.hadoop.fs.s3a.aws.credentials.provider")
    False
    """
    return _NAME.search(name) is not None and _NO_SECRET.search(name) is None


def remember(value: str) -> None:
    """Never show this value again, however it is written; too short a value is no secret."""
    _known.update(form for form in _forms(value) if len(form) >= _LEAST)


def _forms(value: str) -> Iterator[str]:
    plain = {value, unquote(value), unquote_plus(value)}
    for text in plain:
        encoded = {quote(text, safe=""), quote(text), quote_plus(text), quote(text, safe=" +")}
        yield from (text, repr(text)[1:-1], json.dumps(text)[1:-1], *encoded)
        yield from (re.sub("%[0-9A-F]{2}", lambda match: match[0].lower(), each) for each in encoded)


def remember_in(text: str) -> None:
    """Never again show the secrets of a URL or a setting."""
    for secret in secrets_in(text):
        remember(secret)
        if "@" in secret:  # whoever reads it up to one @ or another takes some of the rest for a host, and names that
            pieces = secret.split("@")
            runs = ["@".join(pieces[i:j]) for i in range(len(pieces)) for j in range(i + 1, len(pieces) + 1)]
            for piece in [*runs, *re.split("[@:/?]", secret)]:
                remember(piece)


def secrets_in(text: str, *, named: bool = True) -> list[str]:
    """What looks like a secret: passwords of URLs and, if `named`, values of telling names and headers.

    >>> secrets_in("postgresql://app:ab/cd+e@db/shop?sslpassword=f%40g&x=1")
    ['ab/cd+e', 'f%40g']
    """
    found = [match["secret"] for match in _URL.finditer(text) if not _is_port(match)]
    for shape in _SHAPES if named else _SHAPES[:_OF_URLS]:
        for match in shape.finditer(text):
            found += [value for name, value in match.groupdict().items() if name != "before" and value]
    return found


def _is_port(match: re.Match[str]) -> bool:
    return match["scheme"].lower() in _WITH_PORTS and _PORT.match(match["secret"]) is not None


def without_credentials(url: str) -> str:
    """A URL with neither user nor password nor query, to name a source by; what it leaves out is never shown again.

    >>> without_credentials("postgresql://app:hu/sh@db/shop?sslpassword=x")
    'postgresql://db/shop'
    """
    remember_in(url)
    if url.startswith("jdbc:"):
        url = re.sub(r"(?<=[:/])[^\s/@:]+/\S+(?=@)", "", url) if url.startswith("jdbc:oracle:") else url
        url = url.split(";")[0]
    scheme, separator, place = url.partition("://")
    if not separator:
        return url.split("?")[0] if url.startswith("jdbc:") else url
    if scheme.lower() in _WITH_PORTS:
        return f"{scheme}://{re.sub(r'^[^/@]*@', '', place)}".split("?")[0]
    own = re.match(r"[^:/@]*(:[^@]*)?@", place)
    place, _, query = place[own.end() if own else 0 :].partition("?")
    if own and "@" in query:  # of a password with @ and ?, or of the query: nobody can tell
        return f"{scheme}://{HIDDEN}"
    return f"{scheme}://{place.rpartition('@')[2]}"


def redacted(text: str) -> str:
    """The text without what is known or looks like a secret.

    >>> redacted("cannot reach postgresql://app:hush@db/shop?password=hush")
    'cannot reach postgresql://app:***@db/shop?password=***'
    """
    for value in sorted(_known, key=len, reverse=True):
        # a password that is a word is hidden where it stands alone: `postgres` is no reason to hide `postgresql`
        text = re.sub(rf"\b{value}\b", HIDDEN, text) if value.isalpha() else text.replace(value, HIDDEN)
    text = _URL.sub(_hidden_url, text)
    for shape in _SHAPES:
        text = shape.sub(_hidden_value, text)
    return text


def _hidden_url(match: re.Match[str]) -> str:
    if _is_port(match):
        return match[0]
    # a port and a query with an @ in it, or a password that looks like both: then nothing of it is shown
    if _PORT.match(match["secret"]) and re.search("[?;]", match["secret"]):
        return match["before"] + HIDDEN
    return match["before"] + HIDDEN + match["after"]


def _hidden_value(match: re.Match[str]) -> str:
    sign = {"single": "'", "double": '"'}.get(str(match.lastgroup), "")
    return f"{match['before']}{sign}{HIDDEN}{sign}"


class Redacted(logging.Formatter):
    """A formatter whose lines, stack traces included, have no secret in them."""

    def format(self, record: logging.LogRecord) -> str:
        return redacted(super().format(record))
