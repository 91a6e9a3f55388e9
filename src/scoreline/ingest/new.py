"""`ingest --new`: of a place only what no ingest has taken: files, or rows of a database, a Delta table or a topic."""

from scoreline.config.settings import EventsSettings
from scoreline.context import Context, logged, step
from scoreline.errors import InputError
from scoreline.ingest.ingest import IngestReport, events_settings, merge_source
from scoreline.ingest.new_files import NewFilesReport, take_new_files
from scoreline.sources.reader import is_database, is_table, require_file
from scoreline.tables.lock import exclusive

__all__ = ["ingest_new"]


@logged("ingest")
@step
def ingest_new(context: Context, place: str | None = None) -> NewFilesReport | IngestReport:
    """Take what is new in a place; bad rows are quarantined, the rest is merged.

    `place`: None for `events.source` or `events.files`, whichever is configured. Raises InputError for a place of which
    it is not known what is new; and what `take_new_files` and `ingest_events` raise.
    """
    settings = events_settings(context)
    chosen = place or _configured(settings)
    with exclusive(context.settings, context.tables, "ingest"):
        if is_database(chosen) or is_table(chosen) or settings.format == "delta":
            return merge_source(context, chosen, settings, only_new=True)
        require_file(chosen)
        return take_new_files(context, settings, chosen)


def _configured(settings: EventsSettings) -> str:
    found = settings.source.get_secret_value() if settings.source else settings.files
    if found is None:
        raise InputError(
            "Which source? Say ingest --new SOURCE, or in the configuration events.files, a folder, or events.source, "
            "a database, a Delta table or a topic of Kafka."
        )
    return found
