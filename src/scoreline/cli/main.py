"""The command line: arguments → settings → one call of the package → a report."""

import logging
import os
import sys
from importlib.metadata import entry_points
from pathlib import Path
from typing import get_args

import click

from scoreline import __version__
from scoreline.api import Pipeline
from scoreline.cli.options import pipeline_options, print_report
from scoreline.config.loading import load_settings
from scoreline.config.model import EstimatorName
from scoreline.deploy.shipped import here_or_shipped
from scoreline.errors import InputError, ScorelineError, told
from scoreline.redaction import redacted

STEPS = ("ingest", "train", "promote", "run", "export", "rollback")
ADDED = "scoreline.commands"
DAY = {
    "Begin": ("demo", "init", "doctor"),
    "By night": ("ingest", "train", "promote", "plan", "run", "export"),
    "In the morning": ("status", "show", "approve", "rollback"),
    "Now and then": ("vacuum", "optimize", "repair"),
    "Elsewhere": ("submit", "mapreduce"),
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
        """The commands in the order in which a day needs them."""
        listed = {name for names in DAY.values() for name in names}
        added = [name for name in self.list_commands(context) if name not in listed]
        for title, names in {**DAY, "Of other packages": added}.items():
            rows = [
                (name, command.get_short_help_str(200))
                for name in names
                if (command := self.get_command(context, name))
            ]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)


@click.group(cls=_Commands, context_settings=CONTEXT)
@click.version_option(__version__, prog_name="scoreline")
def main() -> None:
    """Score users with an MLflow model on Spark and publish the result to Delta.

    The way of the data: ingest, train, promote, run, export. `plan`, `status` and `show` only look.
    Completion for bash: eval "$(_SCORELINE_COMPLETE=bash_source scoreline)"; zsh and fish alike.
    """


@main.command()
@click.option(
    "--events", type=click.Path(path_type=Path), help="A CSV, JSON or Parquet file of events; else it is asked."
)
@click.option("--items", type=click.Path(path_type=Path), help="A file with titles.")
@click.option("--name", help="What the pipeline is called [default: as the file].")
@click.option("--tables", "root", help="Where its tables shall be [default: data/NAME].")
@click.option("--user", metavar="COLUMN", help="The column of users, if its name does not say so.")
@click.option("--item", metavar="COLUMN", help="The column of items.")
@click.option("--time", metavar="COLUMN", help="The column of times.")
@click.option("--time-format", metavar="HOW", help="epoch_seconds, epoch_millis, iso, or a pattern.")
@click.option("--encoding", default="UTF-8", show_default=True, help="Of a CSV file.")
@click.option("--output", type=click.Path(path_type=Path), help="The file to write [default: conf/NAME.yaml].")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one line of JSON.")
def init(
    events: Path | None, items: Path | None, name: str | None, root: str | None, user: str | None, item: str | None,
    time: str | None, time_format: str | None, encoding: str, output: Path | None, as_json: bool,
) -> None:  # fmt: skip
    """Write a configuration that fits your files, by their columns and first rows."""
    from scoreline.cli.init import write_for

    ask = _is_terminal() and not as_json
    if events is None:
        if not ask:
            raise click.UsageError("Say which file to look at: --events FILE.")
        events = Path(click.prompt("Where are the events (a CSV, JSON or Parquet file)"))
        name = name or click.prompt("What is the pipeline called", default=events.stem)
        root = root or click.prompt("Where shall its tables be", default=f"data/{name}")
    report = write_for(
        events, items, name=name, root=root, roles={"user_id": user, "item_id": item, "time": time},
        time_format=time_format, encoding=encoding, output=output, ask=ask,
    )  # fmt: skip
    print_report(report, as_json=as_json)


@main.command()
@pipeline_options
@click.option(
    "--events",
    multiple=True,
    metavar="SOURCE",
    help="A file, folder, table or database URL; may be repeated.",
)
@click.option("--items", metavar="SOURCE", help="The catalogue with titles.")
def ingest(pipeline: Pipeline, as_json: bool, quiet: bool, events: tuple[str, ...], items: str | None) -> None:
    """Merge new events into the users' histories; bad rows are quarantined."""
    if not events and not items:
        raise click.UsageError("Say what to ingest: --events SOURCE, --items SOURCE or both.")
    for source in events:
        print_report(pipeline.ingest(source), as_json=as_json)
    if items:
        print_report(pipeline.ingest_items(items), as_json=as_json)


def _help_estimator(command: click.Context, _: click.Parameter, name: str | None) -> None:
    """Print the parameters of an estimator; nothing else is needed for that."""
    if name is None:
        return
    from scoreline.models.artifacts import ESTIMATORS
    from scoreline.models.parameters import as_text

    click.echo(as_text(name, ESTIMATORS[name].parameters))
    command.exit()


@main.command()
@pipeline_options
@click.option(
    "--help-estimator",
    type=click.Choice(get_args(EstimatorName)),
    is_eager=True,
    expose_value=False,
    callback=_help_estimator,
    help="Show what model.train.params may say for an estimator, and exit.",
)
@click.option("--no-promote", is_flag=True, help="Register the version, but leave the alias where it is.")
@click.option(
    "--force", is_flag=True, help="Move the alias even if the model is worse than the champion, or not measured."
)
def train(pipeline: Pipeline, as_json: bool, quiet: bool, no_promote: bool, force: bool) -> None:
    """Train a model on the histories, compare it with popularity, register it and make it the champion."""
    report = pipeline.train(promote=not no_promote, force=force)
    print_report(report, as_json=as_json)
    if report.refused:
        raise InputError(report.refused)


@main.command()
@pipeline_options
@click.option("--version", metavar="N", help="The version to promote (default: the newest).")
@click.option("--force", is_flag=True, help="Even if it is worse than the champion, or not measured.")
def promote(pipeline: Pipeline, as_json: bool, quiet: bool, version: str | None, force: bool) -> None:
    """Point the model's alias at a version; from the next run on everyone is due."""
    print_report(pipeline.promote(version, force=force), as_json=as_json)


fraction_option = click.option(
    "--fraction", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
    help="Part of the buckets: those that have waited longest.",
)  # fmt: skip
full_refresh_option = click.option("--full-refresh", is_flag=True, help="Score users that are up to date, too.")


@main.command()
@pipeline_options
@fraction_option
@full_refresh_option
def plan(pipeline: Pipeline, as_json: bool, quiet: bool, fraction: float, full_refresh: bool) -> None:
    """Say what a run would do and why, without doing it."""
    print_report(pipeline.plan(fraction=fraction, full_refresh=full_refresh), as_json=as_json)


@main.command()
@pipeline_options
@fraction_option
@full_refresh_option
@click.option("--restart", is_flag=True, help="Drop what an interrupted or refused run has staged.")
@click.option("--verify", is_flag=True, help="Compare all keys even where the tables' logs say who is due.")
def run(
    pipeline: Pipeline, as_json: bool, quiet: bool, fraction: float, full_refresh: bool, restart: bool, verify: bool
) -> None:
    """Score the users that are due, audit the result and publish it in one commit."""
    from scoreline.pipeline.progress import for_terminal

    report = pipeline.run(
        fraction=fraction,
        full_refresh=full_refresh,
        restart=restart,
        verify=verify,
        progress=for_terminal(quiet=quiet),
    )
    print_report(report, as_json=as_json)


@main.command()
@pipeline_options
@click.argument("run_id", metavar="RUN")
@click.option("--reason", required=True, metavar="TEXT", help="Why its rows are good all the same.")
def approve(pipeline: Pipeline, as_json: bool, quiet: bool, run_id: str, reason: str) -> None:
    """Publish RUN, which the audit refused; who did it and why is recorded."""
    print_report(pipeline.approve(run_id, reason=reason), as_json=as_json)


@main.command()
@pipeline_options
@click.argument("users", nargs=-1, required=True, metavar="USER...")
def show(pipeline: Pipeline, as_json: bool, quiet: bool, users: tuple[str, ...]) -> None:
    """Show users' histories and recommendations by title."""
    for view in pipeline.show(users):
        print_report(view, as_json=as_json)


@main.command()
@pipeline_options
def status(pipeline: Pipeline, as_json: bool, quiet: bool) -> None:
    """Show tables, versions, the published model, freshness and the last runs."""
    print_report(pipeline.status(), as_json=as_json)


@main.command()
@pipeline_options
def export(pipeline: Pipeline, as_json: bool, quiet: bool) -> None:
    """Send what changed since the last export to the application's database, in one transaction."""
    print_report(pipeline.export(), as_json=as_json)


@main.command()
@pipeline_options
@click.option("--run", "run_id", metavar="ID", help="The run to go back to (default: the one before the current).")
def rollback(pipeline: Pipeline, as_json: bool, quiet: bool, run_id: str | None) -> None:
    """Bring the table back to what an earlier run published."""
    print_report(pipeline.rollback(run_id), as_json=as_json)


@main.command()
@pipeline_options
def doctor(pipeline: Pipeline, as_json: bool, quiet: bool) -> None:
    """Look the installation over: Java, storage, registry, tables, leftovers; says what to do."""
    report = pipeline.doctor()
    print_report(report, as_json=as_json)
    if report.is_bad:
        sys.exit(1)


@main.command()
@pipeline_options
@click.option("--retain", default="7d", show_default=True, help="Keep what versions of so long ago need.")
def vacuum(pipeline: Pipeline, as_json: bool, quiet: bool, retain: str) -> None:
    """Delete files that nothing needs any more, and what dead runs left behind."""
    print_report(pipeline.vacuum(retain=retain), as_json=as_json)


@main.command()
@pipeline_options
def optimize(pipeline: Pipeline, as_json: bool, quiet: bool) -> None:
    """Put small files of the tables together."""
    print_report(pipeline.optimize(), as_json=as_json)


@main.command()
@pipeline_options
def repair(pipeline: Pipeline, as_json: bool, quiet: bool) -> None:
    """Give each user of user_history one row again, where somebody else has doubled it."""
    print_report(pipeline.repair(), as_json=as_json)


@main.command()
@pipeline_options
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def mapreduce(pipeline: Pipeline, as_json: bool, quiet: bool, folder: Path) -> None:
    """Write what a Hadoop streaming job needs into FOLDER: histories, model, and the task of its mapper."""
    from scoreline.context import open_context
    from scoreline.deploy.hadoop_streaming.job import write_files

    folder.mkdir(parents=True, exist_ok=True)
    print_report(write_files(open_context(pipeline.settings), folder), as_json=as_json)


@main.command(context_settings={"ignore_unknown_options": True})
@click.argument("target")
@click.argument("step", type=click.Choice(STEPS))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--config", required=True, envvar="SCORELINE_CONFIG", type=click.Path(path_type=Path))
@click.option("--targets", default=lambda: here_or_shipped("conf/deploy"), show_default="conf/deploy",
              type=click.Path(path_type=Path), help="A folder per target in it; else the shipped one.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Print what would be sent, and send nothing.")
def submit(target: str, step: str, options: tuple[str, ...], config: Path, targets: Path, dry_run: bool) -> None:
    """Send a STEP of the pipeline to where TARGET (conf/deploy/<target>) says; OPTIONS are the step's own.

    \b
    scoreline submit yarn run --config conf/movies.yaml --dry-run
    scoreline submit emr export --config conf/movies.yaml -- --quiet
    """
    from scoreline.deploy.submit import Work, plan_submission

    for part in plan_submission(target, Work(step, config, options), folder=targets):
        click.echo(str(part) if dry_run else part.run(), nl=dry_run)


@main.command()
@click.option("--config", default=lambda: here_or_shipped("conf/demo.yaml"), show_default="conf/demo.yaml",
              type=click.Path(path_type=Path), help="Else the shipped one.")  # fmt: skip
@click.option("--users", default=3_000, show_default=True, type=click.IntRange(100, 1_000_000))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE")
def demo(config: Path, users: int, overrides: tuple[str, ...]) -> None:
    """Generate a streaming service and take it through the whole pipeline."""
    from scoreline.cli.demo import run_demo

    run_demo(load_settings(config, overrides), users=users, config=config)


def entry(arguments: list[str] | None = None, command: click.Command = main) -> None:
    """Run a command; a user's mistake is one message and an exit code, never a stack trace."""
    guest = _has_session()
    try:
        command.main(args=arguments, prog_name="scoreline", standalone_mode=False)
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


def _is_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


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
