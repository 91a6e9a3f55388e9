"""The commands of a morning: what is there, and what to do about a run that should not be as it is."""

import sys

import click

from scoreline.api import Pipeline
from scoreline.cli.options import pipeline_options, print_report
from scoreline.errors import ConfigurationError


@click.command()
@pipeline_options
@click.option("--check", is_flag=True, help="For monitors: exit code 1 if the promise of `freshness` is broken.")
def status(pipeline: Pipeline, as_json: bool, quiet: bool, check: bool) -> None:
    """Show tables, versions, the published model, freshness, who is due next, and what was last tried and done."""
    if check and pipeline.settings.freshness is None:
        raise ConfigurationError(
            "--check looks whether a promise is kept, and the configuration makes none: freshness: {max_age: 26h}."
        )
    report = pipeline.status(tell=check)
    print_report(report, as_json=as_json)
    if check and report.stale:
        sys.exit(1)


@click.command()
@pipeline_options
@click.option("--test", is_flag=True, required=True, help="Send a message to each address.")
def notify(pipeline: Pipeline, as_json: bool, quiet: bool, test: bool) -> None:
    """Try whether those are reached whom the configuration's `notify` names."""
    report = pipeline.notify_test()
    print_report(report, as_json=as_json)
    if report.is_bad:
        sys.exit(1)


@click.command()
@pipeline_options
@click.argument("run_id", required=False, metavar="[RUN]")
@click.option("--kind", metavar="KIND", help="Only ingest, train, promote, run, approve, rollback, export, ...")
@click.option("--state", metavar="STATE", help="Only failed, refused, published, nothing_due, running, ...")
@click.option("--since", metavar="WHEN", help="Only what began in the last 12h or 7d, or after 2026-07-01.")
@click.option("--last", default=30, show_default=True, type=click.IntRange(min=1), metavar="N", help="At most so many.")
def log(
    pipeline: Pipeline, as_json: bool, quiet: bool, run_id: str | None, kind: str | None, state: str | None,
    since: str | None, last: int,
) -> None:  # fmt: skip
    """List what was done and how it ended, newest first; or show all that is known of one RUN."""
    if run_id is None:
        print_report(pipeline.log(kind=kind, state=state, since=since, last=last), as_json=as_json)
        return
    for logged in pipeline.logged(run_id):
        print_report(logged, as_json=as_json)


@click.command()
@pipeline_options
@click.option("--reason", metavar="WORDS", help="Only rows that broke a rule with these words, such as time.")
@click.option("--since", metavar="WHEN", help="Only what came in the last 12h or 7d, or after 2026-07-01.")
@click.option("--last", default=20, show_default=True, type=click.IntRange(min=1), metavar="N", help="At most so many.")
def quarantine(
    pipeline: Pipeline, as_json: bool, quiet: bool, reason: str | None, since: str | None, last: int
) -> None:
    """List rows of the input that broke a rule, newest first, with each rule they broke."""
    print_report(pipeline.quarantine(reason=reason, since=since, last=last), as_json=as_json)


@click.command()
@pipeline_options
@click.argument("users", nargs=-1, required=True, metavar="USER...")
def show(pipeline: Pipeline, as_json: bool, quiet: bool, users: tuple[str, ...]) -> None:
    """Show users' histories and recommendations by title."""
    for view in pipeline.show(users):
        print_report(view, as_json=as_json)


@click.command()
@pipeline_options
@click.argument("user")
@click.argument("item", required=False)
@click.option("--run", "run_id", metavar="ID", help="The list as this run left it (default: as the table shows it).")
@click.option("--why-not", metavar="ITEM", help="Say why this item is not in the list.")
def explain(
    pipeline: Pipeline, as_json: bool, quiet: bool, user: str, item: str | None, run_id: str | None, why_not: str | None
) -> None:
    """Say which events made USER's list (or ITEM of it), or why there is none."""
    print_report(pipeline.explain(user, item, run_id=run_id, why_not=why_not), as_json=as_json)


@click.command()
@pipeline_options
@click.option("--run", "run_id", metavar="ID", help="The run (default: the newest that had somebody to score).")
@click.option(
    "-o",
    "--output",
    "file",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True),
    help="Where to (default: report-<run>.html in this folder).",
)
def report(pipeline: Pipeline, as_json: bool, quiet: bool, run_id: str | None, file: str | None) -> None:
    """Write what a run did as one page of HTML, also of a run that was refused."""
    print_report(pipeline.report(run_id, file=file), as_json=as_json)


@click.command()
@pipeline_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Any but loopback asks for a token.")
@click.option("--port", type=click.IntRange(0, 65535), default=8765, show_default=True, help="0 takes a free one.")
def ui(pipeline: Pipeline, as_json: bool, quiet: bool, host: str, port: int) -> None:
    """Serve pages about runs, users and items to a browser; read-only, until it is stopped."""
    pipeline.ui(host=host, port=port, told=click.echo)


def _own_words(context: click.Context, option: click.Parameter, reason: str) -> str:
    """What stands for a reason in our messages and pages is none: it is to be read in a year."""
    if reason.strip(" .…").casefold() in ("", "reason", "text", "why"):
        raise click.BadParameter(f"{reason!r} stands for a reason; say in words why the rows are good all the same.")
    return reason


@click.command()
@pipeline_options
@click.argument("run_id", metavar="RUN")
@click.option(
    "--reason", required=True, metavar="REASON", callback=_own_words, help="Why its rows are good all the same."
)
def approve(pipeline: Pipeline, as_json: bool, quiet: bool, run_id: str, reason: str) -> None:
    """Publish RUN, which the audit refused; who did it and why is recorded."""
    print_report(pipeline.approve(run_id, reason=reason), as_json=as_json)


@click.command()
@pipeline_options
@click.option("--run", "run_id", metavar="ID", help="The run to go back to (default: the one before the current).")
def rollback(pipeline: Pipeline, as_json: bool, quiet: bool, run_id: str | None) -> None:
    """Bring the table back to what an earlier run published."""
    print_report(pipeline.rollback(run_id), as_json=as_json)
