"""Keep secrets out of what people and logs read: errors, log lines, MLflow parameters, the `runs` table.

What came by `${ENV}` under a name that says it is a secret is remembered when the configuration is read, for the whole
process: a log line does not know which pipeline it is about.
"""

import logging
import re
from typing import Any

__all__ = ["Redacted", "is_secret_name", "redacted", "remember", "without_credentials"]

HIDDEN = "***"
_NAME = re.compile(
    r"pass(word|wd|phrase)?($|[._-])|pwd|secret|token|credential|(api|access|account|private)[._-]?key", re.I
)
_URL = re.compile(r"(?<=://)([^\s/@:'\"]*):([^\s/@'\"]+)@(?=[^\s@]*)")
_PAIR = re.compile(
    r"(?i)\b([\w.-]*(?:password|passwd|pwd|secret|token|credential|api[._-]?key|access[._-]?key|account[._-]?key)[\w.-]*"
    r"['\"]?\s*[=:]\s*['\"]?)([^\s&;,'\"]+)"
)
_known: set[str] = set()


def is_secret_name(name: str) -> bool:
    """Whether a key or an environment variable of this name holds a secret.

    >>> is_secret_name("DB_PASSWORD"), is_secret_name("spark.hadoop.fs.s3a.secret.key"), is_secret_name("HOME")
    (True, True, False)
    """
    return _NAME.search(name) is not None


def remember(value: str) -> None:
    """Never show this value again; too short a value would hide half of every text, and is no secret."""
    if len(value) >= 4:
        _known.add(value)


def without_credentials(url: str) -> str:
    """A URL with neither user nor password nor query, to name a source by.

    >>> without_credentials("postgresql://app:hush@db/shop?sslpassword=x")
    'postgresql://db/shop'
    """
    if "://" not in url:
        return url
    return re.sub(r"(?<=://)[^/@]*@", "", url).split("?")[0]


def redacted(text: str) -> str:
    """The text without what is known or looks like a secret.

    >>> redacted("cannot reach postgresql://app:hush@db/shop?password=hush")
    'cannot reach postgresql://app:***@db/shop?password=***'
    """
    for value in sorted(_known, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    text = _URL.sub(rf"\1:{HIDDEN}@", text)
    return _PAIR.sub(rf"\1{HIDDEN}", text)


class Redacted(logging.Formatter):
    """A formatter whose lines, stack traces included, have no secret in them."""

    def format(self, record: Any) -> str:
        return redacted(super().format(record))
