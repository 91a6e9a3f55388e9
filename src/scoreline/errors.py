"""The errors a user can cause, each a plain sentence: what was found, what was expected, what to do.

ScorelineError               exit code
├── ConfigurationError         2   a configuration file, an option or the environment is wrong
├── InputError                 2   an input (file, table, database, model, user id) is not what it has to be
│   └── NotUnique              2   a key of the input is in more than one row
├── RunFailed                  1   the work was tried and could not be done
│   ├── RunInProgress          1   somebody else is writing these tables now
│   └── Superseded             1   a newer run or rollback has published since this run began
└── AuditRefused               3   the run was scored, and its figures forbid publishing it
"""

__all__ = [
    "AuditRefused",
    "ConfigurationError",
    "InputError",
    "NotUnique",
    "RunFailed",
    "RunInProgress",
    "ScorelineError",
    "Superseded",
]


class ScorelineError(Exception):
    """Anything the command line reports as one message instead of a stack trace."""

    exit_code = 1


class ConfigurationError(ScorelineError):
    """The configuration, an option or the environment has to be changed before work can begin."""

    exit_code = 2


class InputError(ScorelineError):
    """An input is missing or is not what the configuration says it is."""

    exit_code = 2


class NotUnique(InputError):
    """A key of the input is in more than one row."""


class RunFailed(ScorelineError):
    """The work was begun and failed; the tables keep their last good state."""


class RunInProgress(RunFailed):
    """Another process holds the lock of these tables."""


class Superseded(RunFailed):
    """A newer run or a rollback has published since this run began, so its result was not published."""


class AuditRefused(ScorelineError):
    """The run's figures are outside the limits of the configuration; nothing was published."""

    exit_code = 3
