"""Whatever is posted, the answer is a decision; what the model cannot know is reviewed."""

import json
import math
import sqlite3
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from online.conftest import TODAY, World
from scoreline_fraud.demo import posted
from scoreline_fraud.features.windows import training_matrix
from scoreline_fraud.serving.features import Floats
from scoreline_fraud.serving.scorer import Scorer
from scoreline_fraud.serving.shadow import Challenger
from scoreline_fraud.serving.snapshot import SnapshotSource

Payment = Callable[..., dict[str, Any]]
Build = Callable[..., Scorer]


class Constant:
    """A kernel that always says the same, or raises."""

    def __init__(self, score: float | Exception) -> None:
        self.score = score

    def probabilities(self, features: Floats) -> Floats:
        if isinstance(self.score, Exception):
            raise self.score
        return np.full(len(features), self.score)

    def save(self, folder: Path) -> Path:
        raise NotImplementedError


def test_a_fine_payment_is_scored(scorer: Build, payment: Payment) -> None:
    (answer,) = scorer().answers([payment()])
    assert list(answer) == [
        "transaction_id",
        "fraud_probability",
        "decision",
        "reasons",
        "model_version",
        "features_as_of",
    ]
    assert answer["transaction_id"] == "t-1"
    assert answer["fraud_probability"] is not None
    assert (answer["model_version"], answer["features_as_of"]) == ("m/1", TODAY.isoformat())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"card_id": "nobody"}, "unknown_card"),
        ({"terminal_id": "nowhere"}, "unknown_terminal"),
        ({"amount": 0}, "amount_zero"),
        ({"amount": 20_001}, "amount_above_limit"),
        ({"occurred_at": "2026-03-11T13:00:00Z"}, "features_stale"),
        ({"occurred_at": "2026-03-08T13:00:00Z"}, "features_from_later"),
        ({"amount": None}, "invalid:amount"),
    ],
)
def test_what_the_model_cannot_judge_is_reviewed(
    scorer: Build, payment: Payment, changes: dict[str, Any], reason: str
) -> None:
    (answer,) = scorer(kernel=Constant(0.0)).answers([payment(**changes)])
    assert (answer["decision"], answer["reasons"], answer["fraud_probability"]) == ("review", [reason], None)


def test_all_objections_are_given(scorer: Build, payment: Payment) -> None:
    (answer,) = scorer().answers([payment(card_id="nobody", terminal_id="nowhere")])
    assert answer["reasons"] == ["unknown_card", "unknown_terminal"]


@pytest.mark.parametrize("score", [math.nan, math.inf, -1.0, 2.0])
def test_a_broken_score_is_reviewed_and_stays_json(scorer: Build, payment: Payment, score: float) -> None:
    (answer,) = scorer(kernel=Constant(score)).answers([payment()])
    assert answer["decision"] == "review"
    json.dumps(answer, allow_nan=False)


def test_a_bug_is_a_review_and_not_a_stack_trace(
    scorer: Build, payment: Payment, caplog: pytest.LogCaptureFixture
) -> None:
    kernel = Constant(ZeroDivisionError("card 4111111111111111"))
    (answer,) = scorer(kernel=kernel).answers([payment()])
    assert (answer["decision"], answer["reasons"]) == ("review", ["internal_error"])
    assert "ZeroDivisionError" in caplog.text
    assert "4111" not in caplog.text


def test_without_a_snapshot_everything_is_reviewed(scorer: Build, payment: Payment, tmp_path: Path) -> None:
    for source in (None, SnapshotSource(tmp_path / "none.sqlite")):
        (answer,) = scorer(source=source).answers([payment()])
        assert (answer["decision"], answer["reasons"]) == ("review", ["features_missing"])


def test_a_snapshot_that_breaks_while_it_is_read_is_a_review(scorer: Build, payment: Payment, world: World) -> None:
    source = SnapshotSource(world.snapshot, recheck_s=1000)
    snapshot = source.current()
    assert snapshot is not None
    snapshot._mine.connection.close()
    snapshot._mine.connection = sqlite3.connect(":memory:")
    (answer,) = scorer(source=source).answers([payment()])
    assert (answer["decision"], answer["reasons"]) == ("review", ["internal_error"])


def test_one_bad_row_does_not_harm_the_others(scorer: Build, payment: Payment) -> None:
    rows = [
        payment(transaction_id="a"),
        "nonsense",
        payment(transaction_id="b", amount="x"),
        payment(transaction_id="d"),
    ]
    answers = scorer(kernel=Constant(0.0)).answers(rows)
    assert [(answer["transaction_id"], answer["decision"]) for answer in answers] == [
        ("a", "allow"), (None, "review"), ("b", "review"), ("d", "allow"),
    ]  # fmt: skip


def test_too_many_rows_are_not_scored(scorer: Build, payment: Payment) -> None:
    answers = scorer({"limits": {"max_rows": 2, "max_clock_difference_s": None}}).answers([payment()] * 3)
    assert {answer["reasons"][0] for answer in answers} == {"too_many_rows"}
    assert {answer["decision"] for answer in answers} == {"review"}


def test_no_rows_are_no_answers(scorer: Build) -> None:
    assert scorer().answers([]) == []


@pytest.mark.parametrize(("offset_s", "decision"), [(0, "allow"), (899, "allow"), (901, "review"), (-901, "review")])
def test_a_payment_far_from_the_servers_clock_is_reviewed(
    scorer: Build, payment: Payment, offset_s: float, decision: str
) -> None:
    now = (TODAY.timestamp() + 12 * 3600) + offset_s
    judge = scorer({"limits": {"max_clock_difference_s": 900}}, kernel=Constant(0.0), clock=lambda: now)
    (answer,) = judge.answers([payment()])
    assert answer["decision"] == decision


def test_rules_change_decisions_without_retraining(scorer: Build, payment: Payment) -> None:
    strict = {"decisions": {"bands": [{"review": 0.0, "deny": 0.0}]}, "limits": {"max_clock_difference_s": None}}
    (answer,) = scorer(strict).answers([payment()])
    assert (answer["decision"], answer["reasons"]) == ("deny", ["score_deny"])


def test_served_scores_are_those_of_training(scorer: Build, world: World) -> None:
    rows = world.rows[world.rows["occurred_at"] >= TODAY].head(60)
    answers = scorer().answers(posted(world.log, rows))
    expected = world.estimator.predict_proba(training_matrix(world.log, rows))[:, 1]
    known = [index for index, answer in enumerate(answers) if answer["fraud_probability"] is not None]
    assert len(known) > 50
    found = [answers[index]["fraud_probability"] for index in known]
    np.testing.assert_allclose(found, expected[known], atol=1e-5)  # type: ignore[arg-type]


def test_a_challenger_is_written_down_and_never_returned(scorer: Build, payment: Payment, tmp_path: Path) -> None:
    log = tmp_path / "shadow.jsonl"
    rules = scorer().rules.decisions
    challenger = Challenger(Constant(0.97), version="m/2", bands=rules, log=log, size=10)
    (answer,) = scorer(kernel=Constant(0.01), shadow=challenger).answers([payment()])
    challenger.drain()
    line = json.loads(log.read_text())
    assert (answer["decision"], answer["fraud_probability"]) == ("allow", 0.01)
    assert (line["challenger"]["decision"], line["challenger"]["model_version"]) == ("deny", "m/2")
    assert line["champion"]["decision"] == "allow"


def test_a_broken_or_slow_challenger_does_not_matter(scorer: Build, payment: Payment, tmp_path: Path) -> None:
    outcomes: list[str] = []
    rules = scorer().rules.decisions
    broken = Challenger(
        Constant(ValueError()), version="m/2", bands=rules, log=tmp_path / "a", size=2, count=outcomes.append
    )
    judge = scorer(kernel=Constant(0.01), shadow=broken)
    decisions = {judge.answers([payment()])[0]["decision"] for _ in range(50)}
    broken.drain()
    assert decisions == {"allow"}
    assert "failed" in outcomes
    assert len(outcomes) == 50


def test_an_observer_that_raises_changes_no_answer(scorer: Build, payment: Payment) -> None:
    def fails(*_: object) -> None:
        raise ZeroDivisionError

    watched = replace(scorer(), observers=(fails,))
    assert watched.answers([payment()]) == scorer().answers([payment()])
