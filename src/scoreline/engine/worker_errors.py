"""What Python raised in a worker, as an error of ours. Needs no Spark."""

import re

from scoreline.errors import InputError, RunFailed, ScorelineError, told

__all__ = ["from_worker"]

_OURS = re.compile(r"scoreline\.errors\.(\w+): (.+)")


def from_worker(action: str, error: Exception) -> ScorelineError:
    """The error whose text has a worker's traceback; one of ours comes out as it was raised there."""
    if ours := _OURS.search(str(error)):
        kind = InputError if ours[1] == "InputError" else RunFailed
        return kind(ours[2].strip())
    return RunFailed(f"{action}: {told(error)}"[:500])
