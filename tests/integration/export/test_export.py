"""The application's database shows what the table shows, and never half of it."""

import shutil
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from builders import NOW, write_events
from integration.databases.published import Rows, asked
from scoreline.errors import AuditRefused, ConfigurationError, InputError, RunFailed, RunInProgress
from scoreline.export.export import export
from scoreline.ingest.ingest import ingest_events
from scoreline.operations.log import read_log, read_run
from scoreline.pipeline.rollback import roll_back
from scoreline.pipeline.run import run
from scoreline.tables.reading import open_readers

HOUR = timedelta(hours=1)
ALL = "SELECT user_id, rank, item_id, score, source FROM recommendations ORDER BY 1, 2"


def in_table(made: Any) -> Rows:
    """`user_id, rank, item_id, score, source` of the Delta table, sorted."""
    rows = made.tables.table("recommendations").read().collect()
    return sorted(
        (row["user_id"], rank, item["item_id"], item["score"], row["source"])
        for row in rows
        for rank, item in enumerate(row["recommendations"], start=1)
    )


@pytest.fixture
def database(tmp_path: Path) -> Any:
    """SQL on the serving database: `database("SELECT ...")` gives the rows."""

    return lambda statement=ALL: asked(tmp_path / "serving.db", statement)


@pytest.fixture
def exported(ran: Any) -> Any:
    """The same, and it has been exported."""
    export(ran())
    return ran


def test_the_first_export_sends_everything_and_the_second_nothing(ran: Any, database: Any) -> None:
    first = export(ran())
    assert (first.replaced, first.removed, first.previous, first.version) == (60, 0, None, 1)
    assert database() == in_table(ran())
    second = export(ran())
    assert (second.replaced, second.removed, second.previous, second.version) == (0, 0, 1, 1)
    assert database() == in_table(ran())
    readers = open_readers(ran().settings)
    ids = [row["run_id"] for row in read_log(readers, kind="export").runs]
    assert len(ids) == 2
    for report, run_id in zip((second, first), ids, strict=True):
        (row,) = read_run(readers, run_id)
        said = report.to_dict() | {"destination": report.target, "why_everyone": report.everyone}
        kept = {
            name: said[name] for name in said if name not in ("target", "everyone") and said[name] not in (None, {})
        }
        assert {name: row.figures[name] for name in kept} == kept
        assert row.users == (report.replaced + report.removed)


def test_only_users_that_were_scored_again_are_replaced(exported: Any, database: Any, tmp_path: Path) -> None:
    lines = "SELECT rowid, * FROM recommendations WHERE user_id NOT IN (7, 500) ORDER BY 1"
    before = database(lines)
    later = exported(now=NOW + HOUR)
    ingest_events(later, write_events(tmp_path / "news.csv", [(7, 33, 5, 1_780_000_000), (500, 12, 4, 1_780_000_000)]))
    run(later)
    assert export(later).replaced == 2
    assert database() == in_table(later)
    assert database(lines) == before  # the very same lines: nobody else's were written


def test_users_who_left_are_removed(exported: Any, database: Any) -> None:
    exported().tables.table("user_history").delete("user_id IN (9, 11)")
    run(exported(now=NOW + HOUR))
    report = export(exported())
    assert (report.replaced, report.removed) == (0, 2)
    assert database() == in_table(exported())
    assert database("SELECT DISTINCT user_id FROM recommendations WHERE user_id IN (9, 11)") == []


@pytest.mark.both
def test_a_table_made_anew_for_a_few_users_takes_nobodys_list(exported: Any, database: Any, tmp_path: Path) -> None:
    before = database()
    made = exported()
    shutil.rmtree(Path(made.settings.tables.root) / "recommendations")
    run(exported(now=NOW + HOUR), users=range(1, 30))
    with pytest.raises(AuditRefused, match=r"lists of 29 of 60 users, expected at least 50% \(audit.min_users_share\)"):
        export(exported())
    assert database() == before
    assert read_log(open_readers(made.settings), kind="export").runs[0]["state"] == "refused"
    for some in ({"min_users_share": 0.4}, {"min_users_share": 0.9, "warn": ["min_users_share"]}):
        with closing(sqlite3.connect(tmp_path / "serving.db")) as sql, sql:
            sql.execute("UPDATE scoreline_exports SET origin = ''")
        assert export(exported(audit=some)).replaced == 29
    run(exported(now=NOW + 2 * HOUR))
    assert export(exported()).replaced == 31
    assert database() == in_table(made)


def test_after_a_rollback_the_database_follows(exported: Any, database: Any) -> None:
    first = database()
    run(exported("films/2", now=NOW + HOUR))
    export(exported())
    assert database() == in_table(exported()) != first
    report = roll_back(exported(now=NOW + 2 * HOUR))
    assert report.exported is not None
    assert report.exported.replaced == 60
    assert database() == first
    assert export(exported()).replaced == 0


def test_a_failure_half_way_leaves_the_previous_export_whole(exported: Any, database: Any) -> None:
    first = database()
    run(exported("films/2", now=NOW + HOUR))
    database(
        "CREATE TRIGGER full BEFORE INSERT ON recommendations WHEN NEW.user_id = 30 "
        "BEGIN SELECT RAISE(ABORT, 'disk full'); END"
    )
    with pytest.raises(RunFailed, match=r"serving\.db: the export failed and was rolled back: disk full"):
        export(exported())
    assert database() == first
    database("DROP TRIGGER full")
    assert export(exported()).previous == 1
    assert database() == in_table(exported())


def test_a_database_that_an_application_holds_is_a_failure_and_no_run_to_wait_for(
    exported: Any, database: Any, tmp_path: Path
) -> None:
    run(exported(now=NOW + HOUR), full_refresh=True)
    before = database()
    with closing(sqlite3.connect(tmp_path / "serving.db", isolation_level=None)) as application:
        application.execute("BEGIN EXCLUSIVE")
        with pytest.raises(RunFailed, match=r"somebody holds the table .*Nothing was changed") as held:
            export(exported(export={"url": f"sqlite:///file:{tmp_path / 'serving.db'}?timeout=0.1&uri=true"}))
    assert not isinstance(held.value, RunInProgress)
    assert database() == before
    assert export(exported()).version == 2


def test_a_folder_that_is_not_there_is_no_place_for_a_database(ran: Any, tmp_path: Path) -> None:
    made = ran(export={"url": f"sqlite:///{tmp_path}/mistyped/serving.db"})
    with pytest.raises(ConfigurationError, match=f"there is no folder {tmp_path}/mistyped. Correct it"):
        export(made)
    assert not (tmp_path / "mistyped").exists()


def test_a_database_that_is_read_only_is_one_message(exported: Any, database: Any, tmp_path: Path) -> None:
    first = database()
    run(exported("films/2", now=NOW + HOUR))
    read_only = {"url": f"sqlite:///file:{tmp_path / 'serving.db'}?mode=ro&uri=true"}
    with pytest.raises(RunFailed, match="attempt to write a readonly database"):
        export(exported(export=read_only))
    assert database() == first


def test_a_table_of_somebody_else_is_left_alone(ran: Any, database: Any) -> None:
    database("CREATE TABLE recommendations (customer TEXT)")
    database("INSERT INTO recommendations VALUES ('Anna')")
    with pytest.raises(InputError, match=r"a table recommendations with rows that no export of scoreline made"):
        export(ran())
    assert database("SELECT * FROM recommendations") == [("Anna",)]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("nothing", "export.url is no database URL"),
        ("oracle9://scott:tiger@db/app", "no driver"),
        ("postgresql+nosuch://scott:tiger@db/app", "no driver"),
    ],
)
def test_a_url_that_leads_nowhere_is_the_configurations_mistake(filled: Any, url: str, message: str) -> None:
    made = filled(export={"url": url})
    with pytest.raises(ConfigurationError, match=message) as caught:
        export(made)
    assert "tiger" not in str(caught.value)


def test_nothing_published_yet_names_the_command(filled: Any) -> None:
    with pytest.raises(InputError, match=r"There is no table .*recommendations yet. Make it with: scoreline run"):
        export(filled())
