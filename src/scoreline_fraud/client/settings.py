"""How long the client waits for the model, and what it decides without it."""

from pydantic import BaseModel, ConfigDict, Field, model_validator

from scoreline_fraud.serving.transactions import Decision

__all__ = ["ClientSettings", "Fallback"]


class Fallback(BaseModel):
    """What to do without the model: allow up to `allow_up_to`, deny from `deny_from`, review between."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    allow_up_to: float = Field(default=30.0, ge=0)
    deny_from: float = Field(default=500.0, gt=0)

    @model_validator(mode="after")
    def _in_order(self) -> "Fallback":
        if self.allow_up_to >= self.deny_from:
            raise ValueError("allow_up_to must be below deny_from")
        return self

    def decide(self, amount: object) -> Decision:
        """By amount alone; what is no amount is reviewed.

        >>> [Fallback().decide(amount) for amount in (10, 100, 1000, float("nan"), "10", None, -5)]
        ['allow', 'review', 'deny', 'review', 'review', 'review', 'review']
        """
        if isinstance(amount, bool) or not isinstance(amount, (int, float)):
            return "review"
        if amount >= self.deny_from:
            return "deny"
        return "allow" if 0 < amount <= self.allow_up_to else "review"


class ClientSettings(BaseModel):
    """Where the server is and how long to wait for it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    url: str = "http://127.0.0.1:5001/invocations"
    connect_timeout_s: float = Field(default=0.2, gt=0)
    read_timeout_s: float = Field(default=0.5, gt=0)
    deadline_s: float = Field(default=1.0, gt=0)
    """From the call to the decision, retry included."""
    retry_wait_s: float = Field(default=0.03, ge=0)
    """The mean pause before the one retry; the actual one is between nothing and twice that."""
    failures_to_open: int = Field(default=5, gt=0)
    """Failed calls in a row after which the model is not asked any more ..."""
    open_for_s: float = Field(default=10.0, gt=0)
    """... for this long."""
    max_in_flight: int = Field(default=64, gt=0)
    fallback: Fallback = Fallback()
