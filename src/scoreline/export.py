"""Push what was published since the last export to the application's database, all at once.

The database says which version of `recommendations` it shows; the next export compares that version with the newest,
and a run's id in each row tells what is the same. How a database takes the rows is its destination's business.
"""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from scoreline.commits import shown
from scoreline.context import Context
from scoreline.destinations import Change, Destination, open_destination
from scoreline.errors import ConfigurationError, InputError, ScorelineError
from scoreline.schema import RECOMMENDATIONS, USER_ID
from scoreline.tables import Table, explained

_LISTS = (USER_ID, RECOMMENDATIONS, "source")
_VANISHED = ("DELTA_VERSION_NOT_FOUND", "DELTA_TIMESTAMP", "FILE_NOT_EXIST", "DELTA_FILE_NOT_FOUND", "time travel")


@dataclass(frozen=True)
class ExportReport:
    """What was sent: users whose rows were replaced or removed, and the version now shown."""

    replaced: int
    removed: int
    version: int
    previous: int | None
    target: str


def export(context: Context) -> ExportReport:
    """Bring the database to the newest version of `recommendations`; doing it twice sends nothing the second time."""
    settings = context.settings.export
    if context.settings.input is not None:
        raise ConfigurationError(
            "Only lists of recommendations are exported; this pipeline has an input section and publishes predictions. "
            "Read them from the table."
        )
    if settings is None:
        raise ConfigurationError(
            "The configuration has no export section: give export.url, such as sqlite:///serving.db."
        )
    destination = open_destination(settings, context.keys)
    source = context.tables.existing("recommendations", made_by="scoreline run")
    version, previous = source.version(), destination.version()
    replaced, removed = (0, 0) if previous == version else _sent(destination, source, previous, version)
    return ExportReport(replaced, removed, version, previous, destination.shown)


def _sent(destination: Destination, source: Table, previous: int | None, version: int) -> tuple[int, int]:
    published = shown(source.commits())
    content = published.version if published else version
    if (flipped := destination.flip_back(version=version, content=content)) is not None:
        return flipped, 0
    try:
        with explained(f"the export to {destination.shown} failed; it shows what it showed before"):
            return destination.apply(_change(source, previous, version, content))
    except ScorelineError as error:
        if previous is None or not any(sign in str(error) for sign in _VANISHED):
            raise
        raise InputError(
            f"Version {previous} of {source.location}, which the database shows, can't be read any more (vacuumed?). "
            "Drop the row of scoreline_exports to export everything anew."
        ) from None


def _change(source: Table, previous: int | None, version: int, content: int) -> Change:
    new = source.read(version)
    if previous is None or previous > version:
        return Change(new.select(*_LISTS), _nobody(new), True, previous, version, content)
    old = source.read(previous).select(USER_ID, F.col("run_id").alias("_old_run"))
    changed = new.join(old, on=USER_ID, how="left").where(~F.col("_old_run").eqNullSafe(F.col("run_id")))
    gone = old.join(new.select(USER_ID), on=USER_ID, how="left_anti").select(USER_ID)
    return Change(changed.select(*_LISTS), gone, False, previous, version, content)


def _nobody(rows: DataFrame) -> DataFrame:
    return rows.select(USER_ID).limit(0)
