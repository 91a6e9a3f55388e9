"""Which engine a pipeline works with: decided here and nowhere else."""

import logging
from collections.abc import Iterator

from pyspark.sql import SparkSession

from scoreline.config.settings import Settings
from scoreline.engine.engine import engine_of
from scoreline.engine.installed import is_on_platform, missing_for_embedded
from scoreline.engine.session import existing_session, get_session
from scoreline.errors import ConfigurationError

__all__ = ["is_embedded", "open_session"]

log = logging.getLogger(__name__)


def open_session(settings: Settings, given: SparkSession | None = None) -> SparkSession:
    """The session to work in: the one given or that of this process, else a new one of the engine that is wanted."""
    if is_embedded(settings, given):
        from scoreline.engine.embedded.sail import embedded_session

        return embedded_session()
    return get_session(f"scoreline {settings.name}", settings.spark, given=given)


def is_embedded(settings: Settings, given: SparkSession | None = None) -> bool:
    """Whether a pipeline computes without Spark.

    A session that is given, or that this process has already, says it. `auto`: where the packages are here and nothing
    needs Spark: no `spark-submit`, platform or cluster that this process belongs to. Raises ConfigurationError for
    `embedded` where that cannot be, with all that stands in the way.
    """
    session = given or existing_session()
    here = None if session is None else engine_of(session).name
    if given is not None:
        return here == "embedded"
    if settings.engine == "spark" and here == "embedded":
        raise ConfigurationError(
            "engine is spark, and this process has begun without it: a process has one engine. Start another process."
        )
    if settings.engine == "spark":
        return False
    missing, beyond = missing_for_embedded(), list(_beyond(settings))
    if settings.engine == "auto":
        needs_spark = bool(beyond) or is_on_platform() or here == "spark"
        if missing and not needs_spark:
            level = logging.WARNING if "engine" in settings.model_fields_set else logging.INFO
            log.log(level, "Spark computes, as there is no package %s here: docs/engines.md", " and ".join(missing))
        return not (missing or needs_spark)
    if missing:
        raise ConfigurationError(
            f"engine: embedded needs the package {' and '.join(missing)}: pip install 'scoreline[both]' beside Spark, "
            "'scoreline[embedded]' without it; or say engine: spark."
        )
    if beyond:
        raise ConfigurationError(
            f"engine: embedded does not do this yet: {'; '.join(beyond)}. Say engine: spark, which does."
        )
    if here == "spark":
        raise ConfigurationError(
            "engine: embedded cannot begin in a process that has a Spark session: stop it (spark.stop()), use another "
            "process, or say engine: auto, which takes the session."
        )
    return True


def _beyond(settings: Settings) -> Iterator[str]:
    root = settings.tables.root or ""
    if settings.tables.catalog:
        yield f"tables.catalog is {settings.tables.catalog} (it has tables in a folder: tables.root)"
    if "://" in root.removeprefix("file://"):
        yield f"tables.root is {root} (it has tables on this machine)"
    if settings.spark:
        yield f"spark has {next(iter(settings.spark))} (there is no Spark to set it in)"
    features = settings.input
    if features is not None and features.table:
        yield f"input.table is {features.table} (it reads input.path)"
    if features is not None and "://" in (features.path or "").removeprefix("file://"):
        yield f"input.path is {features.path} (it reads what is on this machine)"
