"""What is wrong with a model, a snapshot or a setting. It travels inside the model, as all of this package does."""

import re

__all__ = ["ServingError", "told"]


class ServingError(Exception):
    """A file or a setting is not what it has to be: what was found, what was expected, what to do."""


def told(error: BaseException) -> str:
    """The first line of what a library says, without control characters; the name of its type if it says nothing.

    >>> told(ValueError("no column amount\\nat row 7"))
    'no column amount'
    """
    line = next((line for line in str(error).splitlines() if line.strip()), "")
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", line).strip() or type(error).__name__
