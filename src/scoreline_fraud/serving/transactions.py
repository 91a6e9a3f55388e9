"""What the card system may post, and what it gets back."""

import re
from datetime import UTC, datetime
from typing import Annotated, Final, Literal, TypedDict

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError

__all__ = ["DECISIONS", "Answer", "Decision", "Transaction", "parse", "safe_id"]

Decision = Literal["allow", "review", "deny"]
DECISIONS: Final[tuple[Decision, ...]] = ("allow", "review", "deny")

ID_PATTERN: Final = r"^[A-Za-z0-9_.:\-]{1,64}$"
LARGEST_AMOUNT: Final = 10_000_000.0
LARGEST_COUNT: Final = 1_000_000
EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)

_safe_id = re.compile(ID_PATTERN + r"\Z")
_iso_text = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?(Z|[+-]\d\d:\d\d)\Z")


def _moment(value: object) -> datetime:
    """An ISO 8601 text with its zone, as UTC; numbers and bare dates are refused, for they mean several things."""
    if isinstance(value, datetime):
        return value
    if not isinstance(value, str) or not _iso_text.match(value):
        raise ValueError("expected ISO 8601 with date, time and zone")
    moment = datetime.fromisoformat(value)
    if not EARLIEST.year - 1 <= moment.year <= LATEST.year:
        raise ValueError("expected a year from 2000 to 2099")
    return moment.astimezone(UTC)


Id = Annotated[str, StringConstraints(pattern=ID_PATTERN)]
Amount = Annotated[float, Field(ge=0, le=LARGEST_AMOUNT)]


class Transaction(BaseModel):
    """One payment to be judged. Every number is bounded, nothing is cast, nothing unknown is accepted."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False, hide_input_in_errors=True)

    transaction_id: Id
    card_id: Id
    terminal_id: Id
    amount: Amount
    occurred_at: Annotated[AwareDatetime, BeforeValidator(_moment), Field(ge=EARLIEST, lt=LATEST)]
    card_count_24h: int | None = Field(default=None, ge=0, le=LARGEST_COUNT)
    """Payments of this card in the 24 hours before this one, as the card system counts them."""
    card_amount_24h: Amount | None = None
    """Their sum."""


class Answer(TypedDict):
    """One row of the response."""

    transaction_id: str | None
    fraud_probability: float | None
    decision: Decision
    reasons: list[str]
    model_version: str
    features_as_of: str | None


def safe_id(raw: object) -> str | None:
    """The posted transaction's id if it is a well-formed one, so that an answer never mirrors arbitrary input.

    >>> safe_id({"transaction_id": "t-1"}), safe_id({"transaction_id": "<script>"}), safe_id(7)
    ('t-1', None, None)
    """
    value: object = raw.get("transaction_id") if isinstance(raw, dict) else None
    return value if isinstance(value, str) and _safe_id.match(value) else None


def parse(raw: object) -> Transaction | tuple[str, ...]:
    """The transaction, or why it is none: reasons that name our own fields and never repeat what was posted.

    >>> parse({"transaction_id": "t-1", "amount": float("nan"), "pan": "4111"})
    ('invalid:card_id', 'invalid:terminal_id', 'invalid:amount', 'invalid:occurred_at', 'invalid:unknown_field')
    >>> parse("hello")
    ('invalid:not_an_object',)
    """
    if not isinstance(raw, dict):
        return ("invalid:not_an_object",)
    try:
        return Transaction.model_validate(raw)
    except ValidationError as error:
        fields = (str(problem["loc"][0]) if problem["loc"] else "" for problem in error.errors(include_input=False))
        known = (name if name in Transaction.model_fields else "unknown_field" for name in fields)
        return tuple(dict.fromkeys(f"invalid:{name}" for name in known))
