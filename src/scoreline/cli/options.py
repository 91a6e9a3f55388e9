"""What the commands of a pipeline have in common: their options, and how a report is printed."""

import functools
import logging
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import click
from click.core import ParameterSource

from scoreline.api import Pipeline
from scoreline.errors import BeyondMemory, told
from scoreline.redaction import Redacted, redacted
from scoreline.report import Report
from scoreline.typed import given

__all__ = ["options_of", "pipeline_options", "print_report"]


def pipeline_options(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options that all of them have; it gets `pipeline`, `quiet` and `as_json`."""

    @click.option(
        "--config",
        required=True,
        envvar="SCORELINE_CONFIG",
        show_envvar=True,
        metavar="FILE",
        help="The pipeline's YAML file, or its URI on a cluster.",
    )
    @click.option(
        "--set",
        "overrides",
        multiple=True,
        metavar="KEY=VALUE",
        help="Change one key, such as scoring.k=50; docs/threats.md lists which.",
    )
    @click.option("--json", "as_json", is_flag=True, help="Print the report as one line of JSON.")
    @click.option("--quiet", is_flag=True, help="No progress.")
    @click.option("--debug", is_flag=True, help="Log what is done, and show stack traces.")
    @functools.wraps(command)
    def wrapped(config: str, overrides: tuple[str, ...], as_json: bool, quiet: bool, debug: bool, **rest: Any) -> None:
        from scoreline.config.loading import load_settings

        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(Redacted("%(asctime)s %(levelname)s %(name)s %(message)s"))
        logging.basicConfig(level=logging.DEBUG if debug else logging.WARNING, handlers=[handler])
        logging.getLogger("py4j").setLevel(logging.INFO if debug else logging.WARNING)
        settings = load_settings(config, overrides)
        try:
            with given(*_named(config), *options_of(overrides)):
                command(pipeline=Pipeline(settings), as_json=as_json, quiet=quiet or as_json, **rest)
        except BeyondMemory as error:
            again = click.get_current_context().obj
            if settings.engine != "auto" or again is None:
                raise
            click.echo(redacted(f"Spark takes over: {told(error)}"), err=True)
            sys.exit(subprocess.call([sys.executable, *again, "--set", "engine=spark"]))  # a process has one engine

    return wrapped


def _named(config: str) -> list[str]:
    """The option that names the file, unless that stands in the environment, where the next command finds it, too."""
    source = click.get_current_context().get_parameter_source("config")
    return ["--config", config] if source is ParameterSource.COMMANDLINE else []


def options_of(overrides: Sequence[str]) -> list[str]:
    """What was said by `--set`, as one says it."""
    return [part for said in overrides for part in ("--set", said)]


def print_report(report: Report, *, as_json: bool) -> None:
    click.echo(redacted(report.to_json() if as_json else str(report)))
