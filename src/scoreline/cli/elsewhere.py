"""The commands that have the work done on another system."""

from pathlib import Path

import click

from scoreline.api import Pipeline
from scoreline.cli.options import pipeline_options, print_report
from scoreline.deploy.shipped import here_or_shipped

STEPS = ("ingest", "train", "promote", "run", "export", "rollback")


@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("target")
@click.argument("step", type=click.Choice(STEPS))
@click.argument("options", nargs=-1, type=click.UNPROCESSED)
@click.option("--config", required=True, envvar="SCORELINE_CONFIG", show_envvar=True, metavar="FILE",
              type=click.Path(path_type=Path), help="The pipeline's YAML file, which is sent along.")  # fmt: skip
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


@click.command()
@pipeline_options
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
def mapreduce(pipeline: Pipeline, as_json: bool, quiet: bool, folder: Path) -> None:
    """Write what a Hadoop streaming job needs into FOLDER: histories, model, and the task of its mapper."""
    from scoreline.context import open_context
    from scoreline.deploy.hadoop_streaming.job import write_files

    folder.mkdir(parents=True, exist_ok=True)
    print_report(write_files(open_context(pipeline.settings), folder), as_json=as_json)
