"""What a pipeline's YAML file may say: one frozen model, an unknown key is an error.

Nothing here reads a file or the environment (`scoreline.config.loading` does) and nothing starts Spark.
"""

import codecs
import hashlib
import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    FiniteFloat,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

KeyType = Literal["long", "string"]
EstimatorName = Literal["item_neighbours", "latent_factors", "popularity"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=128)]
Fraction = Annotated[float, Field(ge=0, le=1)]

LONGEST_ID = 255  # characters of an id: with four bytes each, 1,020, they fit into the key of every database here

_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_duration(value: object) -> object:
    """Turn `30m`, `12h`, `7d` or `2w` into a timedelta; anything else is left to pydantic to refuse.

    >>> parse_duration("36h")
    datetime.timedelta(days=1, seconds=43200)
    """
    if isinstance(value, str) and (match := re.fullmatch(r"(\d+)\s*([smhdw])", value.strip())):
        return timedelta(**{_UNITS[match[2]]: int(match[1])})
    if isinstance(value, timedelta) or value is None:
        return value
    raise ValueError("a duration is a whole number and a unit of s, m, h, d or w, such as 12h or 7d")


Duration = Annotated[timedelta, BeforeValidator(parse_duration)]


class Section(BaseModel):
    """A part of the file: frozen, and strict about keys it does not know."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def pattern_letters(pattern: str) -> str:
    """The letters of a datetime pattern that stand for something: all but what it quotes.

    >>> pattern_letters("yyyy-MM-dd'T'HH:mm")
    'yyyyMMddHHmm'
    """
    return "".join(re.findall("[A-Za-z]", "".join(pattern.split("'")[::2])))


_DATE_LETTERS = "GyMLdDaHhKkmsSVzOXxZ"  # those that Spark reads times by, in all its versions


def require_dates(pattern: str) -> str:
    """Raise ValueError for a datetime pattern that Spark cannot read by, or that says no date."""
    letters = pattern_letters(pattern)
    if wrong := sorted(set(letters) - set(_DATE_LETTERS)):
        raise ValueError(f"{pattern!r} is no datetime pattern: {wrong[0]} stands for nothing; found letters {letters}")
    if "y" not in letters or not ("D" in letters or ("d" in letters and set(letters) & set("ML"))):
        raise ValueError(f"{pattern!r} gives no date; expected year, month and day, such as yyyy-MM-dd HH:mm:ss")
    return pattern


def require_encoding(name: str) -> str:
    """Raise ValueError for the name of no encoding of text, or of one whose ASCII characters are other bytes."""
    try:
        wide = codecs.lookup(name).name in ("utf-16", "utf-16-le", "utf-16-be", "utf-32")
        if wide or _ASCII.encode().decode(name) == _ASCII:
            return name
    except (LookupError, UnicodeDecodeError):
        pass
    raise ValueError(f"{name!r} is no encoding that is read; expected UTF-8, UTF-16, windows-1252, Shift_JIS, …")


_ASCII = "".join(map(chr, range(32, 127)))
Encoding = Annotated[str, AfterValidator(require_encoding)]


# what only a reader of text looks at, and only some of them do
_READ_BY = {"separator": ("csv",), "quote": ("csv",), "encoding": ("csv",), "fields": ("csv",)}


def require_read(given: Section, kind: str) -> None:
    """Raise ValueError for a key that was set and that no reader of the format `kind` looks at."""
    for key, formats in _READ_BY.items():
        if key in given.model_fields_set and kind not in formats:
            raise ValueError(
                f"{key} does nothing with format: {kind}, only with {' or '.join(formats)}: remove it, or mend format"
            )


class TablesSettings(Section):
    """Where the Delta tables are: a folder (`root`), or a schema of a catalogue (`catalog: main.movies`)."""

    root: str | None = Field(default=None, min_length=1)
    """a folder or URI: `data/movies`, `s3a://…`, `abfss://…`, `hdfs://…`"""
    catalog: Annotated[str, Field(pattern=r"^[^`\s]+$")] | None = None
    """`catalog.schema`, of Unity or a Hive metastore, in place of a folder"""

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.root is None) == (self.catalog is None):
            raise ValueError("give either root (a folder or URI) or catalog (catalog.schema), not both or none")
        return self


class MlflowSettings(Section):
    """Tracking and registry; without URIs they live in SQLite beside the tables."""

    tracking_uri: str | None = None
    """default: `mlflow.db` beside the tables"""
    registry_uri: str | None = None
    """where the registry is another server than the tracking one"""
    experiment: str | None = None
    """default: the name of the pipeline"""


class KeysSettings(Section):
    """The type of ids. Ids with leading zeros or letters are strings."""

    user_id: KeyType = "long"
    """whole numbers, or text as it is written"""
    item_id: KeyType = "long"
    """the same of items; fixed when the tables are created"""


class EventColumns(Section):
    """Which column of the source is what; `weight` and `kind` may be absent."""

    user_id: str
    """column of the user"""
    item_id: str
    """column of the item"""
    time: str
    """column of the time, which `events.time` says how to read"""
    weight: str | None = None
    """column of a rating or a quantity; without it all events weigh 1"""
    kind: str | None = None
    """column of the kind of event, weighed by `kinds`"""


class EventsSettings(Section):
    """How the source of events looks and which of its values are believable."""

    format: Literal["csv", "json", "parquet", "delta"] = "csv"
    """of files and folders; a table or database needs none"""
    separator: str = Field(default=",", min_length=1, max_length=8)
    """between the columns of CSV"""
    quote: str = Field(default='"', max_length=1, description="empty for files that quote nothing")
    encoding: Encoding = "UTF-8"
    """of CSV"""
    fields: list[str] | None = Field(default=None, description="names of the fields of a file without header")
    columns: EventColumns
    time: str = Field(
        default="epoch_seconds",
        description="epoch_seconds, epoch_millis, iso, or a Spark datetime pattern such as yyyy-MM-dd HH:mm:ss",
    )
    weight_range: tuple[FiniteFloat, FiniteFloat] = (0.0, 1_000_000.0)
    """a weight outside of it is quarantined"""
    kinds: dict[str, FiniteFloat] | None = Field(default=None, description="weight of each kind of event")
    not_before: int = Field(default=1970, ge=1900, le=2100, description="earliest believable year")
    future_tolerance: Duration = timedelta(days=1)
    """a time that is further ahead than this is quarantined"""
    query: str | None = Field(default=None, description="SQL for a database source")
    table: str | None = Field(default=None, min_length=1, description="a PostgreSQL table: only what is new is read")
    partitions: int = Field(default=8, ge=1, le=1000, description="connections that read the table at once")
    max_bad_share: Fraction = 0.2
    """an ingest with more bad rows than this changes no history"""

    @field_validator("time")
    @classmethod
    def _says_a_date(cls, how: str) -> str:
        return how if how in ("epoch_seconds", "epoch_millis", "iso") else require_dates(how)

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        require_read(self, self.format)
        if self.columns.kind and not self.kinds:
            raise ValueError("columns.kind needs kinds: a weight for each kind of event")
        if self.kinds is not None and not self.columns.kind:
            raise ValueError("kinds does nothing without columns.kind, the column that says which kind an event is")
        if "weight_range" in self.model_fields_set and not (self.columns.weight or self.columns.kind):
            raise ValueError("weight_range does nothing without columns.weight or columns.kind; all events weigh 1")
        if "partitions" in self.model_fields_set and not self.table:
            raise ValueError("partitions does nothing without table, the PostgreSQL table that is read in parts")
        if self.columns.kind and self.columns.weight:
            raise ValueError("give columns.weight or columns.kind, not both")
        if self.query and self.table:
            raise ValueError("give query (all of it is read) or table (what is new is read), not both")
        low, high = self.weight_range
        if not low < high:
            raise ValueError(f"weight_range is [lowest, highest], found [{low}, {high}]")
        if self.fields and (missing := set(self.source_columns()) - set(self.fields)):
            raise ValueError(f"columns {sorted(missing)} are not among fields {self.fields}")
        return self

    def source_columns(self) -> list[str]:
        """The mapped columns of the source, in a fixed order."""
        named = self.columns
        return [c for c in (named.user_id, named.item_id, named.time, named.weight, named.kind) if c]


class ItemsSettings(Section):
    """The catalogue file with titles, used by `show` and the demo; scoring does not need it."""

    format: Literal["csv", "json", "parquet", "delta"] = "csv"
    """of the catalogue file"""
    separator: str = Field(default=",", min_length=1, max_length=8)
    """between the columns of CSV"""
    quote: str = Field(default='"', max_length=1)
    """around values of CSV"""
    encoding: Encoding = "UTF-8"
    """of CSV"""
    fields: list[str] | None = None
    """names of the fields of a file without header"""
    item_id: str
    """column of the item"""
    title: str
    """column of the title that `show` prints"""
    genres: str | None = None
    """column of genres"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        require_read(self, self.format)
        return self


class HistoriesSettings(Section):
    """The shape of `user_history`. `buckets` is fixed when the tables are created."""

    max_items: int = Field(default=1000, ge=1, le=1_000_000)
    """a model is shown so many of the newest items; older ones stay excluded"""
    buckets: int = Field(default=64, ge=1, le=100_000)
    """parts of the table that slices and fractions count in; fixed when the table is created"""


class InputSettings(Section):
    """A table of features to score instead of `user_history`, for a model that is no recommender."""

    path: str | None = None
    """a folder or URI of features"""
    table: str | None = None
    """a table of a catalogue, in place of a folder"""
    format: Literal["delta", "parquet"] = "delta"
    """of the folder"""
    key: str
    """column of the id, unique; its type is `keys.user_id`"""
    columns: list[str] = Field(
        default=[], description="for a model whose inputs have no names: which they are, in order"
    )

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.path is None) == (self.table is None):
            raise ValueError("give either path or table, not both or none")
        return self


class SplitSettings(Section):
    """The temporal hold-out: the last `holdout` of all events (`time`) or of each user's (`user`)."""

    by: Literal["time", "user"] = "time"
    """the last events of all, or of each user"""
    holdout: float = Field(default=0.2, gt=0, lt=1)
    """share of the events that versions are tested on"""
    seed: int = Field(default=0, ge=0, le=2**32 - 1, description="decides between events of one moment")


class TrainSettings(Section):
    """How `scoreline train` makes a model."""

    estimator: EstimatorName = "item_neighbours"
    """[the shipped models](models.md)"""
    params: dict[str, float | int | str | bool | None] = Field(
        default={}, description="of the estimator: scoreline train --help-estimator NAME"
    )
    split: SplitSettings = SplitSettings()
    metric: Literal["ndcg_at_10", "recall_at_20"] = "ndcg_at_10"
    """by which versions are compared"""
    promote_margin: Fraction = 0.02
    """a version that is worse than the champion by more than this part is not promoted"""
    min_test_users: int = Field(default=20, ge=1, description="a figure of fewer users promotes no version")
    max_users: int | None = Field(default=None, ge=1, description="train on a sample of so many users")

    @field_validator("params", mode="before")
    @classmethod
    def _of_the_estimator(cls, given: Any, info: ValidationInfo) -> Any:
        if not given or not isinstance(given, dict) or "estimator" not in info.data:
            return given
        # what an estimator is brings NumPy along: imported only where somebody sets a parameter
        from scoreline.models.artifacts import ESTIMATORS
        from scoreline.models.parameters import numbers, problems

        name, params = info.data["estimator"], numbers({str(key): value for key, value in given.items()})
        schema = ESTIMATORS[name].parameters
        if found := problems(schema, params, of=name):
            kinds = {key: "parameter" if key in schema.model_fields else "unknown_parameter" for key in found}
            wrong: list[InitErrorDetails] = [
                {"type": PydanticCustomError(kinds[key], "{said}", {"said": said}), "loc": (key,), "input": params[key]}
                for key, said in found.items()
            ]
            raise ValidationError.from_exception_data(name, wrong)
        return params


class ModelSettings(Section):
    """Which MLflow model is scored, and how a new version of it is trained."""

    uri: str = Field(pattern=r"^(models:/|runs:/|[./A-Za-z])", description="models:/name@alias, models:/name/3, …")
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = Field(
        default=None, description="digest of the model's folder; what differs is not loaded"
    )
    require_digest: bool = Field(default=False, description="load no model whose digest nobody has recorded")
    allow: list[str] | None = Field(
        default=None, description="patterns such as models:/movies@*; a model from elsewhere is refused"
    )
    train: TrainSettings = TrainSettings()
    folder: str | None = Field(default=None, description="where fetched versions are kept; default: beside the tables")
    shared: bool = Field(default=False, description="every node of the cluster sees that folder (a mounted volume)")


class ScoringSettings(Section):
    """What is asked of the model, and how a run works through the users."""

    k: int = Field(default=20, ge=1, le=10_000)
    """items per list"""
    exclude_seen: bool = True
    """recommend nothing that the user has met, however long ago"""
    allowed_items: str | None = Field(default=None, description="file or table with the only items to recommend")
    blocked_items: str | None = Field(default=None, description="file or table with items never to recommend")
    params: dict[str, bool | int | float | str] = Field(default={}, description="for other params of the model")
    max_age: Duration | None = None
    """a row that is older is due again: `7d`, `36h`; null: age alone makes nobody due"""
    slice_users: int = Field(default=500_000, ge=1)
    """users that are staged at once; an interrupted run loses at most one slice"""
    batch_rows: int = Field(default=65_536, ge=1, le=1_000_000, description="at most so many rows at once")
    batch_mib: int = Field(default=8, ge=1, le=1_024, description="and at most so many MiB, from Spark 4.1 on")
    batch_timeout: Duration | None = Field(
        default=timedelta(minutes=10), description="longest a model may take to load, and to answer for a batch"
    )
    row_timeout: Duration = Field(
        default=timedelta(seconds=30), description="the same for one user, once the one that hangs is looked for"
    )
    worker_memory_share: Fraction | None = Field(
        default=0.4, description="of the machine's memory, what one worker may take for a batch"
    )


GateName = Literal[
    "max_failed_share", "max_empty_share", "max_short_share", "max_fallback_share", "max_top_item_share",
    "min_distinct_items", "min_overlap", "max_overlap", "max_psi", "min_users_share",
]  # fmt: skip


class AuditSettings(Section):
    """Limits outside of which a run is not published. None switches a limit off; those in `warn` only warn."""

    max_failed_share: Fraction = 0.001
    """of the users that were to be scored"""
    max_failed_floor: int = Field(
        default=5, ge=0, description="so many failures are tolerated, up to a tenth of the users"
    )
    max_empty_share: Fraction | None = 0.01
    """of the lists; null: no limit, as with the shares below"""
    max_short_share: Fraction | None = Field(default=None, description="of lists with fewer than scoring.k items")
    max_fallback_share: Fraction | None = None
    """of the lists that are popular items alone"""
    max_top_item_share: Fraction | None = None
    """of the lists that the most frequent item is in"""
    min_distinct_items: int | None = Field(default=None, ge=1, description="different items in the sampled lists")
    min_overlap: Fraction | None = None
    """mean share of a list that was in the one it replaces"""
    max_overlap: Fraction | None = Field(default=None, description="1 for everybody means that nothing moved")
    max_psi: float | None = Field(
        default=None, gt=0, description="population stability index of the scores against those replaced"
    )
    min_users_share: Fraction | None = Field(
        default=0.5, description="users there are now, as a share of the users published before"
    )
    warn: list[GateName] = Field(default=[], description="limits that warn instead of refusing")
    verify_every: Duration | None = Field(
        default=timedelta(days=7), description="so often all keys are compared, even where the logs say who is due"
    )
    sample_users: int = Field(default=20_000, ge=1, description="users read for what is measured on lists and scores")

    @model_validator(mode="after")
    def _warns_of_something(self) -> Self:
        if off := [name for name in self.warn if getattr(self, name) is None]:
            raise ValueError(f"warn names {', '.join(off)}, which is switched off: give it a limit")
        return self

    def tolerated(self, users: int, among: int | None = None) -> int:
        """How many of so many users may fail; of `among` users in all the floor is at most a tenth, None for no bound.

        A few who fail each night may be all that are due; where a tenth of everybody fails, the model is broken.
        """
        floor = self.max_failed_floor if among is None else min(self.max_failed_floor, among // 10)
        return max(floor, int(self.max_failed_share * users))


class ExportSettings(Section):
    """The application's database. Passwords come by `${ENV}`."""

    url: SecretStr
    """`sqlite:///…`, `postgresql://…`, any SQLAlchemy dialect, `dynamodb://…`; passwords by `${NAME}`"""
    table: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")] = "recommendations"
    """the table there"""


class Settings(Section):
    """One pipeline: `conf/<name>.yaml`."""

    name: Name
    """of the pipeline; stands in commits, MLflow runs and the lock"""
    tables: TablesSettings
    mlflow: MlflowSettings = MlflowSettings()
    keys: KeysSettings = KeysSettings()
    events: EventsSettings | None = None
    items: ItemsSettings | None = None
    histories: HistoriesSettings = HistoriesSettings()
    input: InputSettings | None = None
    model: ModelSettings
    scoring: ScoringSettings = ScoringSettings()
    audit: AuditSettings = AuditSettings()
    export: ExportSettings | None = None
    spark: dict[str, str | int | float | bool] = Field(
        default={}, description="spark.* settings, passed on as they are"
    )

    @model_validator(mode="after")
    def _spark_keys(self) -> Self:
        if wrong := [key for key in self.spark if not key.startswith("spark.")]:
            raise ValueError(f"keys of spark start with 'spark.', found {wrong}")
        return self

    @property
    def home(self) -> Path:
        """The local folder for what is not a Delta table: MLflow's embedded store, the lock, fetched models."""
        # one place, and one lock in it, however the folder is spelled
        root = (self.tables.root or "://").removeprefix("file://").removeprefix("file:")
        if "://" not in root:
            return Path(root).expanduser().absolute()
        return Path.home() / ".scoreline" / self.name

    @property
    def model_folder(self) -> Path:
        return Path(self.model.folder).expanduser().absolute() if self.model.folder else self.home / "models"

    @property
    def tracking_uri(self) -> str:
        return self.mlflow.tracking_uri or f"sqlite:///{self.home / 'mlflow.db'}"

    @property
    def experiment(self) -> str:
        return self.mlflow.experiment or self.name


def fingerprint(value: Any) -> str:
    """A short stable hash of anything JSON can hold.

    >>> fingerprint({"k": 20}) == fingerprint({"k": 20}), len(fingerprint([]))
    (True, 16)
    """
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]
