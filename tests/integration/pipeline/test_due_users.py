"""Who is due and why, against a loop."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any

import pytest
from chispa import assert_df_equality
from pyspark.sql import SparkSession

from logs import publication
from scoreline.pipeline.changes import Changes
from scoreline.pipeline.plan import DesiredState, all_new, due_by_changes, due_users

NOW = datetime(2026, 7, 1, tzinfo=UTC)
WANTED = DesiredState("films", "3", "rules", timedelta(days=7), NOW)
HISTORIES = "user_id long, bucket int, history_hash long"
MADE = f"{HISTORIES}, model_name string, model_version string, rules_hash string, scored_at timestamp"


def reason_of(history: Any, row: Any, wanted: DesiredState) -> str | None:
    if history is None:
        return "left"
    if row is None:
        return "new"
    _, _, made_hash, model, version, rules, at = row
    if (model, version) != ("films", "3"):
        return "other_model"
    if rules != "rules":
        return "other_rules"
    if made_hash != history[2]:
        return "changed"
    if wanted.max_age is not None and at <= NOW - wanted.max_age:
        return "too_old"
    return "asked" if wanted.full_refresh else None


@pytest.mark.both
def test_each_reason_as_a_loop_would_give_it(spark: SparkSession) -> None:
    """Every combination of model, version, rules, hash and age, and users on one side only."""
    combinations = product(("films", "other"), ("3", "2"), ("rules", "old"), (7, 8), (1, 7, 30))
    rows, histories = {}, {}
    for user, (model, version, rules, made_hash, days) in enumerate(combinations):
        rows[user] = (user, user % 4, made_hash, model, version, rules, NOW - timedelta(days=days))
        histories[user] = (user, user % 4, 7)
    del histories[5], rows[9], rows[20]
    history_rows = spark.createDataFrame(list(histories.values()), HISTORIES)
    made_rows = spark.createDataFrame(list(rows.values()), MADE)
    for wanted in (
        WANTED,
        DesiredState("films", "3", "rules", None, NOW),
        DesiredState("films", "3", "rules", None, NOW, True),
    ):
        found = {r[0]: (r[1], r[2]) for r in due_users(history_rows, made_rows, wanted).collect()}
        users = sorted({*rows, *histories})
        reasons = {user: reason_of(histories.get(user), rows.get(user), wanted) for user in users}
        assert found == {user: (user % 4, reason) for user, reason in reasons.items() if reason}


def test_a_second_row_and_a_row_of_nulls_are_reasons(spark: SparkSession) -> None:
    good = (0, 7, "films", "3", "rules", NOW)
    rows = [
        (1, *good),
        (2, *good),
        (2, *good),
        (3, 0, None, None, None, None, None),
        (4, 0, 7, "films", "3", "rules", None),
    ]
    histories = spark.createDataFrame([(user, 0, 7) for user in (1, 2, 3, 4)], HISTORIES)
    made = spark.createDataFrame(rows, MADE)
    found = {row[0]: row[2] for row in due_users(histories, made, WANTED).collect()}
    assert found == {2: "doubled", 3: "other_model", 4: "too_old"}


def test_everyone_is_new_where_nothing_is_published(spark: SparkSession) -> None:
    keys = spark.createDataFrame([(1, 0, 7), (2, 1, 7)], HISTORIES)
    assert sorted(map(tuple, all_new(keys).collect())) == [(1, 0, 7, "new"), (2, 1, 7, "new")]


@pytest.mark.both
def test_what_the_logs_prove_is_what_a_comparison_of_keys_finds(spark: SparkSession) -> None:
    """Users 3 and 4 came or changed since the publication; model, rules and --full-refresh are asked for in turn."""
    since, hour = NOW - timedelta(hours=1), timedelta(hours=1)
    stamps = {1: (since - hour, since - hour), 2: (since - 2 * hour, since - hour), 3: (since - hour, since)}
    stamps[4] = (since, since)
    rows = [(user, user % 4, 8 if user == 3 else 7, *at) for user, at in stamps.items()]
    histories = spark.createDataFrame(rows, f"{HISTORIES}, added_at timestamp, updated_at timestamp")
    made = [(user, user % 4, 7, "films", "3", "rules", since - hour) for user in (1, 2, 3)]
    published = spark.createDataFrame(made, MADE)
    state = publication(model="films", model_version="3", rules_hash="rules")
    for model, rules, everyone in product(("3", "4"), ("rules", "others"), (False, True)):
        wanted = DesiredState("films", model, rules, None, NOW, everyone)
        for news in (Changes(since, state), Changes(None, state)):
            touched = histories if news.since else histories.where("user_id < 3")
            keys = touched.select("user_id", "bucket", "history_hash")
            truth = due_users(keys, published if news.since else published.where("user_id < 3"), wanted)
            assert_df_equality(
                due_by_changes(touched, news, wanted).select("user_id", "bucket", "reason"),
                truth,
                ignore_row_order=True,
                ignore_nullable=True,
            )
