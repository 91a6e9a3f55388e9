"""Which destination a URL names; what it needs is imported only then."""

from scoreline.config.settings import ExportSettings
from scoreline.errors import ConfigurationError
from scoreline.export.destinations.protocol import Destination
from scoreline.tables.schema import Keys

__all__ = ["open_destination"]


def open_destination(settings: ExportSettings, keys: Keys) -> Destination:
    """The destination of `export.url`; nothing is connected yet. Raises ConfigurationError, without the password."""
    url = settings.url.get_secret_value()
    kind = url.split(":", 1)[0].split("+", 1)[0].lower()
    if kind in ("postgresql", "postgres") and "+" not in url.split("://", 1)[0].replace("+psycopg", ""):
        from scoreline.export.destinations.postgres import open_postgres

        return open_postgres(url, settings.table, keys)
    if kind == "dynamodb":
        from scoreline.export.destinations.dynamodb import open_dynamodb

        return open_dynamodb(url, settings.table, keys)
    if "://" not in url:
        raise ConfigurationError(
            "export.url is no database URL: expected dialect://user@host/database, such as postgresql://app@db/app (a "
            "password as ${NAME}, behind a colon after the user) or sqlite:///serving.db."
        )
    from scoreline.export.destinations.sql import open_sql

    return open_sql(url, settings.table, keys)
