"""The rules a served model follows: logged with it as defaults, replaced at serving time without retraining.

They travel as MLflow's `model_config`: the dictionary in the model's `MLmodel` file, overridden key by key by the
environment variable `SERVING_MODEL_CONFIG`.
"""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from scoreline_fraud.serving.decisions import Band, Bands
from scoreline_fraud.serving.errors import ServingError

__all__ = ["FeatureRules", "Limits", "MetricsRules", "ServingRules", "Shadow", "rules_of"]


class _Frozen(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FeatureRules(_Frozen):
    """Where the snapshot is and how old it may be."""

    snapshot: Path | None = None
    max_age_hours: float = Field(default=36, gt=0)
    recheck_s: float = Field(default=1.0, ge=0)


class Limits(_Frozen):
    """What a request may hold before it is only reviewed."""

    max_rows: int = Field(default=100, gt=0, le=10_000)
    largest_amount: float = Field(default=20_000.0, gt=0)
    max_clock_difference_s: float | None = Field(default=900.0, gt=0)
    """Between `occurred_at` and the server's clock; None to replay the past."""


class Shadow(_Frozen):
    """A challenger that scores along, seen only in `log`."""

    model: Path
    log: Path
    queue: int = Field(default=1000, gt=0)


class MetricsRules(_Frozen):
    """Where Prometheus finds the figures; workers share a port: the first one answers for all."""

    port: int | None = Field(default=None, gt=0, lt=65_536)
    host: str = "127.0.0.1"


class ServingRules(_Frozen):
    """All of them."""

    decisions: Bands = Bands(
        bands=(
            Band(below=100, review=0.5, deny=0.9),
            Band(below=1000, review=0.3, deny=0.8),
            Band(review=0.1, deny=0.6),
        )
    )
    features: FeatureRules = FeatureRules()
    limits: Limits = Limits()
    metrics: MetricsRules = MetricsRules()
    shadow: Shadow | None = None
    model_version: str | None = None
    """What answers call the model; by default the registered version that was loaded."""


def rules_of(config: dict[str, object] | None) -> ServingRules:
    """The rules in a model's configuration; an unknown key or a wrong value is an error that names it.

    >>> rules_of({"limits": {"max_row": 5}})
    Traceback (most recent call last):
    scoreline_fraud.serving.errors.ServingError: model_config: limits.max_row: Extra inputs are not permitted
    """
    try:
        return ServingRules.model_validate(config or {})
    except ValidationError as error:
        first = error.errors(include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ServingError(f"model_config: {where}: {first['msg']}") from None
