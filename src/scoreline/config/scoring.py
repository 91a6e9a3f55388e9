"""What a run asks of the model, how it works through the users, and within which limits it publishes."""

from datetime import timedelta
from typing import Literal, Self

from pydantic import Field, model_validator

from scoreline.config.section import Duration, Fraction, Section


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
        default=0.5,
        description="users there are now, as a share of the users published before; and "
        "users with a list in a table that was made anew, as a share of all, before an export sends it",
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
