"""Which model is scored, and how a new version of it is made."""

from typing import Annotated, Literal

from pydantic import Field, ValidationError, ValidationInfo, field_validator
from pydantic_core import InitErrorDetails, PydanticCustomError

from scoreline.config.estimator_names import EstimatorName
from scoreline.config.section import Fraction, Section


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
    def _of_the_estimator(cls, given: object, info: ValidationInfo) -> object:
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
