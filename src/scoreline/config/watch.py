"""The section `watch`: what starts steps by itself, and where an application may ask for them."""

from datetime import timedelta
from ipaddress import ip_address
from typing import Annotated, Literal, Self, get_args
from zoneinfo import ZoneInfo

from pydantic import Field, SecretStr, field_validator, model_validator

from scoreline.config.section import Duration, Fraction, Section

__all__ = ["HttpSettings", "Step", "TriggerSettings", "WatchSettings", "is_loopback"]

Step = Literal["ingest", "train", "run", "export", "optimize", "vacuum"]  # in the order in which they are done
_KINDS = ("at", "files", "source", "table", "model", "signal", "webhook")
# what else a trigger may say, by the kinds that look at it
_SAID_BY = {
    "timezone": ("at",),
    "grace": ("at",),
    "settle": ("files",),
    "every": ("files", "source", "table", "model"),
    "debounce": ("signal", "webhook"),
}
_ORDER: tuple[Step, ...] = get_args(Step)
_OURS = ("user_history", "items", "recommendations", "predictions", "quarantine")  # tables of a pipeline
_SHORTEST = 16
# of a Spark session: what may be set while it is there
_MAY_CHANGE = ("spark.sql.", "spark.databricks.")
_FIXED = ("spark.sql.catalog.", "spark.sql.catalogImplementation", "spark.sql.extensions", "spark.sql.warehouse.dir")


class TriggerSettings(Section):
    """What starts `steps`: one of `at`, `files`, `source`, `table`, `model`, `signal` and `webhook`."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]*$", max_length=64)]
    """of the trigger; stands in log lines, and for a signal in its address: `/signals/NAME`"""
    at: str | None = Field(default=None, description='a time of the day, as cron writes it: `"30 2 * * *"`')
    timezone: str = "UTC"
    """of `at`: `Europe/Berlin`; both nights of daylight saving as cron does"""
    grace: Duration = timedelta(hours=1)
    """a time that was missed while nothing watched is made up for if it was not longer ago"""
    files: str | None = Field(default=None, description="a folder or pattern: when a file there is new or has changed")
    settle: Duration | None = Field(default=None, description="in place of `events.settle`, for these files")
    source: Literal["events"] | None = Field(
        default=None, description="`events`: `events.source` is asked for news every so often"
    )
    table: str | None = Field(
        default=None,
        min_length=1,
        description="`user_history` or a folder with a Delta table: when it has a new version",
    )
    model: Literal["alias"] | None = Field(
        default=None, description="`alias`: when what `model.uri` names is another version"
    )
    signal: Literal[True] | None = Field(default=None, description="`true`: when somebody posts to `/signals/NAME`")
    webhook: SecretStr | None = Field(
        default=None, description="the secret of an MLflow webhook that posts to `/webhooks/NAME`, by `${NAME}`"
    )
    debounce: Duration = timedelta(seconds=2)
    """signals that come within it of the first are answered by one run"""
    every: Duration | None = Field(
        default=None, description="how often is looked: `5s` by itself, a `source` `5m`, a place elsewhere `1m`"
    )
    steps: Annotated[tuple[Step, ...], Field(min_length=1)]
    """in this order; one that fails ends the chain: `[ingest, run, export]`"""
    fraction: Fraction | None = Field(default=None, gt=0, description="of the run, as `run --fraction`")
    budget: Duration | None = Field(default=None, description="of the run, as `run --budget`")
    spark: dict[str, str | int | float | bool] = Field(
        default={}, description="`spark.sql.*` settings of the session while its steps run, over those of `spark`"
    )

    @property
    def kind(self) -> str:
        return next(kind for kind in _KINDS if getattr(self, kind) is not None)

    @field_validator("timezone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (KeyError, OSError, ValueError):  # unknown, a folder, or a name that leads out of it
            raise ValueError(f"{name!r} is no time zone; expected a name such as Europe/Berlin") from None
        return name

    @field_validator("spark")
    @classmethod
    def _may_change(cls, settings: dict[str, str | int | float | bool]) -> dict[str, str | int | float | bool]:
        if wrong := sorted(key for key in settings if not key.startswith(_MAY_CHANGE) or key.startswith(_FIXED)):
            raise ValueError(
                f"{wrong[0]} is fixed when the session starts, which a trigger's steps find there; expected keys that "
                f"begin with {' or '.join(_MAY_CHANGE)}. Say it in the section spark of the pipeline"
            )
        return settings

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        said = [kind for kind in _KINDS if getattr(self, kind) is not None]
        if len(said) != 1:
            raise ValueError(f"a trigger has one of {', '.join(_KINDS)}; found {' and '.join(said) or 'none'}")
        for key, kinds in _SAID_BY.items():
            if key in self.model_fields_set and said[0] not in kinds:
                raise ValueError(f"{key} does nothing with {said[0]}, only with {' or '.join(kinds)}")
        for key in ("fraction", "budget"):
            if key in self.model_fields_set and "run" not in self.steps:
                raise ValueError(f"{key} does nothing without the step run")
        if self.fraction is not None and self.budget is not None:
            raise ValueError("give fraction or budget, not both")
        if list(self.steps) != sorted(set(self.steps), key=_ORDER.index):
            raise ValueError(
                f"steps are done in the order {', '.join(_ORDER)}, each once; found {', '.join(self.steps)}"
            )
        if self.every is not None and self.every < timedelta(seconds=1):
            raise ValueError("every is at least 1s")
        if self.table == "runs":
            raise ValueError("table is runs, to which each step writes a row: it would start itself for ever")
        if self.table is not None and not {"/", "."} & set(self.table) and self.table not in _OURS:
            raise ValueError(
                f"table is {self.table}; expected one of this pipeline ({', '.join(_OURS)}), a folder with a / in its "
                "name, or a table of a catalogue"
            )
        if self.files is not None and "ingest" not in self.steps:
            raise ValueError("files are taken by the step ingest, which steps lacks")
        if self.source is not None and "ingest" not in self.steps:
            raise ValueError("the source is asked by the step ingest, which steps lacks")
        return self


class HttpSettings(Section):
    """Where `scoreline watch` answers: signals, their state, `/healthz` and `/metrics`."""

    host: str = "127.0.0.1"
    """any but loopback asks for a token"""
    port: int = Field(default=8099, ge=0, le=65535)
    """0 takes a free one"""
    token: SecretStr | None = None
    """the bearer token that a caller has to send, by `${NAME}`; `openssl rand -hex 24` makes one"""

    @model_validator(mode="after")
    def _guarded(self) -> Self:
        if self.token is None and not is_loopback(self.host):
            raise ValueError(f"whoever reaches {self.host} could start runs: give token (openssl rand -hex 24)")
        if self.token is not None and len(self.token.get_secret_value()) < _SHORTEST:
            raise ValueError(f"token could be guessed: give it at least {_SHORTEST} characters (openssl rand -hex 24)")
        return self


class WatchSettings(Section):
    """What `scoreline watch` starts, and when (docs/triggers.md)."""

    triggers: Annotated[tuple[TriggerSettings, ...], Field(min_length=1)]
    """each starts its steps by itself; one chain of steps at a time"""
    http: HttpSettings | None = None
    """where an application may ask for a run"""
    retry_for: Duration = timedelta(hours=1)
    """a chain that failed is tried again, with growing pauses, for so long"""
    stop_within: Duration = timedelta(seconds=60)
    """a step that works when `watch` is stopped may go on for so long; then it is abandoned, and taken up next time"""
    memory_share: Fraction = 0.5
    """of the machine's memory: a worker that holds more after a chain is replaced"""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [trigger.name for trigger in self.triggers]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise ValueError(f"two triggers are called {twice[0]}")
        asked = [trigger.name for trigger in self.triggers if trigger.kind in ("signal", "webhook")]
        if asked and self.http is None:
            raise ValueError(f"the trigger {asked[0]} needs http: {{port: 8099}}, where it is posted to")
        return self


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches it.

    >>> is_loopback("127.0.0.1"), is_loopback("::1"), is_loopback("localhost"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
