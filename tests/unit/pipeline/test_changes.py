"""What the logs prove about who is due, and what they do not."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from logs import commit, publication
from scoreline.pipeline.changes import Changes, for_next_run, oldest_row, read_changes
from scoreline.tables.history import Commit

T0 = datetime(2026, 7, 1, tzinfo=UTC)
HOUR = timedelta(hours=1)


def ingest(version: int, hours: int) -> Commit:
    stamp = T0 + hours * HOUR
    return commit(version, stamp, "MERGE", kind="ingest", updated_at=stamp)


def published(
    inputs: list[Commit], *, version: int = 1, complete: bool = True, seen: int = 1, base: int | None = None
) -> Commit:
    told = for_next_run(
        inputs,
        input_version=seen,
        began=T0 + 2 * HOUR,
        complete=complete,
        compared=False,
        whole_table=True,
        known=None,
    )
    note = publication(
        input="histories",
        input_version=seen,
        run_id=f"run {version}",
        model="films",
        model_version="1",
        rules_hash="r",
        base_version=version - 1 if base is None else base,
        **vars(told),
    )
    return Commit(version, T0 + 2 * HOUR, "WRITE", note)


def news(target: list[Commit], inputs: list[Commit], too_old: datetime | None = None) -> Changes | None:
    return read_changes(target, inputs, input_name="histories", too_old=too_old)


def test_commits_behind_the_publication_are_the_news() -> None:
    inputs = [ingest(3, 6), ingest(2, 4), ingest(1, 1)]
    found = news([published(inputs)], inputs)
    assert found is not None
    assert found.since == T0 + 4 * HOUR
    quiet = news([published(inputs)], inputs[-1:])
    assert quiet is not None
    assert quiet.since is None


def test_compaction_is_no_news() -> None:
    inputs = [commit(2, T0 + 5 * HOUR, "OPTIMIZE"), ingest(1, 1)]
    target = [commit(2, T0 + 5 * HOUR, "OPTIMIZE"), published(inputs)]
    found = news(target, inputs)
    assert found is not None
    assert found.since is None


@pytest.mark.parametrize(
    ("target", "inputs", "too_old"),
    [
        pytest.param([], [ingest(1, 1)], None, id="nothing is published"),
        pytest.param([published([ingest(1, 1)], complete=False)], [ingest(1, 1)], None, id="somebody was left due"),
        pytest.param(
            [commit(2, T0, "DELETE"), published([ingest(1, 1)])], [ingest(1, 1)], None, id="rows were deleted"
        ),
        pytest.param(
            [published([ingest(1, 1)])], [commit(2, T0, "DELETE"), ingest(1, 1)], None, id="users were deleted"
        ),
        pytest.param([published([ingest(1, 1)])], [ingest(2, 1), ingest(1, 1)], None, id="the clock stood still"),
        pytest.param([published([ingest(1, 1)])], [ingest(1, 3)], None, id="the table was made anew"),
        pytest.param([published([ingest(1, 1)])], [ingest(3, 4), ingest(2, 3)], None, id="the log is too short"),
        pytest.param([published([ingest(1, 1)])], [ingest(1, 1)], T0 + 2 * HOUR, id="rows are too old"),
        pytest.param(
            [published([ingest(1, 1)], version=3, base=1), commit(2, T0, "DELETE"), published([ingest(1, 1)])],
            [ingest(1, 1)],
            None,
            id="rows were deleted while the run scored",
        ),
        pytest.param(
            [published([ingest(1, 1)], version=3, base=1), published([ingest(1, 1)], version=2)],
            [ingest(1, 1)],
            None,
            id="another run published while this one scored",
        ),
        pytest.param(
            [commit(1, T0, "WRITE", kind="publish", complete=True, input="histories")],
            [ingest(1, 1)],
            None,
            id="an older version of ours wrote the note",
        ),
    ],
)
def test_what_is_not_proven_is_compared(target: list[Commit], inputs: list[Commit], too_old: Any) -> None:
    assert news(target, inputs, too_old) is None


def test_after_a_rollback_the_news_are_those_since_the_older_run() -> None:
    inputs = [ingest(2, 4), ingest(1, 1)]
    first, second = published(inputs), published(inputs, version=2, seen=2)
    back = commit(3, T0 + 7 * HOUR, "WRITE", kind="rollback", base_version=2, to_version=1)
    found = news([back, second, first], inputs)
    assert found is not None
    assert (found.since, found.state.run_id) == (T0 + 4 * HOUR, "run 1")


def test_compaction_while_a_run_scores_changes_nothing() -> None:
    inputs = [ingest(1, 1)]
    target = [published(inputs, version=3, base=1), commit(2, T0, "OPTIMIZE"), published(inputs)]
    assert news(target, inputs) is not None


def test_a_comparison_is_known_of_the_rows_that_were_compared_only() -> None:
    inputs = [ingest(1, 1)]
    old, new = published(inputs), published(inputs, version=2)
    verified = commit(3, T0 + 9 * HOUR, "WRITE", kind="verified", base_version=2, verified_at=T0 + 9 * HOUR)
    found = news([verified, new, old], inputs)
    assert found is not None
    assert found.verified_at == T0 + 9 * HOUR
    assert not found.unverified_for(3 * HOUR, T0 + 11 * HOUR)
    assert found.unverified_for(2 * HOUR, T0 + 11 * HOUR)
    assert not found.unverified_for(None, T0 + 99 * HOUR)
    back = commit(4, T0 + 10 * HOUR, "RESTORE", parameters={"version": "1"})
    found = news([back, verified, new, old], inputs)
    assert found is not None
    assert found.verified_at is None


def test_the_oldest_row_is_as_old_as_the_last_run_of_everyone() -> None:
    known = Changes(None, publication(oldest=T0))
    assert oldest_row(known, whole_table=False, began=T0 + HOUR) == T0
    assert oldest_row(known, whole_table=True, began=T0 + HOUR) == T0 + HOUR
    assert oldest_row(None, whole_table=False, began=T0 + HOUR) is None
    # the clock was set back: the rows of this run are older
    assert oldest_row(known, whole_table=False, began=T0 - HOUR) == T0 - HOUR
