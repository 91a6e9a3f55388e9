"""What is read, and how it looks: events, the catalogue of items, a table of features; the type of all ids."""

import codecs
import re
from datetime import timedelta
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, FiniteFloat, SecretStr, field_validator, model_validator

from scoreline.config.section import Duration, Fraction, Section

KeyType = Literal["long", "string"]
LONGEST_ID = 255  # characters of an id: with four bytes each, 1,020, they fit into the key of every database here


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


class MarkSettings(Section):
    """By which column of `events.table` rows are told new; without it PostgreSQL tells by transactions."""

    column: str = Field(min_length=1)
    """a number or a time that is higher in a later row"""
    overlap: Annotated[int, Field(ge=0)] | Duration | None = Field(
        default=None,
        description="how far below the highest value read each reading begins: a whole number, or a duration where the "
        "column is a time; null: 1000, or 10m. What commits later than that is lost",
    )


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
    table: str | None = Field(default=None, min_length=1, description="a database's table: only what is new is read")
    mark: MarkSettings | None = None
    source: SecretStr | None = Field(
        default=None,
        description="database's URL, Delta table or `kafka://HOST:PORT/TOPIC` that `ingest --new` takes new rows of",
    )
    kafka: dict[str, SecretStr] = Field(
        default={}, description="options of Kafka's clients, such as `security.protocol`; passwords by `${NAME}`"
    )
    files: str | None = Field(default=None, description="folder or pattern that `ingest --new` takes new files of")
    settle: Duration = timedelta(seconds=30)
    """a file that was changed more lately may still be written: `ingest --new` leaves it for next time"""
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
        if "partitions" in self.model_fields_set and (self.mark or not self.table):
            raise ValueError("partitions does nothing without table and with mark: PostgreSQL's table is read in parts")
        if self.mark and not self.table:
            raise ValueError("mark does nothing without table, the database's table that has the column")
        if self.files and self.source:
            raise ValueError("give files or source, which ingest --new takes; name the other one: ingest --new NAME")
        is_kafka = self.source is not None and self.source.get_secret_value().startswith("kafka://")
        if self.kafka and not is_kafka:
            raise ValueError("kafka does nothing without source: kafka://HOST:PORT/TOPIC")
        if is_kafka and (self.query or self.table):
            raise ValueError("query and table do nothing with a source that is a topic of Kafka; remove them")
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
