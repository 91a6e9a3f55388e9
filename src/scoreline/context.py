"""What every step is given: the settings, the session, the tables, the clock. Made at the entry points only."""

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import wraps
from typing import Concatenate, ParamSpec, TypeVar

from pyspark.sql import SparkSession
from pyspark.sql import types as T

from scoreline.config.settings import Settings
from scoreline.engine.batch_size import batch_limits
from scoreline.engine.choice import open_session
from scoreline.engine.engine import engine_of
from scoreline.engine.failures import explained
from scoreline.engine.session import settings_of
from scoreline.engine.session_settings import modifiable, session_settings
from scoreline.runs.keeping import kept
from scoreline.runs.record import Record
from scoreline.tables.delta import Tables
from scoreline.tables.names import Kind
from scoreline.tables.schema import Keys

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Context:
    """One pipeline at one moment; `now` is the start of the step, in UTC.

    session: the settings that the Spark session has while a step runs. record: what the step says of itself; of one
    that `logged` wraps it becomes a row of `runs`.
    """

    settings: Settings
    spark: SparkSession
    tables: Tables
    now: datetime
    session: Mapping[str, str] = field(default_factory=dict)
    record: Record = field(default_factory=lambda: Record("run", datetime.now(UTC)))

    @property
    def keys(self) -> Keys:
        return Keys(user=self.settings.keys.user_id, item=self.settings.keys.item_id)

    def sized_batches(self, rows: T.StructType) -> AbstractContextManager[None]:
        """Inside, a worker gets so much of such rows at once as `scoring` says, where a session lets us.

        What the pipeline's `spark` settings say of it stands.
        """
        limits = batch_limits(rows, self.settings.scoring)
        ours = {key: value for key, value in limits.items() if key not in self.settings.spark}
        return session_settings(self.spark, modifiable(self.spark, ours))


def step(work: Callable[Concatenate[Context, P], R]) -> Callable[Concatenate[Context, P], R]:
    """A step of the pipeline: the session has the context's settings while it runs, and its own afterwards.

    What Spark throws and nobody has explained nearer to where it came from becomes an error of ours here.
    """

    @wraps(work)
    def settled(context: Context, /, *args: P.args, **kwargs: P.kwargs) -> R:
        with session_settings(context.spark, context.session), explained(f"{work.__name__.replace('_', ' ')} failed"):
            return work(context, *args, **kwargs)

    return settled


def logged(
    kind: Kind,
) -> Callable[[Callable[Concatenate[Context, P], R]], Callable[Concatenate[Context, P], R]]:
    """A step that leaves a row in `runs`, however it ends."""

    def decorated(work: Callable[Concatenate[Context, P], R]) -> Callable[Concatenate[Context, P], R]:
        @wraps(work)
        def recorded(context: Context, /, *args: P.args, **kwargs: P.kwargs) -> R:
            with kept(context.settings, kind, now=context.now, spark=context.spark) as record:
                record.say(engine=engine_of(context.spark).name)
                return work(replace(context, record=record), *args, **kwargs)

        return recorded

    return decorated


def open_context(settings: Settings, *, now: datetime | None = None, spark: SparkSession | None = None) -> Context:
    """Start or take the session and look at the clock."""
    used = open_session(settings, spark)
    tables, session = Tables(used, settings.tables), settings_of(used, settings.spark)
    return Context(settings, used, tables, now or datetime.now(UTC), session)
