"""A column that grows as the mark, on real servers: quoted names, times with and without a zone, what commits late."""

from typing import Any

import pytest
import sqlalchemy as sa

from scoreline.config.sources import MarkSettings
from scoreline.sources.marked import marked

AT = "2026-07-01 10:{}:00"


@pytest.fixture(params=["postgres", "mariadb"])
def engine(request: pytest.FixtureRequest) -> Any:
    """A server with an empty table of ratings, its names in need of quotes."""
    found = request.getfixturevalue({"postgres": "server", "mariadb": "mariadb_server"}[request.param])
    made = sa.create_engine(found.replace("postgresql://", "postgresql+psycopg://"))
    zoned = "timestamptz" if request.param == "postgres" else "timestamp"
    with made.begin() as connection:
        quote = made.dialect.identifier_preparer.quote
        connection.execute(sa.text(f"DROP TABLE IF EXISTS {quote('Film ratings')}"))
        columns = f"{quote('order')} bigint, made timestamp NULL, zoned {zoned} NULL, {quote('Sum of')} decimal(20, 2)"
        connection.execute(sa.text(f"CREATE TABLE {quote('Film ratings')} ({columns})"))
    yield made
    made.dispose()


def add(connection: sa.Connection, number: int, minute: int) -> None:
    quote = connection.dialect.identifier_preparer.quote
    at = f"'{AT.format(f'{minute:02}')}'"
    connection.execute(
        sa.text(f"INSERT INTO {quote('Film ratings')} VALUES ({number}, {at}, {at}, {number})".replace(":", r"\:"))
    )


def news(engine: sa.Engine, settings: MarkSettings, since: str | None) -> tuple[list[int], str | None, tuple[str, ...]]:
    url = engine.url.render_as_string(hide_password=False)
    found = marked(url, "Film ratings", settings, ["order"], since=since)
    if found.query is None:
        return [], since, found.remarks
    with engine.connect() as connection:
        return sorted(row[0] for row in connection.execute(found.query)), found.mark, found.remarks


@pytest.mark.parametrize(("column", "overlap"), [("order", 5), ("Sum of", 5), ("made", "5m"), ("zoned", "5m")])
def test_what_is_new_is_read_and_what_commits_late_within_the_overlap(
    engine: Any, column: str, overlap: int | str
) -> None:
    settings = MarkSettings.model_validate({"column": column, "overlap": overlap})
    assert news(engine, settings, None) == ([], None, ())
    with engine.begin() as connection:
        add(connection, 1, 1)
        add(connection, 20, 20)
    first, mark, _ = news(engine, settings, None)
    with engine.connect() as slow, engine.begin() as fast:
        add(slow, 22, 22)
        add(fast, 25, 25)
        fast.commit()
        second, mark, _ = news(engine, settings, mark)
        slow.commit()
    third, again, remarks = news(engine, settings, mark)
    assert (first, second, third, again, remarks) == ([1, 20], [20, 25], [20, 22, 25], mark, ())
    quote = engine.dialect.identifier_preparer.quote
    with engine.begin() as connection:
        connection.execute(sa.text(f"DELETE FROM {quote('Film ratings')}"))
        add(connection, 3, 3)
    found, _, remarks = news(engine, settings, mark)
    assert found == [3]
    assert "it was made anew" in remarks[0]
