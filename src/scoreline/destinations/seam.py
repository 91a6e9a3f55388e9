"""What `scoreline export` asks of a database. A destination of your own implements `Destination` and a line here."""

from dataclasses import dataclass
from typing import Protocol

from pyspark.sql import DataFrame

from scoreline.errors import ConfigurationError
from scoreline.schema import Keys
from scoreline.settings import ExportSettings


@dataclass(frozen=True)
class Change:
    """What has to be shown next.

    lists: `user_id, recommendations, source`, of everyone if `everyone`, else of those whose rows changed; gone:
    `user_id` of those to be removed (empty if `everyone`). previous: the version that the destination said it shows;
    version: the one to show now; content: the version of the publishing commit whose rows these are, which is an older
    one after a rollback.
    """

    lists: DataFrame
    gone: DataFrame
    everyone: bool
    previous: int | None
    version: int
    content: int


class Destination(Protocol):
    """A database that shows one version at a time; whatever fails, it goes on showing the one before."""

    @property
    def shown(self) -> str:
        """The address, without a password."""
        ...

    def version(self) -> int | None:
        """The version that readers see, None before the first export."""
        ...

    def apply(self, change: Change) -> tuple[int, int]:
        """Show the change, all at once; returns how many users were replaced and removed. Twice is as good as once."""
        ...

    def flip_back(self, *, version: int, content: int) -> int | None:
        """Show again what was shown before the last change, if that was `content` and is still there: users changed."""
        ...


def open_destination(settings: ExportSettings, keys: Keys) -> Destination:
    """The destination of `export.url`; nothing is connected yet. Raises ConfigurationError, without the password."""
    url = settings.url.get_secret_value()
    kind = url.split(":", 1)[0].split("+", 1)[0].lower()
    if kind in ("postgresql", "postgres") and "+" not in url.split("://", 1)[0].replace("+psycopg", ""):
        from scoreline.destinations.postgres import open_postgres

        return open_postgres(url, settings.table, keys)
    if kind == "dynamodb":
        from scoreline.destinations.key_value import open_dynamodb

        return open_dynamodb(url, settings.table, keys)
    if "://" not in url:
        raise ConfigurationError(
            "export.url is no database URL: expected dialect://user:password@host/database, such as "
            "postgresql://app:${PASSWORD}@db/app or sqlite:///serving.db."
        )
    from scoreline.destinations.sql import open_sql

    return open_sql(url, settings.table, keys)
