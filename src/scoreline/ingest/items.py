"""The catalogue with titles: `items`, replaced as a whole."""

from dataclasses import dataclass

from pyspark.sql import functions as F

from scoreline.context import Context, logged, step
from scoreline.engine.failures import explained
from scoreline.engine.frames import count
from scoreline.engine.sql import quoted
from scoreline.errors import ConfigurationError
from scoreline.redaction import without_credentials
from scoreline.report import Report
from scoreline.sources.reader import read_source
from scoreline.sources.values import key, require_kinds
from scoreline.tables import schema


@dataclass(frozen=True)
class ItemsReport(Report):
    """A catalogue that was ingested, and how many items it has now."""

    source: str
    items: int

    def __str__(self) -> str:
        return f"{self.source}: {self.items:,} items"


@logged("ingest")
@step
def ingest_items(context: Context, source: str) -> ItemsReport:
    """Replace the catalogue `items` from a file; a bad or repeated id is left out."""
    named = context.settings.items
    if named is None:
        raise ConfigurationError("The configuration has no items section, which says how the catalogue file looks.")
    wanted = [c for c in (named.item_id, named.title, named.genres) if c]
    rows = read_source(context.spark, source, named, wanted)
    roles = {"item_id": named.item_id, "title": named.title, **({"genres": named.genres} if named.genres else {})}
    require_kinds(rows.schema, roles, source)
    genres = F.col(quoted(named.genres)) if named.genres else F.lit(None)
    found = rows.select(
        key(named.item_id, rows.schema[named.item_id].dataType, context.keys.item).alias("item_id"),
        F.col(quoted(named.title)).cast("string").alias("title"),
        genres.cast("string").alias("genres"),
    )
    table = context.tables.table("items")
    table.create(schema.items(context.keys))
    unique = (
        found.where(F.col("item_id").isNotNull())
        .groupBy("item_id")
        .agg(F.min("title").alias("title"), F.min("genres").alias("genres"))
    )
    with explained(f"{source} could not be read"):
        table.write(unique.coalesce(1), "overwrite")
    context.record.say(source=without_credentials(source))
    context.record.wrote(table.name, table.version())
    return ItemsReport(source, count(table.read()))
