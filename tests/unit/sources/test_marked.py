"""What is new in a table by a column that grows, against SQLite: no Spark."""

from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from scoreline.config.sources import MarkSettings
from scoreline.errors import InputError
from scoreline.sources.marked import marked

NAME = "Film ratings"


class Reader:
    """What an ingest asks for: the column `item` of the rows that are new since the last call."""

    def __init__(self, url: str, columns: str, **mark: Any) -> None:
        self.url, self.settings = url, MarkSettings.model_validate(mark)
        self.since: str | None = None
        self.remarks: tuple[str, ...] = ()
        self.run(f'CREATE TABLE "{NAME}" (item INTEGER, {columns})')

    def run(self, statement: str) -> None:
        engine = sa.create_engine(self.url)
        with engine.begin() as connection:
            connection.execute(sa.text(statement))
        engine.dispose()

    def add(self, *rows: tuple[int, str]) -> None:
        self.run(f'INSERT INTO "{NAME}" VALUES ' + ", ".join(f"({item}, {mark})" for item, mark in rows))

    def news(self) -> list[int]:
        found = marked(self.url, NAME, self.settings, ["item"], since=self.since)
        self.since, self.remarks = found.mark or self.since, found.remarks
        if found.query is None:
            return []
        engine = sa.create_engine(self.url)
        with engine.connect() as connection:
            rows = connection.execute(found.query).fetchall()
        engine.dispose()
        return sorted(row[0] for row in rows)


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'app.db'}"


def test_each_reading_begins_by_the_overlap_below_the_highest_number(url: str) -> None:
    reader = Reader(url, '"order" INTEGER NOT NULL', column="order", overlap=9)
    assert (reader.news(), reader.since) == ([], None)
    reader.add((1, "100"), (2, "110"))
    assert (reader.news(), reader.since) == ([1, 2], "110")
    reader.add((3, "99"), (4, "101"), (5, "120"))  # the first commits too late, the second in time
    assert (reader.news(), reader.since) == ([2, 4, 5], "120")
    assert (reader.news(), reader.since, reader.remarks) == ([5], "120", ())


@pytest.mark.parametrize(
    ("kind", "before", "late", "lost", "after"),
    [
        ("DATETIME", "2026-07-01 10:00:00.000000", "2026-07-01 09:50:00.000000", "2026-07-01 09:49:59.000000",
         "2026-07-01 10:05:00.000000"),
        ("DATE", "2026-07-02", "2026-07-01", "2026-06-30", "2026-07-03"),
    ],
)  # fmt: skip
def test_a_time_goes_back_by_a_duration(url: str, kind: str, before: str, late: str, lost: str, after: str) -> None:
    reader = Reader(url, f"at {kind}", column="at")
    reader.add((1, f"'{before}'"))
    assert reader.news() == [1]
    reader.add((2, f"'{late}'"), (3, f"'{lost}'"), (4, f"'{after}'"))
    assert reader.news() == [1, 2, 4]
    assert reader.remarks == ()


def test_decimals_and_floats_are_numbers(url: str) -> None:
    reader = Reader(url, "at REAL", column="at", overlap=1)
    reader.add((1, "2.25"))
    assert (reader.news(), reader.since) == ([1], "2.25")
    reader.add((2, "1.25"), (3, "1.2"))
    assert reader.news() == [1, 2]


def test_a_column_that_has_whole_numbers_beside_others(url: str) -> None:
    reader = Reader(url, "at NUMERIC", column="at", overlap=1)
    reader.add((1, "2.25"), (2, "0.5"))
    reader.news()
    reader.add((3, "1"), (4, "3"))
    assert (reader.news(), reader.since) == ([1, 3, 4], "3")


def test_rows_without_a_mark_are_read_each_time_and_counted(url: str) -> None:
    reader = Reader(url, "id INTEGER", column="id", overlap=0)
    reader.add((1, "NULL"))
    assert (reader.news(), reader.since) == ([1], None)
    reader.add((2, "5"), (3, "6"))
    assert (reader.news(), reader.since) == ([1, 2, 3], "6")
    reader.add((4, "NULL"), (5, "7"))
    assert reader.news() == [1, 3, 4, 5]
    assert reader.remarks == ("2 rows have no id, by which new ones are told: they are read each time",)


def test_a_table_made_anew_is_read_from_its_beginning(url: str) -> None:
    reader = Reader(url, "id INTEGER", column="id", overlap=0)
    reader.add((1, "50"), (2, "60"))
    reader.news()
    reader.run(f'DELETE FROM "{NAME}"')
    reader.add((3, "1"), (4, "2"))
    assert (reader.news(), reader.since) == ([3, 4], "2")
    assert reader.remarks == ("all of it was read: its highest id is 2, below 60 of the last time: it was made anew",)
    assert (reader.news(), reader.remarks) == ([4], ())


@pytest.mark.parametrize("since", ["2026-07-01 10:00:00", "x"])
def test_a_mark_of_another_type_is_none(url: str, since: str) -> None:
    reader = Reader(url, "id INTEGER", column="id")
    reader.add((1, "5"))
    reader.since = since
    assert reader.news() == [1]
    assert reader.remarks == ("all of it was read: its id is of another type than before",)


@pytest.mark.parametrize(
    ("columns", "mark", "message"),
    [
        ("id INTEGER", {"column": "at"}, r"expected column at \(events.mark\), found item, id"),
        ("id TEXT", {"column": "id"}, r"column id \(events.mark\) is TEXT; expected a number or a time"),
        ("id BLOB", {"column": "id"}, "is BLOB; expected a number or a time"),
        ("id INTEGER", {"column": "id", "overlap": "10m"}, "overlap has to be a whole number, such as 1000"),
        ("id DATE", {"column": "id", "overlap": 5}, "overlap has to be a duration, such as 10m"),
    ],
)
def test_a_column_that_cannot_tell_is_refused(url: str, columns: str, mark: dict[str, Any], message: str) -> None:
    reader = Reader(url, columns, **mark)
    reader.add((1, "'2026-07-01'" if "DATE" in columns else "1"))
    with pytest.raises(InputError, match=message):
        reader.news()


def test_what_sqlite_lets_a_column_hold_is_refused(url: str) -> None:
    reader = Reader(url, "id INTEGER", column="id")
    reader.add((1, "'soon'"))
    with pytest.raises(InputError, match=r"the highest id .* is no number and no time, but str 'soon'"):
        reader.news()


def test_what_is_not_there_is_named_without_the_password(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no such table") as caught:
        marked(f"sqlite:///{tmp_path}/a.db", "main.nothing", MarkSettings(column="id"), [], since=None)
    assert "table main.nothing" in str(caught.value)
    with pytest.raises(InputError, match="could not be read") as caught:
        marked("mysql+nodriver://u:s3cret@127.0.0.1:1/d", "t", MarkSettings(column="id"), [], since=None)
    assert "s3cret" not in str(caught.value)


def test_the_password_and_the_driver_are_no_part_of_a_mark() -> None:
    from scoreline.sources.marked import mark_key

    one = mark_key("mysql+pymysql://a:b@h/d", "t", "id")
    assert one == mark_key("mysql://c@h/d?charset=utf8", "t", "id")
    assert len({one, mark_key("mysql://h/d", "t", "at"), mark_key("mysql://h/d", "u", "id")}) == 3


def test_settings_take_a_number_or_a_duration() -> None:
    assert MarkSettings.model_validate({"column": "id", "overlap": 7}).overlap == 7
    assert str(MarkSettings.model_validate({"column": "id", "overlap": "36h"}).overlap) == "1 day, 12:00:00"
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        MarkSettings.model_validate({"column": "id", "overlap": -1})
