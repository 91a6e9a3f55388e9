"""What a trigger sees when it looks: a mark, which is another one when there is something new. In the worker."""

from datetime import timedelta

from scoreline.config.watch import TriggerSettings
from scoreline.context import Context
from scoreline.engine.listing import listed
from scoreline.hashing import fingerprint
from scoreline.registry.versions import pin
from scoreline.tables.delta import table_at
from scoreline.tables.names import TABLES
from scoreline.tables.reading import open_readers

__all__ = ["seen"]

_SECOND = 1_000_000


def seen(context: Context, trigger: TriggerSettings) -> str | None:
    """The mark of a trigger as of now, None while there is nothing to see. Raises InputError for what is no place."""
    if trigger.files is not None:
        return _files(context, trigger.files, settle=_settle(context, trigger))
    if trigger.table is not None:
        return _version(context, trigger.table)
    return _model(context)


def _settle(context: Context, trigger: TriggerSettings) -> timedelta:
    events = context.settings.events
    return trigger.settle if trigger.settle is not None else events.settle if events else timedelta(seconds=30)


def _files(context: Context, place: str, *, settle: timedelta) -> str | None:
    """Of all files that nobody writes to any more, so that one is seen again when it has settled."""
    now, least = context.now.timestamp() * _SECOND, settle.total_seconds() * _SECOND
    still = [file for file in listed(context.spark, place) if file.size and abs(now - file.modified_us) >= least]
    return fingerprint(sorted((file.address, file.size, file.modified_us) for file in still)) if still else None


def _version(context: Context, name: str) -> str | None:
    if name in TABLES:
        reader = open_readers(context.settings, context.spark).table(name)
        return str(reader.version()) if reader.exists() else None
    table = table_at(context.spark, name.rstrip("/").rsplit("/", 1)[-1], name, in_catalog="/" not in name)
    return str(table.version()) if table.exists() else None


def _model(context: Context) -> str:
    settings = context.settings
    pinned = pin(settings.model.uri, tracking_uri=settings.tracking_uri, registry_uri=settings.mlflow.registry_uri)
    return f"{pinned.name} {pinned.version}"
