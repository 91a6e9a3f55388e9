"""The commands that tables need now and then."""

import click

from scoreline.api import Pipeline
from scoreline.cli.options import pipeline_options, print_report


@click.command()
@pipeline_options
@click.option("--retain", default="7d", show_default=True, help="Keep what versions of so long ago need.")
def vacuum(pipeline: Pipeline, as_json: bool, quiet: bool, retain: str) -> None:
    """Delete files that nothing needs any more, and what dead runs left behind."""
    print_report(pipeline.vacuum(retain=retain), as_json=as_json)


@click.command()
@pipeline_options
def optimize(pipeline: Pipeline, as_json: bool, quiet: bool) -> None:
    """Put small files of the tables together."""
    print_report(pipeline.optimize(), as_json=as_json)


@click.command()
@pipeline_options
def repair(pipeline: Pipeline, as_json: bool, quiet: bool) -> None:
    """Give each user of user_history one row again, where somebody else has doubled it."""
    print_report(pipeline.repair(), as_json=as_json)
