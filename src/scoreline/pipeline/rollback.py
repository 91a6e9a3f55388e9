"""Take a published run back: from the table, and from the application's database if that has been sent to."""

from collections import Counter
from dataclasses import dataclass

from scoreline.config.settings import Settings
from scoreline.context import Context, logged, step
from scoreline.engine.failures import explained
from scoreline.errors import InputError, RunFailed, ScorelineError
from scoreline.export.export import ExportReport, export
from scoreline.pipeline.fence import rollback
from scoreline.pipeline.published import published_table
from scoreline.registry.versions import pin
from scoreline.report import Report
from scoreline.tables.delta import Table
from scoreline.tables.lock import exclusive
from scoreline.tables.names import RECOMMENDATIONS
from scoreline.typed import typed


@dataclass(frozen=True)
class RollbackReport(Report):
    """The run that readers see again, with the model that made it, and the version the table has now.

    `left_version`: what they saw before. `back`: users whose rows came back; `taken`: rows of other runs that are gone.
    `exported` is what the application's database was sent; None for a pipeline without one. `next_version` is the
    version of the same model that the next run will score with; None if that is another model, or nobody can say.
    """

    run_id: str
    model: str | None
    model_version: str | None
    restored_version: int
    left_version: int
    version: int
    table: str
    back: int
    taken: int
    exported: ExportReport | None = None
    next_version: str | None = None

    def __str__(self) -> str:
        version = self.model_version
        stay = (
            f", with the same version {version}."
            if self.next_version == version
            else f": to stay with this model, promote it first ({typed(f'promote --version {version} --force')}), or "
            "name it in model.uri."
        )
        return (
            f"{self.table} shows run {self.run_id} again ({self.model} version {self.model_version}), as table "
            f"version {self.version}.\n{self.back:,} users' rows came back from version {self.restored_version}, in "
            f"the place of {self.taken:,} of version {self.left_version}.\n"
            f"The next run scores again whoever is due{stay}" + (f"\n{self.exported}" if self.exported else "")
        )


@logged("rollback")
@step
def roll_back(context: Context, *, run_id: str | None = None) -> RollbackReport:
    """Bring the table back to what `run_id` (default: the run before the current one) had published.

    The application's database, if the configuration has one, is brought to the same rows. A run that began before
    cannot publish afterwards. Raises InputError if there is nothing to go back to, Superseded if a run has published
    meanwhile, RunFailed if the table is back and the database is not.
    """
    with exclusive(context.settings, context.tables, "run"), explained("the rollback failed"):
        table = published_table(context.tables, context.settings.name, run_id=run_id)
        note, restored, left, version = rollback(table, run_id=run_id)
        back, taken = _exchanged(_by_run(table, restored), _by_run(table, left))
    record = context.record
    record.users, record.model = back, f"{note.model} version {note.model_version}"
    record.say(to_run=note.run_id, rows_back=back, rows_taken=taken)
    record.read(table.name, restored)
    record.wrote(table.name, version)
    return RollbackReport(
        str(note.run_id),
        note.model,
        note.model_version,
        restored,
        left,
        version,
        table.location,
        back,
        taken,
        _exported(context, table),
        _next_version(context.settings, note.model),
    )


def _by_run(table: Table, version: int) -> Counter[str | None]:
    """How many rows of a version each run has made."""
    return Counter(dict(table.read(version).groupBy("run_id").count().collect()))


def _exchanged(restored: Counter[str | None], left: Counter[str | None]) -> tuple[int, int]:
    """How many rows came back, and how many went for them: a run makes one row of a user, which stays the same.

    >>> _exchanged(Counter(monday=60), Counter(monday=40, tuesday=25))
    (20, 25)
    """
    return (restored - left).total(), (left - restored).total()


def _next_version(settings: Settings, model: str | None) -> str | None:
    try:
        found = pin(settings.model.uri, tracking_uri=settings.tracking_uri, registry_uri=settings.mlflow.registry_uri)
    except InputError:  # the table is back: what the registry says is for the advice only
        return None
    return found.version if found.name == model else None


def _exported(context: Context, table: Table) -> ExportReport | None:
    if context.settings.export is None or table.name != RECOMMENDATIONS:
        return None
    try:
        return export(context)
    except ScorelineError as error:
        raise RunFailed(
            f"{table.location} is back, but the application's database still shows the run that was taken back: "
            f"{error} Then: {typed('export')} (not rollback, which would go back one run more)."
        ) from None
