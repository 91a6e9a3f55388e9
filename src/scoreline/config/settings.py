"""What a pipeline's YAML file may say: one frozen model of sections, an unknown key is an error.

Nothing here reads a file or the environment (`scoreline.config.loading` does) and nothing starts Spark. The larger
sections have modules of their own.
"""

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, SecretStr, model_validator

from scoreline.config.model import ModelSettings
from scoreline.config.monitoring import LineageSettings, MetricsSettings
from scoreline.config.scoring import AuditSettings, ScoringSettings
from scoreline.config.section import Duration, Fraction, Section
from scoreline.config.sources import EventsSettings, InputSettings, ItemsSettings, KeysSettings
from scoreline.config.watch import WatchSettings

__all__ = [
    "AuditSettings", "EventsSettings", "ExportSettings", "FreshnessSettings", "HistoriesSettings", "InputSettings",
    "ItemsSettings", "KeysSettings", "LineageSettings", "MetricsSettings", "MlflowSettings", "ModelSettings",
    "NotifySettings", "Occasion", "ScoringSettings", "Settings", "TablesSettings",
    "WatchSettings",
]  # fmt: skip

Occasion = Literal["refused", "failed", "stale", "recovered", "published"]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=128)]


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


class HistoriesSettings(Section):
    """The shape of `user_history`. `buckets` is fixed when the tables are created."""

    max_items: int = Field(default=1000, ge=1, le=1_000_000)
    """a model is shown so many of the newest items; older ones stay excluded"""
    buckets: int = Field(default=64, ge=1, le=100_000)
    """parts of the table that slices and fractions count in; fixed when the table is created"""


class FreshnessSettings(Section):
    """What is promised of the published rows; `status`, its exit code with `--check`, and `doctor` say if it is broken.

    A row is as old as the last moment at which it is known to have been right: when it was scored, or when a later run
    found nobody due.
    """

    max_age: Duration
    """how old a row may be: `26h` for a nightly run and a margin"""
    share: Fraction = 0.99
    """of the users, how many have a row that is younger"""


class NotifySettings(Section):
    """Who is told how a command ended, through Apprise (extra `notify`). A message that fails, fails nothing."""

    to: Annotated[tuple[SecretStr, ...], Field(min_length=1)]
    """addresses as [Apprise](https://appriseit.com/) writes them: Slack, Teams, mail, a webhook (`jsons://host/path`),
    and 100 more; with their secrets, so by `${NAME}`"""
    on: tuple[Occasion, ...] = ("refused", "failed", "stale", "recovered")
    """of `refused`, `failed` (also interrupted, told by the next command), `stale` (found by `status --check`),
    `recovered` (the first good end after a bad one; of a run that it published), `published`"""


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
    engine: Literal["auto", "embedded", "spark"] = "auto"
    """`embedded` computes without Java, on tables of this machine; `auto` does where that can be, else `spark`
    (docs/engines.md)"""
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
    freshness: FreshnessSettings | None = None
    notify: NotifySettings | None = None
    metrics: MetricsSettings | None = None
    lineage: LineageSettings | None = None
    export: ExportSettings | None = None
    watch: WatchSettings | None = None
    spark: dict[str, str | int | float | bool] = Field(
        default={}, description="spark.* settings, passed on as they are"
    )

    @model_validator(mode="after")
    def _spark_keys(self) -> Self:
        if wrong := [key for key in self.spark if not key.startswith("spark.")]:
            raise ValueError(f"keys of spark start with 'spark.', found {wrong}")
        return self

    @model_validator(mode="after")
    def _watched_steps(self) -> Self:
        for trigger in self.watch.triggers if self.watch else ():
            if "export" in trigger.steps and self.export is None:
                raise ValueError(f"watch.triggers: {trigger.name} has the step export, which needs the section export")
            if "ingest" not in trigger.steps or (trigger.files and self.events):
                continue
            needed = ("source",) if trigger.source else ("source", "files")
            if self.events is None or not any(getattr(self.events, key) for key in needed):
                keys = " or ".join(f"events.{key}" for key in needed)
                raise ValueError(f"watch.triggers: {trigger.name} has the step ingest, which needs {keys}")
        return self

    @model_validator(mode="after")
    def _watched_session(self) -> Self:
        for trigger in self.watch.triggers if self.watch else ():
            if trigger.spark and self.engine != "spark":
                raise ValueError(
                    f"watch.triggers: {trigger.name} has settings of Spark, which need engine: spark; "
                    f"found {self.engine}"
                )
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
