"""The rows to score, pinned to one version of their table: `user_history`, or the configured table of features."""

from dataclasses import dataclass

from pyspark.sql import DataFrame
from pyspark.sql import functions as F

from scoreline.context import Context
from scoreline.errors import InputError
from scoreline.histories import bucket_of
from scoreline.schema import BUCKET, HISTORY_HASH, USER_ID
from scoreline.settings import InputSettings
from scoreline.tables import Table, explained, quoted


@dataclass(frozen=True)
class Inputs:
    """`rows` has `user_id, bucket, history_hash` and every column a model may ask for; `user_id` is unique."""

    name: str
    version: int | None
    rows: DataFrame


def open_inputs(context: Context) -> Inputs:
    """Look at the newest version of the input and stay with it; raises InputError if there is nothing to score."""
    if context.settings.input is not None:
        return _features(context, context.settings.input)
    table = context.tables.existing("user_history", made_by="scoreline ingest --events FILE")
    version = table.version()
    return Inputs(table.location, version, table.read(version))


def _features(context: Context, given: InputSettings) -> Inputs:
    source = given.path or given.table or ""
    in_catalog = given.table is not None
    with explained(f"input {source} could not be read"):
        if given.format == "delta":
            table = Table(context.spark, source, source, in_catalog=in_catalog)
            if not table.exists():
                raise InputError(f"input {source}: there is no Delta table here.")
            version: int | None = table.version()
            found = table.read(version)
        else:
            version, found = None, context.spark.read.parquet(source)
    if given.key not in found.columns:
        raise InputError(f"input {source}: key {given.key} is not a column; there are {', '.join(found.columns)}.")
    kind = found.schema[given.key].dataType
    if kind != context.keys.user_type:
        raise InputError(
            f"input {source}: key {given.key} is {kind.simpleString()}, and keys.user_id says "
            f"{context.settings.keys.user_id}."
        )
    features = [F.col(quoted(c)) for c in found.columns if c != given.key]
    key = F.col(quoted(given.key))
    rows = found.where(key.isNotNull()).select(
        key.alias(USER_ID),
        bucket_of(key, context.settings.histories.buckets).alias(BUCKET),
        F.xxhash64(*features).alias(HISTORY_HASH),
        *features,
    )
    return Inputs(source, version, rows)
