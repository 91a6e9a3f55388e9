"""The online path's commands; the main command line has them by entry points (pyproject.toml)."""

import json
import logging
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from scoreline.api import Pipeline
from scoreline.cli.options import pipeline_options, print_report
from scoreline.deploy.shipped import here_or_shipped
from scoreline.errors import InputError, told
from scoreline_fraud.serving.errors import ServingError

__all__ = ["authorize", "fraud_demo", "fraud_features", "fraud_score", "fraud_train", "serve"]


class _Command(click.Command):
    """What the model's own code refuses is told as any error is."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except ServingError as error:
            raise InputError(str(error)) from None


_config = click.option(
    "--config",
    "config",
    type=click.Path(path_type=Path),
    default=lambda: here_or_shipped("conf/serving/fraud.yaml"),
    show_default="conf/serving/fraud.yaml",
    help="The serving configuration; else the shipped one.",
)


@click.command("serve", cls=_Command)
@_config
@click.option("--print-env", is_flag=True, help="Print the same settings for `mlflow --env-file` and do nothing.")
@click.option("--print-openapi", is_flag=True, help="Print the contract as an OpenAPI document and do nothing.")
def serve(config: Path, print_env: bool, print_openapi: bool) -> None:
    """Serve the fraud model by MLflow's server; SIGHUP moves to the alias's new version, SIGTERM stops."""
    from scoreline_fraud.server.openapi import openapi
    from scoreline_fraud.server.server import Server
    from scoreline_fraud.server.settings import env_file, load_settings

    settings = load_settings(config)
    if print_env:
        click.echo(env_file(settings), nl=False)
        return
    if print_openapi:
        click.echo(json.dumps(openapi(settings.rules.limits), indent=2))
        return
    logging.basicConfig(level=settings.server.log_level.upper(), format="%(asctime)s %(name)s %(message)s")
    sys.exit(Server(settings, os.environ).run())


@click.command("authorize", cls=_Command)
@click.argument("transaction", type=click.File("rb"))
@_config
@click.option("--url", help="Instead of the configured one.")
@click.option("--api-key", envvar="SCORELINE_API_KEY", help="Sent as X-Api-Key, for the proxy.")
@click.option(
    "--ca", type=click.Path(exists=True, path_type=Path), help="Certificate to trust instead of the system's."
)
def authorize(transaction: Any, config: Path, url: str | None, api_key: str | None, ca: Path | None) -> None:
    """Ask for a decision on the TRANSACTION in a JSON file ("-": standard input) and print it."""
    from scoreline_fraud.client.client import FraudClient
    from scoreline_fraud.server.settings import load_settings

    settings = load_settings(config).client
    if url:
        settings = settings.model_copy(update={"url": url})
    try:
        posted = json.load(transaction)
    except ValueError as error:
        raise InputError(f"{transaction.name} is not JSON: {told(error)}") from None
    if not isinstance(posted, dict):
        raise InputError(f"{transaction.name} holds a {type(posted).__name__}; expected one transaction, an object")
    headers = {"X-Api-Key": api_key} if api_key else {}
    with FraudClient(settings, headers=headers, verify=str(ca) if ca else True) as client:
        click.echo(json.dumps(asdict(client.authorize(posted)), indent=2))


@click.command("fraud-train", cls=_Command)
@click.option("--transactions", type=click.Path(path_type=Path), help="Parquet file or folder, ours or the Handbook's.")
@click.option("--simulate", "made_up", is_flag=True, help="Use made-up transactions of the Handbook's size instead.")
@click.option("--train-from", help="First day of the training week [default: three weeks before the last day].")
@click.option("--estimator", default="random_forest", show_default=True, help="Which one to log, or `all` to compare.")
@click.option("--log-to", "tracking_uri", help="MLflow tracking address; without it the model is only evaluated.")
@click.option("--name", default="card_fraud", show_default=True, help="The registered model's name.")
@click.option("--alias", default="champion", show_default=True, help="The alias that the version gets.")
@_config
def fraud_train(**options: Any) -> None:
    """Train on a week, test on the week after a week's delay, print the quality, log the model."""
    from scoreline_fraud.training.quality import train_report

    for line in train_report(**options):
        click.echo(line)


_transactions = click.option("--transactions", required=True, help="Delta or Parquet folder of transactions.")
_as_of = click.option("--as-of", required=True, help="The midnight up to which to count, such as 2026-03-10 (UTC).")
_tables = click.option("--tables", required=True, help="Folder of the feature tables.")


@click.command("fraud-features", cls=_Command)
@_transactions
@_as_of
@_tables
@click.option("--snapshots", type=click.Path(path_type=Path), required=True, help="Folder of the SQLite snapshots.")
def fraud_features(transactions: str, as_of: str, tables: str, snapshots: Path) -> None:
    """Tonight's card and terminal features, as tables and as the snapshot that the server reads (Spark)."""
    from scoreline.engine.session import get_session, settings_of
    from scoreline.engine.session_settings import session_settings
    from scoreline_fraud.features.jobs import build_features, midnight

    moment = midnight(as_of)
    spark = get_session("card features")
    with session_settings(spark, settings_of(spark)):
        made = build_features(spark, transactions=transactions, as_of=moment, tables=tables, snapshots=snapshots)
    click.echo(made)


@click.command("fraud-score", cls=_Command)
@pipeline_options
@_transactions
@_as_of
@_tables
@click.option(
    "--serving",
    type=click.Path(path_type=Path),
    help="Decide by the thresholds and limits of this serving configuration instead of those logged with the model.",
)
def fraud_score(
    pipeline: Pipeline,
    as_json: bool,
    quiet: bool,
    transactions: str,
    as_of: str,
    tables: str,
    serving: Path | None,
) -> None:
    """Decide on all transactions of the day after --as-of: join their features, then `scoreline run` (Spark)."""
    from scoreline.context import open_context
    from scoreline.pipeline.progress import for_terminal
    from scoreline_fraud.features.jobs import midnight, write_payments
    from scoreline_fraud.server.settings import load_settings
    from scoreline_fraud.serving.batch import PARAM, rules_text

    moment, settings = midnight(as_of), pipeline.settings
    if serving is not None:
        params = settings.scoring.params | {PARAM: rules_text(load_settings(serving).rules)}
        scoring = settings.scoring.model_copy(update={"params": params})
        settings = settings.model_copy(update={"scoring": scoring})
    write_payments(open_context(settings), transactions=transactions, tables=tables, as_of=moment)
    print_report(Pipeline(settings).run(progress=for_terminal(quiet=quiet)), as_json=as_json)


@click.command("fraud-demo", cls=_Command)
@click.option("--folder", type=click.Path(path_type=Path), default=Path("data/fraud-demo"), show_default=True,
              help="Where its files go.")  # fmt: skip
@click.option("--estimator", default="random_forest", show_default=True, help="Which one to train.")
@click.option("--cards", default=1000, show_default=True, help="How many cards pay.")
@click.option("--workers", default=1, show_default=True, help="Processes of the server.")
@click.option("--payments", default=2000, show_default=True, help="At most so many of the last day are sent.")
def fraud_demo(folder: Path, estimator: str, cards: int, workers: int, payments: int) -> None:
    """From made-up transactions to served decisions: features, training, MLflow, server, client, figures."""
    from scoreline_fraud.demo import run_demo

    logging.basicConfig(level="ERROR", format="%(message)s")
    for line in run_demo(folder, estimator=estimator, cards=cards, workers=workers, payments=payments):
        click.echo(line)
