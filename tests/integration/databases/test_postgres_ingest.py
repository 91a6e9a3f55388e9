"""Events from PostgreSQL: each row once or more, never not at all, whatever commits when."""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psycopg
import pytest
from psycopg import sql
from pyspark.sql import SparkSession

import builders
from builders import NOW, context
from integration.databases.server import jdbc_driver, postgres
from integration.races import just_before
from scoreline.errors import InputError, RunFailed
from scoreline.ingest import ingest
from scoreline.ingest.ingest import ingest_events
from scoreline.ingest.new import ingest_new


@pytest.fixture(scope="module")
def url(spark: SparkSession) -> Iterator[str]:
    if builders.ENGINE == "spark":
        jdbc_driver(spark)
    with postgres() as found:
        yield found


@pytest.fixture
def ratings(url: str) -> Iterator[Any]:
    """SQL on a database with an empty table of ratings."""
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute('DROP TABLE IF EXISTS "Film ratings"')
        connection.execute(
            'CREATE TABLE "Film ratings" ("user" bigint, item bigint, rating real, at timestamptz, note text)'
        )
        yield connection.execute


@pytest.fixture
def pipeline(spark: SparkSession, tmp_path: Path, url: str) -> Any:
    columns = {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}
    events = {"columns": columns, "table": "public.Film ratings", "weight_range": [0, 10]}

    def made(hour: int = 0) -> Any:
        return context(spark, tmp_path / "tables", now=NOW + timedelta(hours=hour), events=events)

    return made


def histories(made: Any) -> dict[int, list[int]]:
    rows = made.tables.table("user_history").read().select("user_id", "item_ids").collect()
    return {row["user_id"]: sorted(row["item_ids"]) for row in rows}


INSERT = """INSERT INTO "Film ratings" VALUES (%s, %s, 5, '2026-01-02 03:04:05+00')"""


def test_only_news_is_read_and_what_commits_late_is_not_lost(pipeline: Any, ratings: Any, url: str) -> None:
    ratings(INSERT, (1, 10))
    with psycopg.connect(url) as slow:
        slow.execute(INSERT, (1, 11))  # written before the first ingest, visible only after it
        ratings(INSERT, (2, 20))
        assert ingest_events(pipeline(), url).rows_read == 2
        assert histories(pipeline()) == {1: [10], 2: [20]}
        slow.commit()
    ratings(INSERT, (3, 30))
    assert ingest_events(pipeline(1), url).rows_read == 3  # all but the one from before `slow` began
    assert histories(pipeline()) == {1: [10, 11], 2: [20], 3: [30]}
    assert ingest_events(pipeline(2), url).rows_read == 0


def test_a_merge_that_fails_leaves_its_rows_to_the_next_ingest(
    pipeline: Any, ratings: Any, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ratings(INSERT, (1, 10))
    ingest_events(pipeline(), url)
    ratings(INSERT, (2, 20))

    def fail() -> None:
        raise RunFailed("the disk is full")

    just_before(monkeypatch, ingest, "merge_histories", fail)
    with pytest.raises(RunFailed, match="the disk is full"):
        ingest_events(pipeline(1), url)
    assert ingest_events(pipeline(2), url).rows_read == 1
    assert histories(pipeline()) == {1: [10], 2: [20]}


def test_no_table_report_or_error_has_anything_of_an_odd_password(
    pipeline: Any, ratings: Any, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "hu/sh@quiet:now%zz+?a b"
    ratings("DROP ROLE IF EXISTS odd")
    ratings(sql.SQL("CREATE ROLE odd LOGIN PASSWORD {}").format(secret))
    ratings('GRANT SELECT ON "Film ratings" TO odd')
    for item in range(9):
        ratings(INSERT, (1, item))
    ratings("""INSERT INTO "Film ratings" VALUES (2, 20, 99, '2026-01-02 03:04:05+00')""")
    place = url.rpartition("@")[2]
    odd = f"postgresql://odd:{quote(secret, safe='')}@{place}"
    report = ingest_events(pipeline(), odd)
    assert (report.rows_good, report.rows_bad) == (9, 1)
    with pytest.raises(InputError) as caught:
        ingest_events(pipeline(1), odd.replace("odd:", "odd:wrong%2F"))
    made = [pipeline().tables.table(name) for name in ("user_history", "quarantine")]
    rows = [str(row) for table in made for row in table.read().collect()]
    log = [str(commit) for table in made for commit in table.commits()] + [str(made[0].properties())]
    for text in [*rows, *log, str(report), str(caught.value), caplog.text]:
        assert not [piece for piece in ("hu/sh", "quiet", "now%zz", quote(secret, safe="")) if piece in text], text


def test_nothing_new_is_no_error_and_changes_nothing(pipeline: Any, ratings: Any, url: str) -> None:
    ratings(INSERT, (1, 10))
    ingest_events(pipeline(), url)
    version = pipeline().tables.table("user_history").version()
    report = ingest_events(pipeline(1), url)
    assert (report.rows_read, report.users_changed, report.version) == (0, 0, version)


def test_the_configured_database_needs_no_name_and_a_table_made_anew_is_read_whole(
    pipeline: Any, ratings: Any, url: str, spark: SparkSession
) -> None:
    def ingested(hour: int) -> Any:
        settings = pipeline().settings
        events = settings.events.model_dump(exclude_unset=True) | {"source": url}
        return ingest_new(context(spark, settings.tables.root, now=NOW + timedelta(hours=hour), events=events))

    ratings(INSERT, (1, 10))
    assert (ingested(0).rows_read, ingested(1).rows_read) == (1, 0)
    ratings('ALTER TABLE "Film ratings" RENAME TO old')
    ratings('CREATE TABLE "Film ratings" (LIKE old)')
    ratings("DROP TABLE old")
    ratings(INSERT, (2, 20))
    report = ingested(2)
    assert (report.rows_read, report.remarks) == (1, ("all of it was read: it was made anew, or its database was",))
    assert "s3cret" not in str(report)
    assert histories(pipeline()) == {1: [10], 2: [20]}


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda url: url.replace("s3cret-Of-The-Test", "wr0ng"), "password authentication failed"),
        (lambda url: url.replace("/postgres", "/nowhere"), 'database "nowhere" does not exist'),
        (lambda url: url.rsplit(":", 1)[0] + ":1/postgres", "refused"),
        (lambda url: url, 'Film ratings" does not exist'),
    ],
)
def test_what_cannot_be_read_is_one_message(pipeline: Any, ratings: Any, url: str, spoil: Any, said: str) -> None:
    if spoil(url) == url:
        ratings('DROP TABLE "Film ratings"')
    with pytest.raises(InputError, match=said) as caught:
        ingest_events(pipeline(), spoil(url))
    assert "s3cret" not in str(caught.value)
    assert "wr0ng" not in str(caught.value)
    assert "\n" not in str(caught.value)
