"""The command line: arguments → settings → one call of the package → a report."""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import entry_points

import click

from scoreline import __version__
from scoreline.cli import beginning, elsewhere, morning, nightly, upkeep
from scoreline.engine.installed import require_pyspark
from scoreline.errors import ScorelineError, told
from scoreline.redaction import redacted

ADDED = "scoreline.commands"
# every command, in the order in which a day needs them
DAY: dict[str, tuple[click.Command, ...]] = {
    "Begin": (beginning.demo, beginning.init, beginning.doctor),
    "By night": (
        nightly.ingest,
        nightly.train,
        nightly.promote,
        nightly.plan,
        nightly.run,
        nightly.export,
        nightly.watch,
    ),
    "In the morning": (
        morning.status,
        morning.log,
        morning.quarantine,
        morning.report,
        morning.ui,
        morning.show,
        morning.explain,
        morning.approve,
        morning.rollback,
        morning.notify,
    ),
    "Now and then": (upkeep.vacuum, upkeep.optimize, upkeep.repair),
    "Elsewhere": (elsewhere.submit, elsewhere.mapreduce),
}
CONTEXT = {"help_option_names": ["-h", "--help"], "max_content_width": 110}


class _Commands(click.Group):
    """Ours, and those that other packages add by an entry point of the group `scoreline.commands`."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted({*super().list_commands(context), *entry_points(group=ADDED).names})

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if (own := super().get_command(context, name)) is not None:
            return own
        added = entry_points(group=ADDED, name=name)
        return next(iter(added)).load() if added else None

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """The commands by the part of the day."""
        known = {command.name for commands in DAY.values() for command in commands}
        names = [name for name in self.list_commands(context) if name not in known]
        others = tuple(command for name in names if (command := self.get_command(context, name)) is not None)
        for title, commands in {**DAY, "Of other packages": others}.items():
            if commands:
                with formatter.section(title):
                    formatter.write_dl([(str(command.name), command.get_short_help_str(200)) for command in commands])


@click.group(cls=_Commands, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="scoreline")
def main() -> None:
    """Score users with an MLflow model on Spark and publish the result to Delta.

    The way of the data: ingest, train, promote, run, export. `plan`, `status` and `show` only look.
    Completion for bash: eval "$(_SCORELINE_COMPLETE=bash_source scoreline)"; zsh and fish alike.
    """


for _command in (command for commands in DAY.values() for command in commands):
    main.add_command(_command)


def entry(arguments: list[str] | None = None, command: click.Command = main) -> None:
    """Run a command; a user's mistake is one message and an exit code, never a stack trace."""
    guest = _has_session()
    given = sys.argv[1:] if arguments is None else arguments
    try:
        # what it would take to begin once more: `engine: auto` that finds out too late
        again = ["-m", "scoreline", *given] if command is main else None
        with _installed():
            command.main(args=list(given), prog_name="scoreline", standalone_mode=False, obj=again)
    except click.exceptions.Exit as done:
        sys.exit(done.exit_code)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("stopped; what is staged is taken up by the next run", err=True)
        sys.exit(130)
    except ScorelineError as error:
        click.echo(f"error: {redacted(str(error))}", err=True)
        sys.exit(error.exit_code)
    except OSError as error:
        # a folder that may not be written, a full disk: the machine's, and no mistake of ours to trace
        logging.getLogger(__name__).debug("failed", exc_info=True)
        click.echo(f"error: {redacted(told(error))}", err=True)
        sys.exit(1)
    finally:
        if not guest:
            _leave()


@contextmanager
def _installed() -> Iterator[None]:
    """Say what to install where a command needs PySpark and there is none."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name == "pyspark":
            require_pyspark()
        raise


def _has_session() -> bool:
    """Whether this process has a session already, which is not ours to end."""
    if "pyspark" not in sys.modules:
        return False
    from scoreline.engine.session import existing_session

    return existing_session() is not None


def _leave() -> None:
    # a session of our own ends with the process; saying so makes Spark remove its scratch files first
    if (
        "pyspark" in sys.modules
        and "PYSPARK_GATEWAY_PORT" not in os.environ
        and "DATABRICKS_RUNTIME_VERSION" not in os.environ
    ):
        from pyspark.sql import SparkSession

        if (session := SparkSession.getActiveSession()) is not None:
            session.stop()


if __name__ == "__main__":
    entry()
