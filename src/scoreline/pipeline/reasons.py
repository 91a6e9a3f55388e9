"""Why users failed, in a few lines: what a run that is refused says, so that nobody has to look into its rows first."""

from pyspark.sql import DataFrame, Row
from pyspark.sql import functions as F

from scoreline.tables.names import USER_ID

_MOST = 3
_LENGTH = 300
_VARYING = (
    r"'[^']*'|\"[^\"]*\"|-?\d+(\.\d+)?"  # values and numbers in a message: without them two users' are one reason
)


def why_failed(staged: DataFrame) -> str:
    """The most frequent reasons among the failed rows, each with its count and a user; empty if nobody failed.

    Users who were not tried have no reason of their own, and come last.
    """
    failed = staged.where(F.col("outcome") == "failed")
    example = F.min(F.struct(F.col(USER_ID).cast("string").alias("user"), F.col("message")))
    reason = F.regexp_replace(F.coalesce("message", F.lit("")), _VARYING, "?")
    counted = failed.groupBy("code", reason.alias("reason")).agg(F.count(F.lit(1)).alias("users"), example.alias("one"))
    ordered = counted.orderBy(F.col("code") == "NOT_TRIED", F.col("users").desc(), "code", "reason")
    found = ordered.limit(_MOST + 1).collect()
    lines = [f"  - {row['users']} x {row['code']}: {_said(row['one'])}" for row in found[:_MOST]]
    more = ["  - and others"] if len(found) > _MOST else []
    return "\n".join(["Why users failed:", *lines, *more]) if lines else ""


def _said(one: Row) -> str:
    text = " ".join((one["message"] or "").split())
    return f"{text if len(text) <= _LENGTH else f'{text[:_LENGTH]} ...'} (user {one['user']})"
