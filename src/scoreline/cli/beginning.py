"""The commands of a first day: a demo, a configuration that fits, and whether everything is there."""

import sys
from pathlib import Path

import click

from scoreline.api import Pipeline
from scoreline.cli.options import options_of, pipeline_options, print_report
from scoreline.deploy.shipped import here_or_shipped
from scoreline.typed import given


@click.command()
@click.option("--config", default=lambda: here_or_shipped("conf/demo.yaml"), show_default="conf/demo.yaml",
              type=click.Path(path_type=Path), help="Else the shipped one.")  # fmt: skip
@click.option(
    "--users",
    default=3_000,
    show_default=True,
    type=click.IntRange(100, 1_000_000),
    help="How many users the service has.",
)
@click.option("--compare", is_flag=True, help="Then do the same on Spark, and compare the tables.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change one key, such as scoring.k=50.")
def demo(config: Path, users: int, compare: bool, overrides: tuple[str, ...]) -> None:
    """Generate a streaming service and take it through the whole pipeline."""
    from scoreline.cli.demo import run_demo
    from scoreline.config.loading import load_settings

    settings = load_settings(config, overrides)
    with given("--config", str(config), *options_of(overrides)):
        run_demo(settings, users=users, compare=compare)


@click.command()
@click.option(
    "--events", type=click.Path(path_type=Path), help="A CSV, JSON or Parquet file of events; else it is asked."
)
@click.option("--items", type=click.Path(path_type=Path), help="A file with titles.")
@click.option("--name", help="What the pipeline is called [default: as the file].")
@click.option("--tables", "root", help="Where its tables shall be [default: data/NAME].")
@click.option("--user", metavar="COLUMN", help="The column of users, if its name does not say so.")
@click.option("--item", metavar="COLUMN", help="The column of items.")
@click.option("--time", metavar="COLUMN", help="The column of times.")
@click.option("--weight", metavar="COLUMN", help="The column of what an event counts, if there is one.")
@click.option("--title", metavar="COLUMN", help="The column of titles, of the file of items.")
@click.option("--items-item", metavar="COLUMN", help="The column of items, of that file.")
@click.option("--time-format", metavar="HOW", help="epoch_seconds, epoch_millis, iso, or a pattern.")
@click.option("--encoding", default="UTF-8", show_default=True, help="Of a CSV file.")
@click.option("--output", type=click.Path(path_type=Path), help="The file to write [default: conf/NAME.yaml].")
@click.option("--json", "as_json", is_flag=True, help="Print the report as one line of JSON.")
def init(
    events: Path | None, items: Path | None, name: str | None, root: str | None, user: str | None, item: str | None,
    time: str | None, weight: str | None, title: str | None, items_item: str | None, time_format: str | None,
    encoding: str, output: Path | None, as_json: bool,
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
        events, items, name=name, root=root,
        roles={"user_id": user, "item_id": item, "time": time, "weight": weight},
        of_items={"item_id": items_item, "title": title},
        time_format=time_format, encoding=encoding, output=output, ask=ask,
    )  # fmt: skip
    print_report(report, as_json=as_json)


def _is_terminal() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty()


@click.command()
@pipeline_options
def doctor(pipeline: Pipeline, as_json: bool, quiet: bool) -> None:
    """Look the installation over: Java, storage, registry, tables, leftovers; says what to do."""
    report = pipeline.doctor()
    print_report(report, as_json=as_json)
    if report.is_bad:
        sys.exit(1)
