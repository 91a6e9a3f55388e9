"""The errors a user can cause, each a plain sentence: what was found, what was expected, what to do.

ScorelineError               exit code
├── ConfigurationError         2   a configuration file, an option or the environment is wrong
├── InputError                 2   an input (file, table, database, model, user id) is not what it has to be
│   ├── NotUnique              2   a key of the input is in more than one row
│   └── BeyondMemory           2   the embedded engine cannot group so many events in this machine's memory
├── RunFailed                  1   the work was tried and could not be done
│   ├── RunInProgress          1   somebody else is writing these tables now
│   └── Superseded             1   a newer run or rollback has published since this run began
└── AuditRefused               3   the run was scored, and its figures forbid publishing it
"""

import re

__all__ = [
    "AuditRefused",
    "BeyondMemory",
    "ConfigurationError",
    "InputError",
    "NotUnique",
    "RunFailed",
    "RunInProgress",
    "ScorelineError",
    "Superseded",
    "plain",
    "told",
]

# Spark's and Delta's, such as [TABLE_OR_VIEW_NOT_FOUND]; in the middle a word in brackets may be anybody's
_CODE = re.compile(r"^\[[A-Z][A-Z0-9_.]+\] |(?<=[:;] )\[[A-Z][A-Z0-9]*[._][A-Z0-9_.]+\] ")
_MLFLOW = re.compile(r"^[A-Z]+(?:_[A-Z]+)+: ")
_STATE = re.compile(r"\s*SQLSTATE: [0-9A-Z]{5}.*", re.DOTALL)  # and behind it the place in the query, and its plan
_REFRESH = re.compile(r" It is possible the underlying files have been updated\..*?(?: involved\.|$)")  # no help here
_JAVA = r"\b(?:org|java|javax|jdk|sun|scala|py4j|io|com|net|software)(?:\.[a-z_$][\w$]*)*\."
_THROWN = re.compile(_JAVA + r"[A-Z][\w$]*(?:Exception|Error|Failure): ")
_CLASS = re.compile(
    _JAVA + r"([A-Z][\w$]*(?:Exception|Error|Failure))\b|\b(?:org\.apache|javax?|scala)\.[a-z][\w$.]*\.([A-Z][\w$]*)"
)
_CAUSE = re.compile(r"^Caused by: (.+)$", re.MULTILINE)
_RAISED = re.compile(r"^[\w.]+(?:Error|Exception|Warning|Interrupt|Exit)\b.*", re.MULTILINE)
_ABORTED = re.compile(r"^(?:Job aborted|Task failed|Exception thrown in awaitResult)")
_STORE = "Kernel error -> "  # delta-rs, of a store; it draws an arrow in red from each error to its cause
_ARROW = re.compile(r"\s*\x1b\[31m↳\x1b\[0m\s*")
_MOST = 800


class ScorelineError(Exception):
    """Anything the command line reports as one message instead of a stack trace.

    Its text is the message; `exit_code` is what the command line ends with.

    Examples:
        >>> from scoreline import Pipeline
        >>> try:
        ...     Pipeline({"name": "films", "tabels": {"root": "data"}})
        ... except ScorelineError as error:
        ...     print(type(error).__name__, error.exit_code)
        ConfigurationError 2
    """

    exit_code = 1


class ConfigurationError(ScorelineError):
    """The configuration, an option or the environment has to be changed before work can begin."""

    exit_code = 2


class InputError(ScorelineError):
    """An input is missing or is not what the configuration says it is."""

    exit_code = 2


class NotUnique(InputError):
    """A key of the input is in more than one row."""


class Mistyped(InputError):
    """What a person typed names nothing; found before anything was begun, so it is told to that person only."""


class BeyondMemory(InputError):
    """Grouping the events would take more of this machine's memory than the embedded engine may take; Spark can."""


class RunFailed(ScorelineError):
    """The work was begun and failed; the tables keep their last good state."""


class WorkerEnded(RunFailed):
    """A worker process of ours died before it answered."""


class WorkerFailed(RunFailed):
    """What Python raised in a worker process of ours; the text is its traceback."""


class RunInProgress(RunFailed):
    """Another process holds the lock of these tables."""


class Superseded(RunFailed):
    """A newer run or a rollback has published since this run began, so its result was not published."""


class AuditRefused(ScorelineError):
    """The figures of a run, or of a table to export, are outside the limits; nothing was published or sent."""

    exit_code = 3


def told(error: BaseException) -> str:
    """What a library's error says, in one line: without its codes, names of Java, stack traces and query plans.

    Of Spark's error in a Python worker what Python raised; of a chain of Java's the last cause, where the first only
    says that a job was aborted; of a store's error all causes. Of others the first line: what databases add may be
    values of rows. The name of the error's type if it says nothing.
    """
    text = str(getattr(error, "orig", None) or error)  # SQLAlchemy's own text may hold a URL with its password
    if text.startswith(_STORE):
        return _short(plain(_ARROW.sub("; ", text.removeprefix(_STORE))))
    if not (isinstance(error, WorkerFailed) or type(error).__module__.startswith(("pyspark.", "py4j."))):
        return _short(plain(next((line for line in text.splitlines() if line.strip()), "")) or type(error).__name__)
    own, _, _ = text.partition("JVM stacktrace")
    if "Traceback (most recent call last)" in own and (raised := _RAISED.findall(own.split("\n\tat ")[0])):
        return _short(raised[-1])
    # py4j's own line says only which call it was
    head = plain(own.split("\n\tat ")[0].split(".\n: ", 1)[-1])
    cause = plain(found[-1]) if (found := _CAUSE.findall(text)) else ""
    if cause and (_ABORTED.match(head) or not head):
        head = cause
    elif cause not in head:
        head = f"{head}; {cause}"
    return _short(head or type(error).__name__)


def plain(text: str) -> str:
    """What a library says in one line, without what it says to programmers: codes, Java's names, control characters.

    >>> plain("org.apache.spark.SparkException: [FAILED_READ_FILE.NO_HINT] No file a.csv. SQLSTATE: KD001")
    'No file a.csv.'
    """
    line = re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", _STATE.sub("", text)).strip()
    line = _REFRESH.sub("", line)
    line = _MLFLOW.sub("", _CODE.sub("", _THROWN.sub("", line)))
    return _CLASS.sub(lambda name: name[1] or name[2], line)


def _short(line: str) -> str:
    return line if len(line) < _MOST else f"{line[: _MOST // 2 - 3]} ... {line[3 - _MOST // 2 :]}"
