"""The users that a run is asked for by their ids, instead of everybody."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa
import pyarrow.compute as pc
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T

from scoreline.engine.frames import collected, framed
from scoreline.hashing import fingerprint
from scoreline.ingest.histories import bucket_of
from scoreline.pipeline.plan import Asked
from scoreline.sources.whole_numbers import typed_id
from scoreline.tables.names import BUCKET, USER_ID
from scoreline.tables.schema import Keys

_EXAMPLES = 5  # unknown ids in a report


@dataclass(frozen=True)
class Selection:
    """Some users: their ids, each once, ascending."""

    ids: tuple[object, ...]

    @classmethod
    def of(cls, users: Iterable[object], keys: Keys) -> "Selection":
        """Ids as a person or a program names them; raises InputError for one that is not of the type in `keys`."""
        ids: set[object] = {typed_id(str(user), keys.user, "user") for user in users}
        return cls(tuple(sorted(ids)))  # type: ignore[type-var]

    @cached_property
    def fingerprint(self) -> str:
        """What tells it from any other selection."""
        return fingerprint(self.ids)

    def users(self, spark: SparkSession, kind: T.DataType) -> DataFrame:
        """A row per user: `user_id`."""
        return framed(spark, {USER_ID: self.ids}, T.StructType([T.StructField(USER_ID, kind)]))

    def asked(self, known: DataFrame) -> Asked:
        """What became of the ids; `known` has the `user_id` of those that the tables have."""
        there = collected(known.select(USER_ID))[USER_ID].combine_chunks()
        ids = pa.array(self.ids, there.type)
        unknown = ids.filter(pc.invert(pc.is_in(ids, value_set=there)))
        return Asked(len(ids), len(unknown), tuple(unknown[:_EXAMPLES].to_pylist()))


def only(rows: DataFrame, users: DataFrame, buckets: Iterable[int]) -> DataFrame:
    """The rows of some users: of their `buckets` only is anything read."""
    inside = rows.where(F.col(BUCKET).isin(list(buckets)))
    return inside.join(F.broadcast(users), on=USER_ID, how="left_semi")


def buckets_of(users: DataFrame, buckets: int) -> list[int]:
    """The buckets that the users are in."""
    found = users.select(bucket_of(F.col(USER_ID), buckets).alias(BUCKET)).distinct().collect()
    return sorted(row[BUCKET] for row in found)
