"""`scoreline demo`: a generated streaming service taken through the whole pipeline, as a user would take their own."""

from dataclasses import replace
from pathlib import Path

import click

from scoreline.api import Pipeline
from scoreline.cli.demo_compare import compared
from scoreline.cli.demo_data import Service, write_more_events, write_service
from scoreline.config.settings import Settings
from scoreline.errors import InputError
from scoreline.pipeline.progress import for_terminal
from scoreline.registry.versions import pin
from scoreline.typed import typed


def run_demo(settings: Settings, *, users: int, compare: bool = False) -> None:
    """Generate, ingest, train, score, publish and export; a second time says that nothing is due.

    `compare`: then ingest and score on Spark, too, and compare the tables. Raises RunFailed where they differ.
    """
    folder = (
        settings.home.parent.relative_to(Path.cwd())
        if settings.home.is_relative_to(Path.cwd())
        else settings.home.parent
    )
    service = Service(users=users)
    _say(f"A streaming service with {service.users:,} users and {service.items:,} titles, in {folder}")
    events, items = write_service(folder, service)
    write_more_events(folder, service, share=0.01)
    pipeline = Pipeline(settings)
    _say("Ingest")
    ingested = pipeline.ingest(events)
    click.echo(ingested)
    pipeline.ingest_items(items)
    _say("Train and register")
    click.echo(_trained_once(pipeline))
    _say("Score, audit, publish")
    click.echo(pipeline.run(progress=for_terminal(quiet=False)))
    _say("Export to the application's database")
    click.echo(pipeline.export())
    _say("Some users")
    for view in pipeline.show([1, 2, 3], recent=5):
        click.echo(replace(view, recommended=(view.recommended or [])[:8]))
    _say("What to try next")
    click.echo(_next_steps(settings, folder))
    if compare:
        _say("The same on Spark: ingest and run, in a minute or two (Ctrl-C leaves it out)")
        is_new = ingested.users_changed == service.users  # later the tables may have had other events
        click.echo(compared(settings, events, items) if is_new else f"Compared by a first demo only: remove {folder}.")


def _trained_once(pipeline: Pipeline) -> str:
    settings = pipeline.settings
    try:
        champion = pin(
            settings.model.uri, tracking_uri=settings.tracking_uri, registry_uri=settings.mlflow.registry_uri
        )
    except InputError:
        report = pipeline.train()
        if report.refused:
            raise InputError(f"{report}\n{report.refused}") from None
        return str(report)
    return f"{settings.model.uri} is version {champion.version} already"


def _say(heading: str) -> None:
    click.echo(f"\n== {heading}")


def _next_steps(settings: Settings, folder: Path) -> str:
    here = ".venv/bin/" if Path(".venv/bin/scoreline").exists() else ""  # as `make setup` makes it
    steps = (
        (typed("demo"), "again: nothing is due"),
        (typed(f"ingest --events {folder / 'events-next-day.csv'}"), "a day later: 1 % have news"),
        (typed("plan"), "who is due, and why"),
        (typed("run"), "only those are scored"),
        (typed("show 42"), "one user by title"),
        (typed("explain 42"), "which events made the list"),
        (typed("status"), "tables, versions, runs"),
        (typed("watch"), "from now on by itself: docs/triggers.md"),
        (typed("train"), "another version: everyone is due"),
        (typed("rollback"), "back to the run before"),
    )
    wide = max(len(step) for step, _ in steps)
    tables = f"Tables are in {settings.home}, MLflow in {settings.tracking_uri}."
    return "\n".join([tables, *[f"  {here}{step:<{wide}}  # {why}" for step, why in steps]])
