"""When users become due next, by the tables' logs, the run log and the settings; no row is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from scoreline.runs.freshness import Freshness
from scoreline.runs.rows import logged
from scoreline.tables.commit_note import Publication
from scoreline.tables.history import NON_DATA_OPERATIONS, Commit, published_commit
from scoreline.tables.reading import Readers, TableReader

__all__ = ["NextDue", "next_due"]


@dataclass(frozen=True)
class NextDue:
    """Why users are due `now`, empty if nobody is known to be; `at`: when the oldest row is too old, None if never.

    unknown: no run has looked at all users since what readers see was published, so somebody may be due.

    What only MLflow or files know, such as a model that was promoted elsewhere or other rules, `plan` finds.
    """

    now: tuple[str, ...]
    at: datetime | None
    unknown: bool = False

    def __str__(self) -> str:
        if self.now:
            return f"now: {'; '.join(self.now)}"
        if self.unknown:
            return (
                "not known until the next run or plan: no run has looked at all users since what readers see was "
                "published"
            )
        if self.at:
            return f"{self.at:%Y-%m-%d %H:%M:%S} UTC by age (scoring.max_age), or with news before"
        return "with news: events, another model version, other rules"


def next_due(readers: Readers, target: TableReader | None, freshness: Freshness | None, *, now: datetime) -> NextDue:
    """When the next users are due; `freshness` is that of the published rows, `target` their table."""
    if target is None or freshness is None or (shown := published_commit(target.commits())) is None:
        return NextDue(("nothing is published yet",), None)
    longest = readers.settings.scoring.max_age
    at = freshness.oldest + longest if freshness.oldest and longest else None
    reasons = [
        *([f"{freshness.failed:,} users whom the model failed for"] if freshness.failed else []),
        *(_news(readers, shown.published, freshness.known_at) if shown.published else ()),
        *(["rows are older than scoring.max_age"] if at and at <= now else ()),
    ]
    return NextDue(tuple(reasons), at, unknown=freshness.known_at is None)


def _news(readers: Readers, made: Publication, known_at: datetime | None) -> Sequence[str]:
    """What has come since the publication `made`, and since a run saw that all rows were right."""
    found = []
    history = readers.table("user_history")
    if readers.settings.input is None and history.exists() and made.input_version is not None:
        newest = _changed(history.commits())
        if newest and newest.version > made.input_version and (known_at is None or newest.at > known_at):
            found.append(f"user_history has changed since (it is at version {newest.version})")
    model, published = _promoted(readers), f"{made.model} version {made.model_version}"
    if model is not None and model != published and readers.settings.model.uri.startswith(f"models:/{made.model}@"):
        found.append(f"{model} was promoted since")
    return found


def _changed(commits: Sequence[Commit]) -> Commit | None:
    return next((commit for commit in commits if commit.operation not in NON_DATA_OPERATIONS), None)


def _promoted(readers: Readers) -> str | None:
    """The model that the run log has promoted last."""
    where = {"kind": ["train", "promote"], "state": ["done"]}
    rows = logged(readers, ["kind", "model", "started_at", "figures"], where=where)
    moved = [row for row in rows if row["kind"] == "promote" or row["figures"].get("promoted")]
    return max(moved, key=lambda row: row["started_at"])["model"] if moved else None
