"""What the warm process does: it looks, and it takes steps, as `process` tells it to."""

import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from typing import Any

from scoreline.config.settings import Settings
from scoreline.config.watch import Step, TriggerSettings
from scoreline.context import Context, open_context
from scoreline.engine.engine import engine_of
from scoreline.errors import AuditRefused, RunFailed, RunInProgress, ScorelineError, told
from scoreline.export.export import export
from scoreline.ingest.new import ingest_new
from scoreline.operations.maintenance import optimize, vacuum
from scoreline.pipeline.run import run
from scoreline.redaction import redacted
from scoreline.runs.keeping import kept, kept_if_failed
from scoreline.runs.telling import watched
from scoreline.training.train import train_model
from scoreline.watch.looks import seen
from scoreline.watch.process import Done, Failed, Order, Seen


def work(connection: Connection) -> None:
    """Answer what is asked; EOFError or OSError says that nobody asks any more."""
    settings, sys.argv = connection.recv()
    while True:
        connection.send(_tried(settings, connection.recv()))


def _tried(settings: Settings, asked: Order | TriggerSettings) -> Done | Seen | Failed:
    try:
        return _step(settings, asked) if isinstance(asked, Order) else _look(open_context(settings), asked)
    except ScorelineError as error:
        return Failed(
            redacted(str(error)),
            held_off=isinstance(error, RunInProgress),
            refused=isinstance(error, AuditRefused),
            code=error.exit_code,
        )
    except Exception as error:
        return Failed(redacted(f"{type(error).__name__}: {told(error)}"), broken=True)


def _look(context: Context, trigger: TriggerSettings) -> Seen:
    began = time.monotonic()
    mark = seen(context, trigger)
    return Seen(mark, time.monotonic() - began)


def _step(settings: Settings, order: Order) -> Done:
    trigger = order.trigger
    if trigger.settle is not None and settings.events is not None:
        events = settings.events.model_copy(update={"settle": trigger.settle})
        settings = settings.model_copy(update={"events": events})
    settings = settings.model_copy(update={"spark": {**settings.spark, **trigger.spark}})
    if order.given_up is not None:
        with watched(trigger.name, again=False), kept(settings, order.step, now=datetime.now(UTC)):
            raise RunFailed(order.given_up)
    with watched(trigger.name, again=not order.last):
        with kept_if_failed(settings, order.step):
            context = open_context(settings)
        done = _run(context, order) if order.step == "run" else _STEPS[order.step](context, trigger)
        engine_of(context.spark).rest()
        return done


def _run(context: Context, order: Order) -> Done:
    report = run(
        context,
        fraction=order.trigger.fraction or 1.0,
        budget=order.trigger.budget,
        full_refresh=order.ask.everyone,
        users=order.ask.users,
    )
    changed = report.state == "published"
    asked = None if report.asked is None else str(report.asked)
    return Done(str(report), changed, report.state, report.run_id, report.version, asked)


def _ingest(context: Context, trigger: TriggerSettings) -> Done:
    report = ingest_new(context, trigger.files)
    return Done(str(report), report.users_changed > 0)


def _export(context: Context, _: TriggerSettings) -> Done:
    return Done(str(export(context)), changed=True)


def _train(context: Context, _: TriggerSettings) -> Done:
    report = train_model(context)
    return Done("\n".join(filter(None, (str(report), report.refused))), report.refused is None)


def _optimize(context: Context, _: TriggerSettings) -> Done:
    return Done(str(optimize(context)), changed=False)


def _vacuum(context: Context, _: TriggerSettings) -> Done:
    return Done(str(vacuum(context)), changed=False)


_STEPS: Mapping[Step, Callable[[Any, TriggerSettings], Done]] = {
    "ingest": _ingest, "train": _train, "export": _export, "optimize": _optimize, "vacuum": _vacuum,
}  # fmt: skip


if __name__ == "__main__":
    try:
        work(Connection(int(sys.argv[1])))
    except (EOFError, KeyboardInterrupt, OSError):  # stopped, or nobody is there any more to be answered
        sys.exit(130)
