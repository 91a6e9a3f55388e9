"""Ingest on real Delta tables: whatever the order, the cut or the repetition of files, the histories are the same."""

import json
import random
import sqlite3
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from builders import NOW, context, write_events
from scoreline.errors import ConfigurationError, InputError
from scoreline.ingest.ingest import ingest_events
from scoreline.tables.names import HISTORY_HASH
from scoreline.training.train import histories as train_histories
from strangers import held, remake

T0 = 1_700_000_000
MIDNIGHT = 1_767_225_600  # 2026-01-01 in UTC


def histories_of(made: Any) -> DataFrame:
    return made.tables.table("user_history").read().drop("updated_at").orderBy("user_id")


def quarantined(made: Any) -> list[tuple[str, list[str], int]]:
    rows = made.tables.table("quarantine").read().collect()
    return sorted((row["raw_row"], row["reasons"], row["row_count"]) for row in rows)


def test_a_history_is_in_order_of_time_each_item_once(spark: SparkSession, tmp_path: Path) -> None:
    made = context(spark, tmp_path / "t")
    rows = [(1, 10, 3, T0 + 5), (1, 20, 4, T0 + 1), (1, 10, 5, T0 + 9), (1, 30, 1, T0 + 2), (2, 10, 2, T0)]
    report = ingest_events(made, write_events(tmp_path / "e.csv", rows))
    found = {r["user_id"]: (r["item_ids"], r["weights"], r["event_count"]) for r in histories_of(made).collect()}
    assert found == {1: ([20, 30, 10], [4.0, 1.0, 5.0], 3), 2: ([10], [2.0], 1)}
    assert (report.rows_read, report.rows_good, report.users_changed) == (5, 5, 2)


def test_pieces_in_any_order_give_what_one_ordered_ingest_gives(spark: SparkSession, tmp_path: Path) -> None:
    """Overlapping pieces, shuffled, with truncation to four items: an in-memory replay is the truth.

    Each of the users is a case of its own: from nobody cut to all but four items outside.
    """
    dice = random.Random(3)
    events = [
        (user, dice.randint(1, 4 + user % 9), dice.randint(0, 10), T0 + dice.randint(0, 60))
        for user in range(1, 61)
        for _ in range(dice.randint(1, 25))
    ]
    made = context(spark, tmp_path / "t", histories={"buckets": 8, "max_items": 4})
    for piece in dice.sample(range(3), 3):
        some = dice.sample(events, 3 * len(events) // 5) + events[piece::3]
        ingest_events(made, write_events(tmp_path / f"{piece}.csv", some))
    found = {r["user_id"]: (r["item_ids"], r["weights"]) for r in histories_of(made).collect()}
    assert found == _replayed(events, max_items=4)
    older = {r["user_id"]: r["older_item_ids"] for r in histories_of(made).collect()}
    assert older == _beyond(events, found)
    assert None in older.values()
    one = context(spark, tmp_path / "one", histories={"buckets": 8, "max_items": 4})
    report = ingest_events(one, write_events(tmp_path / "one.csv", events))
    assert_df_equality(histories_of(made), histories_of(one))
    cut = [items for items in older.values() if items]
    assert (report.items_beyond, report.users_beyond) == (sum(map(len, cut)), len(cut))


def _beyond(events: list[tuple[int, int, int, int]], kept: dict[int, Any]) -> dict[int, list[int] | None]:
    """What each user has seen that is not in the history any more; null where nothing is."""
    seen: dict[int, set[int]] = {}
    for user, item, _, _ in events:
        seen.setdefault(user, set()).add(item)
    return {user: sorted(items - set(kept[user][0])) or None for user, items in seen.items()}


def test_a_late_event_beyond_the_window_changes_the_history_that_is_wanted(spark: SparkSession, tmp_path: Path) -> None:
    """The window stays, what must not be recommended grows: the user is due. Who was not cut keeps the old hash."""
    short = {"buckets": 8, "max_items": 2}
    made = context(spark, tmp_path / "t", histories=short)
    ingest_events(made, write_events(tmp_path / "1.csv", [(1, 10, 3, T0 + 5), (1, 20, 3, T0 + 6), (2, 10, 3, T0)]))
    before = {r["user_id"]: r[HISTORY_HASH] for r in histories_of(made).collect()}
    later = context(spark, tmp_path / "t", histories=short, now=NOW + timedelta(hours=1))
    report = ingest_events(later, write_events(tmp_path / "2.csv", [(1, 5, 3, T0 + 1)]))
    rows = {r["user_id"]: r for r in histories_of(later).collect()}
    assert (report.users_changed, report.items_beyond, report.users_beyond) == (1, 1, 1)
    assert (rows[1]["item_ids"], rows[1]["older_item_ids"], rows[1]["event_count"]) == ([10, 20], [5], 2)
    assert (rows[1][HISTORY_HASH] != before[1], rows[2][HISTORY_HASH] == before[2]) == (True, True)
    again = ingest_events(later, write_events(tmp_path / "3.csv", [(1, 5, 3, T0 + 1)]))
    assert (again.users_changed, again.items_beyond) == (0, 0)
    back = ingest_events(later, write_events(tmp_path / "4.csv", [(1, 5, 4, T0 + 9)]))
    row = histories_of(later).where("user_id = 1").first()
    assert row is not None
    assert (row["item_ids"], row["older_item_ids"], back.items_beyond) == ([20, 5], [10], 1)


@pytest.mark.both
def test_a_table_made_before_learns_what_was_cut_when_its_events_come_again(
    spark: SparkSession, tmp_path: Path
) -> None:
    made = context(spark, tmp_path / "t", histories={"buckets": 8, "max_items": 2})
    rows = [(1, 10, 3, T0), (1, 20, 3, T0 + 1), (1, 30, 3, T0 + 2), (2, 10, 3, T0)]
    source = write_events(tmp_path / "e.csv", rows)
    ingest_events(made, source)
    now = held(histories_of(made))
    table = made.tables.table("user_history")
    # as an earlier version left it: no such column, and a hash of the arrays alone
    arrays = F.xxhash64("item_ids", "weights", "event_times")
    old = held(table.read().drop("older_item_ids", "since_first_us").withColumn(HISTORY_HASH, arrays))
    remake(table, old)
    assert "since_first_us" not in train_histories(made).column_names
    report = ingest_events(made, source)
    assert (report.users_changed, report.items_beyond) == (1, 1)
    assert_df_equality(histories_of(made), now, ignore_nullable=True, ignore_metadata=True)


def test_first_times_are_kept_whatever_the_order_of_the_pieces(spark: SparkSession, tmp_path: Path) -> None:
    dice = random.Random(4)
    events = [(dice.randint(1, 12), dice.randint(1, 30), 1, T0 + dice.randint(0, 60)) for _ in range(150)]
    events += [(user, item, 1, T0 + item) for user in (50, 51) for item in range(3)]
    made = context(spark, tmp_path / "t")
    for piece in range(2):
        ingest_events(made, write_events(tmp_path / f"{piece}.csv", dice.sample(events, 60) + events[piece::2]))
    times: dict[tuple[int, int], list[int]] = {}
    for user, item, _, at in events:
        times.setdefault((user, item), []).append(at)
    for row in histories_of(made).collect():
        spans = [max(at) - min(at) for at in (times[row["user_id"], item] for item in row["item_ids"])]
        assert row["since_first_us"] == ([span * 1_000_000 for span in spans] if any(spans) else None)
    whole = made.tables.table("user_history")
    before = whole.read().where("user_id = 50").collect()[0].asDict()
    later = context(spark, tmp_path / "t", now=NOW + timedelta(hours=1))
    assert ingest_events(later, write_events(tmp_path / "late.csv", [(50, 2, 1, T0 - 7)])).users_changed == 1
    after = whole.read().where("user_id = 50").collect()[0].asDict()
    assert before["since_first_us"] is None
    assert after == before | {"since_first_us": [0, 0, 9_000_000]}, "by neither hash nor stamp is anybody due for that"
    assert ingest_events(made, write_events(tmp_path / "again.csv", events)).users_changed == 0


def _replayed(events: list[tuple[int, int, int, int]], *, max_items: int) -> dict[int, tuple[list[int], list[float]]]:
    newest: dict[int, dict[int, tuple[int, int]]] = {}
    for user, item, weight, at in events:
        items = newest.setdefault(user, {})
        items[item] = max(items.get(item, (-1, -1)), (at, weight))
    replayed = {}
    for user, items in newest.items():
        kept = sorted((at, item, weight) for item, (at, weight) in items.items())[-max_items:]
        replayed[user] = ([item for _, item, _ in kept], [float(weight) for _, _, weight in kept])
    return replayed


def test_the_same_file_twice_changes_nothing(spark: SparkSession, tmp_path: Path) -> None:
    source = write_events(tmp_path / "e.csv", [(1, 10, 3, T0), (2, 20, 4, T0), ("x", 1, 1, T0)])
    keep = {
        "max_bad_share": 0.5,
        "columns": {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"},
    }
    made = context(spark, tmp_path / "t", events=keep)
    first = ingest_events(made, source)
    made_again = context(spark, tmp_path / "t", now=NOW + timedelta(hours=1), events=keep)
    second = ingest_events(made_again, source)
    assert (first.users_changed, second.users_changed) == (2, 0)
    assert first.version == second.version
    assert quarantined(made_again) == [("x,1,1," + str(T0), ["user_id is not a whole number"], 1)]


def test_columns_that_come_and_go_are_told(spark: SparkSession, tmp_path: Path) -> None:
    made = context(spark, tmp_path / "t")
    header = "user,item,rating,at"
    assert (
        ingest_events(made, write_events(tmp_path / "a.csv", [(1, 10, 3, T0, "web")], f"{header},device")).drift == ()
    )
    told = ingest_events(made, write_events(tmp_path / "b.csv", [(1, 20, 3, T0, 7)], f"{header},shop")).drift
    assert told == ("column shop is new since the last ingest", "column device is gone since the last ingest")
    with closing(sqlite3.connect(tmp_path / "shop.db")) as sql, sql:
        sql.execute("CREATE TABLE ratings AS SELECT 2 user, 10 item, 3 rating, 1780000000 at")
    columns = made.settings.events.columns.model_dump(exclude_none=True)
    database = context(spark, tmp_path / "t", events={"columns": columns, "query": "SELECT * FROM ratings"})
    for source in (tmp_path / "b.csv", f"sqlite:///{tmp_path / 'shop.db'}", tmp_path / "b.csv"):
        assert ingest_events(database if "sqlite" in str(source) else made, str(source)).drift == ()


def test_only_changed_histories_are_rewritten(spark: SparkSession, tmp_path: Path) -> None:
    made = context(spark, tmp_path / "t")
    ingest_events(made, write_events(tmp_path / "1.csv", [(u, 10, 3, T0) for u in range(1, 21)]))
    before = made.tables.table("user_history").read()
    later = context(spark, tmp_path / "t", now=NOW + timedelta(hours=1))
    report = ingest_events(
        later, write_events(tmp_path / "2.csv", [(3, 11, 5, T0 + 1), (4, 10, 3, T0), (99, 1, 1, T0)])
    )
    after = later.tables.table("user_history").read()
    assert report.users_changed == 2
    touched = after.where(F.col("updated_at") > F.lit(NOW)).select("user_id")
    assert sorted(r[0] for r in touched.collect()) == [3, 99]
    same = ~F.col("user_id").isin(3, 99)
    assert_df_equality(after.where(same).orderBy("user_id"), before.where(same).orderBy("user_id"))


@pytest.mark.both
def test_every_bad_row_is_quarantined_with_its_reasons(spark: SparkSession, tmp_path: Path) -> None:
    future = int((NOW + timedelta(days=3)).timestamp())
    bad: dict[tuple[Any, ...], list[str]] = {
        ("", 10, 3, T0): ["user_id is missing"],
        ("1.5", 10, 3, T0): ["user_id is not a whole number"],
        (1, "", 3, T0): ["item_id is missing"],
        (1, "ten", 3, T0): ["item_id is not a whole number"],
        (1, 10, "good", T0): ["weight is not a number"],
        (1, 10, "NaN", T0): ["weight is not a number"],
        (1, 10, "Infinity", T0): ["weight is outside 0 to 10"],
        (1, 10, 11, T0): ["weight is outside 0 to 10"],
        (1, 10, 3, "yesterday"): ["time is not readable"],
        (1, 10, 3, "1e300"): ["time is not readable"],
        (1, 10, 3, future): ["time is in the future"],
        ("9" * 30, 10, 3, T0): ["user_id is not a whole number"],
        ("x", "", "y", "z"): [
            "item_id is missing", "time is not readable", "user_id is not a whole number", "weight is not a number",
        ],
        (1, 10, 3): ["malformed line"],
        (1, 10, 3, T0, "extra"): ["malformed line"],
    }  # fmt: skip
    good = [(u, 10, 3, T0) for u in range(1, 8)]
    columns = {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}
    made = context(spark, tmp_path / "t", events={"columns": columns, "weight_range": [0, 10], "max_bad_share": 0.9})
    report = ingest_events(made, write_events(tmp_path / "e.csv", good + list(bad)))
    found = {raw: sorted(reasons) for raw, reasons, _ in quarantined(made)}
    assert found == {",".join(str(v) for v in row): reasons for row, reasons in bad.items()}
    assert (report.rows_read, report.rows_good, report.rows_bad) == (22, 7, 15)
    assert sorted(r["user_id"] for r in histories_of(made).collect()) == list(range(1, 8))


def test_too_many_bad_rows_change_no_history(spark: SparkSession, tmp_path: Path) -> None:
    made = context(spark, tmp_path / "t")
    rows = [(1, 10, 99, T0), (2, 10, 98, T0), (3, 10, 5, T0)]
    with pytest.raises(InputError, match=r"2 of 3 rows are bad \(weight is outside 0 to 10: 2\).*max_bad_share") as bad:
        ingest_events(made, write_events(tmp_path / "e.csv", rows))
    assert histories_of(made).isEmpty()
    assert len(quarantined(made)) == 2
    assert f"For example: '1,10,99,{T0}'. They are in the quarantine table (equal rows once): scoreline" in str(
        bad.value
    )


STRING_KEYS = {"user_id": "string", "item_id": "string"}


@pytest.mark.both
def test_string_ids_keep_zeros_quotes_and_unicode(spark: SparkSession, tmp_path: Path) -> None:
    made = context(spark, tmp_path / "t", keys=STRING_KEYS)
    lines = ["0110912", "'; DROP TABLE x", '"say ""hi"""', "żółw 🐢", "a`b"]
    path = tmp_path / "e.csv"
    path.write_text("user,item,rating,at\n" + "".join(f"u{i},{line},3,{T0}\n" for i, line in enumerate(lines)))
    ingest_events(made, str(path))
    found = {r["user_id"]: r["item_ids"] for r in histories_of(made).collect()}
    assert found == {
        "u0": ["0110912"],
        "u1": ["'; DROP TABLE x"],
        "u2": ['say "hi"'],
        "u3": ["żółw 🐢"],
        "u4": ["a`b"],
    }


@pytest.mark.both
def test_json_parquet_database_and_folder_give_the_same_history(spark: SparkSession, tmp_path: Path) -> None:
    rows = [(1, 10, 3.0, T0), (1, 20, 4.0, T0 + 1), (2, 10, 5.0, T0)]
    folder = tmp_path / "folder"
    folder.mkdir()
    write_events(folder / "a.csv", rows[:2])
    write_events(folder / "b.csv", rows[2:])
    named = [dict(zip(("user", "item", "rating", "at"), row, strict=True)) for row in rows]
    (tmp_path / "e.json").write_text("".join(json.dumps(row) + "\n" for row in named))
    spark.createDataFrame(rows, "user long, item long, rating double, at long").write.parquet(
        str(tmp_path / "e.parquet")
    )
    with sqlite3.connect(tmp_path / "app.db") as database:
        database.execute("CREATE TABLE ratings (user INTEGER, item INTEGER, rating REAL, at INTEGER)")
        database.executemany("INSERT INTO ratings VALUES (?, ?, ?, ?)", rows)
    database.close()
    columns = {"user_id": "user", "item_id": "item", "weight": "rating", "time": "at"}
    sources = {
        "csv": str(folder),
        "json": str(tmp_path / "e.json"),
        "parquet": str(tmp_path / "e.parquet"),
        "delta": f"sqlite:///{tmp_path / 'app.db'}",
    }
    expected = None
    for kind, source in sources.items():
        events = {"format": kind, "columns": columns, "query": "SELECT * FROM ratings"}
        made = context(spark, tmp_path / kind, events=events)
        ingest_events(made, source)
        expected = expected or histories_of(made)
        assert_df_equality(histories_of(made), expected)


def test_kinds_give_weights_and_iso_times_are_utc(spark: SparkSession, tmp_path: Path) -> None:
    events = {
        "columns": {"user_id": "user", "item_id": "item", "kind": "kind", "time": "at"},
        "kinds": {"play": 1, "like": 3},
        "time": "iso",
        "max_bad_share": 0.5,
    }
    made = context(spark, tmp_path / "t", events=events)
    lines = [
        (1, 1, "play", "2026-01-01T00:00:00Z"),
        (1, 2, "like", "2026-01-01T01:00:00+02:00"),
        (1, 3, "hate", "2026-01-01"),
    ]
    ingest_events(made, write_events(tmp_path / "e.csv", lines, header="user,item,kind,at"))
    seconds = F.transform("event_times", F.unix_seconds)
    row = histories_of(made).select("item_ids", "weights", seconds).first()
    assert row is not None
    assert tuple(row) == ([2, 1], [3.0, 1.0], [MIDNIGHT - 3_600, MIDNIGHT])
    assert [reasons for _, reasons, _ in quarantined(made)] == [["weight is not a number"]]


def test_a_user_with_100000_events_keeps_the_newest(spark: SparkSession, tmp_path: Path) -> None:
    made = context(spark, tmp_path / "t", histories={"buckets": 8, "max_items": 500})
    ingest_events(made, write_events(tmp_path / "e.csv", [(1, i, 3, T0 + i) for i in range(100_000)] + [(2, 5, 1, T0)]))
    row = histories_of(made).where("user_id = 1").first()
    assert row is not None
    assert row["item_ids"] == list(range(99_500, 100_000))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file or folder"),
        ("", "the file is empty"),
        ("user,item,rating,at\n", "no event was found"),
        ("user;item;rating;at\n1;2;3;4\n", "Is ',' the right separator"),
        ("user,item,at\n1,2,3\n", "expected column rating, found user, item, at"),
    ],
)
def test_a_source_that_does_not_fit_says_why(
    spark: SparkSession, tmp_path: Path, content: str | None, message: str
) -> None:
    made = context(spark, tmp_path / "t")
    path = tmp_path / "e.csv"
    if content is not None:
        path.write_text(content)
    with pytest.raises(InputError, match=message):
        ingest_events(made, str(path))


def test_files_of_a_folder_with_another_column_order_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    folder = tmp_path / "f"
    folder.mkdir()
    write_events(folder / "a.csv", [(1, 10, 3, T0)] * 50)
    write_events(folder / "b.csv", [(10, 1, 3, T0)], header="item,user,rating,at")
    with pytest.raises(Exception, match=r"(?i)header"):
        ingest_events(context(spark, tmp_path / "t"), str(folder))


def test_other_buckets_or_key_types_are_refused(spark: SparkSession, tmp_path: Path) -> None:
    source = write_events(tmp_path / "e.csv", [(1, 10, 3, T0)])
    ingest_events(context(spark, tmp_path / "t"), source)
    with pytest.raises(ConfigurationError, match="made with 8"):
        ingest_events(context(spark, tmp_path / "t", histories={"buckets": 16}), source)
    with pytest.raises(InputError, match="column user_id is bigint"):
        ingest_events(context(spark, tmp_path / "t", keys=STRING_KEYS), source)
