"""The rows to score, pinned to one version of their table: `user_history`, or the configured table of features."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from pyspark.errors import PySparkException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql import types as T
from pyspark.sql.pandas.types import to_arrow_type

from scoreline.config.settings import InputSettings, Settings
from scoreline.config.sources import KeyType
from scoreline.engine.engine import engine_of
from scoreline.engine.failures import explained
from scoreline.engine.frames import count
from scoreline.engine.sql import quoted, quoted_name
from scoreline.errors import InputError, NotUnique, RunFailed
from scoreline.hashing import fingerprint
from scoreline.ingest.histories import bucket_of
from scoreline.sources.heads import looked_at
from scoreline.sources.parquet import read_parquet
from scoreline.sources.values import key
from scoreline.tables import schema
from scoreline.tables.delta import Tables, table_at
from scoreline.tables.history import HISTORY_LIMIT, Commit
from scoreline.tables.names import BUCKET, HISTORY_HASH, OLDER, RAW, SOURCE, USER_ID
from scoreline.tables.quarantine import quarantine_bad, quarantine_table
from scoreline.tables.row_hash import row_hash
from scoreline.typed import typed


@dataclass(frozen=True)
class Inputs:
    """`rows` has `user_id, bucket` and every column a model may ask for; the audit proves that `user_id` is unique.

    `history_hash` is there, too, once it is known which columns the model asks for (see `hashed`). `commits`: those of
    `user_history`, newest first; none of another input, of which we don't know what they mean. `unkeyed` are rows of a
    table of features that have no key: there is no row of the result they could become.
    """

    name: str
    version: int | None
    rows: DataFrame
    commits: Sequence[Commit] = ()
    unkeyed: DataFrame | None = None
    files: Callable[[], Iterable[str]] | None = None
    stamp: str | None = None
    problems: Mapping[str, str] = field(default_factory=dict)
    key: str = USER_ID

    def require(self, columns: Sequence[str]) -> None:
        """Raise InputError if a model asks for a column that its files do not all have, or that cannot be read."""
        for name in columns:
            if name in self.problems:
                raise InputError(f"input {self.name}: {self.problems[name]}")

    def require_same_files(self) -> None:
        """Raise RunFailed if files without versions have changed since they were opened."""
        if self.files is not None and self.stamp != _stamp_of(self.rows.sparkSession, self.files, self.name):
            raise RunFailed(
                f"The files of input {self.name} have changed while the run read them; nothing was published. Run "
                "again when they are complete, or use a Delta table, whose versions stay."
            )


def open_inputs(tables: Tables, settings: Settings, keys: schema.Keys) -> Inputs:
    """Look at the newest version of the input and stay with it; raises InputError if there is nothing to score."""
    if settings.input is not None:
        return _features(tables.spark, settings.input, keys, buckets=settings.histories.buckets)
    table = tables.existing("user_history", made_by=typed("ingest --events FILE"))
    commits = table.commits(limit=HISTORY_LIMIT)
    version = commits[0].version
    return Inputs(table.location, version, _with_older(table.read(version), keys), commits)


def _with_older(rows: DataFrame, keys: schema.Keys) -> DataFrame:
    """A table that no ingest has touched since an earlier version of ours knows of nothing beyond the histories."""
    if OLDER in rows.columns:
        return rows
    return rows.withColumn(OLDER, F.lit(None).cast(schema.older_items(keys).dataType))


def _features(spark: SparkSession, given: InputSettings, keys: schema.Keys, *, buckets: int) -> Inputs:
    name = f"input {given.path or given.table}"
    with explained(f"{name} could not be read"):
        opened = _opened(spark, given, name)
    found, problems = opened.rows, opened.problems
    if given.key in problems:
        raise InputError(f"{name}: {problems[given.key]}")
    _require_key(found, given.key, keys, name)
    user_id = _key(found, given.key, keys.user)
    bucket = bucket_of(user_id, buckets)
    problems = {**problems, **_not_handed_over(found)}
    features = [
        F.col(quoted(c)) for c in found.columns if c != USER_ID and c not in problems
    ]  # a model may ask for the key
    rows = found.where(user_id.isNotNull()).select(user_id.alias(USER_ID), bucket.alias(BUCKET), *features)
    unkeyed = found.where(user_id.isNull())
    return replace(opened, rows=rows, unkeyed=unkeyed, problems=problems, key=given.key)


def _stamp_of(spark: SparkSession, files: Callable[[], Iterable[str]], name: str) -> str:
    """A hash over path, size and modification time of files without versions; nothing of what is in them."""
    with explained(f"the files of {name} could not be listed"):
        if not (found := sorted(files())):
            return fingerprint([])
        one = F.xxhash64("path", "length", F.col("modificationTime").cast("double"))
        listed = engine_of(spark).listed(found)
        return fingerprint(list(listed.agg(F.count(F.lit(1)), F.bit_xor(one), F.sum("length")).first() or ()))


def _opened(spark: SparkSession, given: InputSettings, name: str) -> Inputs:
    """All rows and columns as they are, and the columns that may not be asked for."""
    source = given.path or given.table or ""
    if given.format == "parquet" and given.table:
        rows = spark.read.table(quoted_name(source))
        return Inputs(source, None, rows, files=rows.inputFiles, stamp=_stamp_of(spark, rows.inputFiles, name))
    if given.format == "parquet":
        looked_at(spark, source, "parquet")
        engine = engine_of(spark)
        opened = set(engine.files(source))
        stamp = _stamp_of(spark, lambda: opened, name)  # before a row is read
        found = read_parquet(spark, source)

        def left() -> set[str]:
            return opened & set(engine.files(source))

        return Inputs(source, None, found.rows, files=left, stamp=stamp, problems=found.problems)
    table = table_at(spark, source, source, in_catalog=given.table is not None)
    if not table.exists():
        raise InputError(f"{name}: there is no Delta table here.")
    version = table.version()
    return Inputs(source, version, table.read(version))


def _require_key(found: DataFrame, key: str, keys: schema.Keys, name: str) -> None:
    if key not in found.columns:
        raise InputError(f"{name}: key {key} is not a column; there are {', '.join(found.columns)}.")
    kind = found.schema[key].dataType
    if kind != keys.user_type and not (isinstance(kind, T.NumericType) and keys.user == "long"):
        raise InputError(f"{name}: key {key} is {kind.simpleString()}, and keys.user_id says {keys.user}.")
    if taken := [c for c in found.columns if c in (USER_ID, BUCKET, HISTORY_HASH) and c != key]:
        raise InputError(f"{name}: scoreline needs the name of its column {taken[0]} for itself. Rename the column.")


def _key(found: DataFrame, name: str, wanted: KeyType) -> Column:
    """The key's column; numbers of another type as the whole numbers that they are, null for those that are none."""
    kind = found.schema[name].dataType
    exact = isinstance(kind, T.LongType | T.StringType)
    return F.col(quoted(name)) if exact else key(name, kind, wanted)


def _not_handed_over(found: DataFrame) -> dict[str, str]:
    """Columns that no Python worker is given: Arrow has no type for them."""
    problems = {}
    for column in found.schema:
        if isinstance(column.dataType, T.UserDefinedType):
            problems[column.name] = (
                f"column {column.name} is {column.dataType.typeName()}, which cannot be given to a model. Make it an "
                "array (of Spark's vectors: pyspark.ml.functions.vector_to_array)."
            )
            continue
        try:
            to_arrow_type(column.dataType)
        except PySparkException:
            kind = column.dataType.simpleString()
            problems[column.name] = (
                f"column {column.name} is {kind}, which cannot be given to a model. Write it as text."
            )
    return problems


def require_unique(users: DataFrame, name: str) -> None:
    """Raise NotUnique if a `user_id` is in more than one row.

    `user_history` has each user once; a table of yours may not, and to prove it each time would be a pass more.
    """
    rows = users.groupBy(USER_ID).agg(F.count(F.lit(1)).alias("rows")).where("rows > 1")
    if (one := rows.orderBy(USER_ID).first()) is None:
        return
    raise NotUnique(
        f"input {name}: key {one[USER_ID]!r} is in {one['rows']} rows, and each has to be in one; so are "
        f"{count(rows):,} keys. Remove the rows that are not meant, or, where only several columns together are a key, "
        "add a column made of them (concat_ws('|', a, b)) and name that one in input.key."
    )


def hashed(inputs: Inputs, columns: Sequence[str]) -> Inputs:
    """Complete features with `history_hash` over the columns that the model looks at: what else changes is no news."""
    if HISTORY_HASH in inputs.rows.columns:
        return inputs
    kinds = {column.name: column.dataType for column in inputs.rows.schema}
    features = [(F.col(quoted(c)), kinds[c]) for c in columns if c not in (USER_ID, BUCKET)]
    engine = engine_of(inputs.rows.sparkSession)
    if unknown := [c for c in columns if c in kinds and not engine.hashes(kinds[c])]:
        raise InputError(
            f"input {inputs.name}: column {unknown[0]} is {kinds[unknown[0]].simpleString()}, which the embedded "
            "engine does not hash as Spark does. Write it in another type, or say engine: spark."
        )
    with explained(f"input {inputs.name} could not be hashed"):
        rows = inputs.rows.withColumn(HISTORY_HASH, row_hash(features, engine))
    return replace(inputs, rows=rows)


def quarantine_unkeyed(tables: Tables, inputs: Inputs, *, now: datetime) -> int:
    """Put the rows without a key into the quarantine, each once; returns how many there are."""
    if inputs.unkeyed is None:
        return 0
    given, engine = inputs.key, engine_of(tables.spark)
    fields = {field.name: (F.col(quoted(field.name)), field.dataType) for field in inputs.unkeyed.schema}
    reason = F.when(F.col(quoted(given)).isNull(), "key is missing").otherwise("key is not an exact whole number")
    rows = inputs.unkeyed.select(
        F.array(reason).alias("reasons"), F.lit(inputs.name).alias(SOURCE), engine.json(fields).alias(RAW)
    )
    with explained(f"input {inputs.name} could not be read"):
        if not (found := count(rows)):
            return 0
        quarantine_bad(quarantine_table(tables), rows, now=now)
    return found


def read_name(settings: Settings, name: str) -> str:
    """What the run log calls an input: our own table by its name, another by where it is."""
    return "user_history" if settings.input is None else name
