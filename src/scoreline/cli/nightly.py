"""The commands of a night: events in, a model, lists out."""

import html
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import get_args

import click

from scoreline.api import Pipeline
from scoreline.cli.options import pipeline_options, print_report
from scoreline.config.estimator_names import EstimatorName
from scoreline.errors import InputError, ScorelineError, told
from scoreline.redaction import redacted

_LINES = 5  # lines in a message
# instead of yesterday's page, where nothing is recorded of a run
_BARE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="color-scheme" content="light dark">
<title>{title}</title><h1>{title}</h1>{lines}
</html>
"""


@click.command()
@pipeline_options
@click.option(
    "--events",
    multiple=True,
    metavar="SOURCE",
    help="A file, folder, table or database URL; may be repeated.",
)
@click.option(
    "--new", is_flag=False, flag_value="", metavar="[SOURCE]",
    help="What is new in a folder, a database, a Delta table or a topic; without a name in events.files or "
    "events.source.",
)  # fmt: skip
@click.option("--items", metavar="SOURCE", help="The catalogue with titles.")
def ingest(
    pipeline: Pipeline, as_json: bool, quiet: bool, events: tuple[str, ...], new: str | None, items: str | None
) -> None:
    """Merge new events into the users' histories; bad rows are quarantined."""
    if not events and new is None and not items:
        raise click.UsageError("Say what to ingest: --events SOURCE, --new SOURCE, --items SOURCE, or several of them.")
    for source in events:
        print_report(pipeline.ingest(source), as_json=as_json)
    if new is not None:
        print_report(pipeline.ingest_new(new or None), as_json=as_json)
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


@click.command()
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


@click.command()
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
budget_option = click.option(
    "--budget", metavar="DURATION",
    help="As many of the longest-waiting buckets as fit into this time by past runs, such as 20m.",
)  # fmt: skip
full_refresh_option = click.option("--full-refresh", is_flag=True, help="Score users that are up to date, too.")
users_option = click.option(
    "--users", multiple=True, metavar="ID,ID...", help="Only these users, those of them that are due; may be repeated."
)
users_from_option = click.option(
    "--users-from", metavar="FILE", help="The same from a file, an id a line; - is the standard input."
)


def _named_users(pipeline: Pipeline, users: Sequence[str], file: str | None) -> list[int | str] | None:
    """The ids that a command names, in its options and in a file; None if it names none."""
    if not users and file is None:
        return None
    from scoreline.sources.whole_numbers import typed_id

    kind = pipeline.settings.keys.user_id
    named = [typed_id(said, kind, "user") for listed in users for said in listed.split(",")]
    return named if file is None else named + _ids_in(file, lambda said: typed_id(said, kind, "user"))


def _ids_in(file: str, typed: Callable[[str], int | str]) -> list[int | str]:
    """The ids on the lines of a file, but for blank ones; raises InputError with the numbers of those that are none."""
    found, wrong = [], {}
    try:
        with click.open_file(file, encoding="utf-8-sig") as lines:
            for number, line in enumerate(lines, start=1):
                if not (said := line.strip()):
                    continue
                try:
                    found.append(typed(said))
                except InputError:
                    wrong[number] = said
    except UnicodeDecodeError:
        raise InputError(f"{file} is not in UTF-8; expected an id of a user on each line.") from None
    except OSError as error:
        raise InputError(f"{file} could not be read: {error.strerror}") from None
    if wrong:
        listed = ", ".join(f"line {number}: {said!r}" for number, said in list(wrong.items())[:_LINES])
        raise InputError(
            f"{file}: {len(wrong):,} line{'s' * (len(wrong) > 1)} without an id of this pipeline ({listed}"
            f"{', ...' * (len(wrong) > _LINES)}); expected a whole number on each line (keys.user_id: long)."
        )
    return found


@click.command()
@pipeline_options
@fraction_option
@budget_option
@full_refresh_option
@users_option
@users_from_option
def plan(
    pipeline: Pipeline,
    as_json: bool,
    quiet: bool,
    fraction: float,
    budget: str | None,
    full_refresh: bool,
    users: tuple[str, ...],
    users_from: str | None,
) -> None:
    """Say what a run would do, why, and what it would cost, without doing it."""
    some = _named_users(pipeline, users, users_from)
    report = pipeline.plan(fraction=fraction, budget=budget, full_refresh=full_refresh, users=some)
    print_report(report, as_json=as_json)


@click.command()
@pipeline_options
@fraction_option
@budget_option
@full_refresh_option
@users_option
@users_from_option
@click.option("--restart", is_flag=True, help="Drop what an interrupted or refused run has staged.")
@click.option("--verify", is_flag=True, help="Compare all keys even where the tables' logs say who is due.")
@click.option(
    "--report",
    "page",
    metavar="FILE",
    type=click.Path(dir_okay=False, writable=True),
    help="Write a page about the run, however it ends: scoreline report.",
)
def run(
    pipeline: Pipeline,
    as_json: bool,
    quiet: bool,
    fraction: float,
    budget: str | None,
    full_refresh: bool,
    users: tuple[str, ...],
    users_from: str | None,
    restart: bool,
    verify: bool,
    page: str | None,
) -> None:
    """Score the users that are due, audit the result and publish it in one commit."""
    from scoreline.pipeline.progress import for_terminal

    with _paged(pipeline, page) as written:
        report = pipeline.run(
            fraction=fraction,
            budget=budget,
            full_refresh=full_refresh,
            users=_named_users(pipeline, users, users_from),
            restart=restart,
            verify=verify,
            progress=for_terminal(quiet=quiet),
            page=written,
        )
        print_report(report, as_json=as_json)


@contextmanager
def _paged(pipeline: Pipeline, file: str | None) -> Iterator[Callable[[], str | None]]:
    """What writes the page of the run inside, once, and gives its path: called by the run as it ends, else after it.

    The run stands, whatever becomes of its page.
    """
    began, waiting = datetime.now(UTC), [Path(file)] if file is not None else []
    failed: BaseException | None = None

    def written() -> str | None:
        if not waiting:
            return None
        try:
            click.echo(pipeline.report(file=waiting[0], since=began), err=True)
        except (ScorelineError, OSError):  # nothing is recorded of it: told once it has ended
            return None
        return str(waiting.pop().absolute())

    try:
        yield written
    except BaseException as error:
        failed = error
        raise
    finally:
        for place in waiting:
            try:
                click.echo(_write_page(pipeline, place, since=began, failed=failed), err=True)
            except (ScorelineError, OSError) as error:
                click.echo(f"no page was written: {redacted(told(error))}", err=True)


def _write_page(pipeline: Pipeline, place: Path, *, since: datetime, failed: BaseException | None) -> str:
    """Write the page of the run that has ended since; without one, how it failed or that nobody was due. Says which."""
    try:
        return str(pipeline.report(file=place, since=since))
    except ScorelineError as nothing:
        if failed is not None:
            return _write_bare(place, "The run failed", told(failed), _readers_see(pipeline))
        if not isinstance(nothing, InputError):
            raise
        _write_bare(place, "Nothing was scored", f"{pipeline.status().verdict}.")
        return f"{place}: {nothing}"


def _write_bare(place: Path, title: str, *lines: str) -> str:
    said = "".join(f"\n<p>{html.escape(redacted(line))}</p>" for line in lines)
    place.write_text(_BARE.format(title=title, lines=said), encoding="utf-8")
    return f"{place}: {title[0].lower()}{title[1:]}"


def _readers_see(pipeline: Pipeline) -> str:
    try:
        published = pipeline.status().published
    except ScorelineError as error:
        return f"What readers see cannot be read: {told(error)}"
    return f"Readers still see run {published['run_id']}." if published else "Readers see nothing yet."


@click.command()
@pipeline_options
def export(pipeline: Pipeline, as_json: bool, quiet: bool) -> None:
    """Send what changed since the last export to the application's database, in one transaction."""
    print_report(pipeline.export(), as_json=as_json)


@click.command()
@pipeline_options
@click.option("--once", is_flag=True, help="Do what is due now and come back: for cron, and to try it.")
@click.option("--dry-run", is_flag=True, help="Print the next ten starts and what else is waited for; start nothing.")
def watch(pipeline: Pipeline, as_json: bool, quiet: bool, once: bool, dry_run: bool) -> None:
    """Start steps by themselves, at a time, on new data or a signal, in a process that stays warm."""
    if dry_run:
        print_report(pipeline.next_starts(), as_json=as_json)
        return
    if (code := pipeline.watch(once=once, told=click.echo)) != 0:
        sys.exit(code)
