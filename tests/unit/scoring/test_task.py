"""What a Python worker does, without Spark: every kind of bad model, one bad row among good ones."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from scoreline.scoring import task as scoring_task
from scoreline.scoring.loaded_model import LoadedModel, _by_pandas, _from_arrow
from scoreline.scoring.task import ScoringTask, WorkerLimits, score_batch, score_batches
from scoreline.tables.schema import Keys, staged

LISTS = pa.schema([("item_ids", pa.list_(pa.int64())), ("scores", pa.list_(pa.float32()))])
STAGED = pa.schema(
    [
        ("user_id", pa.int64()),
        ("bucket", pa.int32()),
        ("history_hash", pa.int64()),
        ("outcome", pa.string()),
        ("recommendations", pa.list_(pa.struct([("item_id", pa.int64()), ("score", pa.float32())]))),
        ("source", pa.string()),
        ("seen_count", pa.int32()),
        ("forbidden_count", pa.int32()),
        ("code", pa.string()),
        ("message", pa.string()),
    ]
)


def task(**changes: Any) -> ScoringTask:
    given: dict[str, Any] = {
        "model_path": "",
        "kind": "recommender",
        "carried": ("user_id", "bucket", "history_hash"),
        "inputs": ("item_ids",),
        "outputs": LISTS,
        "staged": STAGED,
        "params": {},
        "k": 2,
        "seen": ("item_ids",),
        "blocked": None,
        "allowed": None,
    }
    return ScoringTask(**(given | changes))


def users(histories: list[list[int] | None]) -> pa.RecordBatch:
    n = len(histories)
    return pa.RecordBatch.from_pydict(
        {
            "user_id": pa.array(range(n), pa.int64()),
            "bucket": pa.array([0] * n, pa.int32()),
            "history_hash": pa.array(range(n), pa.int64()),
            "item_ids": pa.array(histories, pa.list_(pa.int64())),
        }
    )


def engine(answer: Callable[[list[list[int]]], Any]) -> LoadedModel:
    """A model from a function of the batch's histories."""

    def call(batch: pa.RecordBatch, params: Mapping[str, Any]) -> pa.RecordBatch:
        return _from_arrow(answer(batch.column("item_ids").to_pylist()), LISTS)

    return call


def lists(ids: Any, scores: Any = None) -> pa.RecordBatch:
    scores = [[1.0] * len(row) if row is not None else None for row in ids] if scores is None else scores
    return pa.RecordBatch.from_pydict(
        {"item_ids": pa.array(ids, pa.list_(pa.int64())), "scores": pa.array(scores, pa.list_(pa.float32()))}
    )


def outcomes(scored: pa.RecordBatch) -> list[tuple[Any, ...]]:
    return [(r["user_id"], r["outcome"], r["code"]) for r in scored.to_pylist()]


def test_the_staged_schema_is_the_one_of_the_table() -> None:
    from pyspark.sql.pandas.types import to_arrow_schema

    found = to_arrow_schema(staged(Keys("long", "long")))
    assert list(zip(found.names, found.types, strict=True)) == list(zip(STAGED.names, STAGED.types, strict=True))


def test_lists_ride_beside_the_users_they_belong_to() -> None:
    scored = score_batch(task(), engine(lambda rows: lists([[100 + r[0], 7] for r in rows])), users([[1], [2], [3]]))
    assert scored.schema.equals(STAGED)
    assert [(r["user_id"], [i["item_id"] for i in r["recommendations"]]) for r in scored.to_pylist()] == [
        (0, [101, 7]),
        (1, [102, 7]),
        (2, [103, 7]),
    ]


def poison(kind: str) -> Callable[[list[list[int]]], Any]:
    """A model that goes wrong in one way on users who have seen item 666."""

    def answer(rows: list[list[int]]) -> Any:
        ids: list[Any] = [[100, 101] for _ in rows]
        scores: list[Any] = [[2.0, 1.0] for _ in rows]
        bad = [i for i, row in enumerate(rows) if 666 in row]
        if bad and kind == "raises":
            raise ZeroDivisionError("six six six")
        if bad and kind == "too few":
            return lists(ids[:-1], scores[:-1])
        if bad and kind == "too many":
            ids, scores = [*ids, [1]], [*scores, [1.0]]
        for i in bad:
            ids[i] = {"null": None, "null item": [None, 1], "twice": [5, 5], "long": [1, 2, 3]}.get(kind, ids[i])
            scores[i] = {"nan": [float("nan"), 1], "null": None, "lengths": [1.0], "long": [1, 1, 1]}.get(
                kind, scores[i]
            )
        if bad and kind == "type":
            return pa.RecordBatch.from_pydict({"item_ids": [["a"]] * len(rows), "scores": scores})
        if bad and kind == "column":
            return pa.RecordBatch.from_pydict({"items": ids})
        if bad and kind == "not arrow":
            return "lists"
        return lists(ids, scores)

    return answer


CODES = {
    "raises": "MODEL_RAISED",
    "too few": "ROW_COUNT",
    "too many": "ROW_COUNT",
    "null": "NULL_OUTPUT",
    "null item": "NULL_OUTPUT",
    "nan": "NOT_FINITE",
    "twice": "DUPLICATE_ITEM",
    "lengths": "LENGTHS_DIFFER",
    "long": "TOO_MANY_ITEMS",
    "type": "WRONG_TYPE",
    "column": "MISSING_OUTPUT",
    "not arrow": "WRONG_TYPE",
}


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("bad", [{0}, {4}, {1, 2, 9}, set(range(10))])
def test_only_the_users_that_cause_it_fail(kind: str, bad: set[int]) -> None:
    histories: list[list[int] | None] = [[666] if i in bad else [i] for i in range(10)]
    scored = score_batch(task(), engine(poison(kind)), users(histories))
    expected = [(i, "failed", CODES[kind]) if i in bad else (i, "scored", None) for i in range(10)]
    assert outcomes(scored) == expected
    assert all(r["message"] for r in scored.to_pylist() if r["outcome"] == "failed")


def test_seen_and_forbidden_items_are_counted() -> None:
    rules = {"blocked": pa.array([50]), "allowed": pa.array([1, 2, 50])}
    scored = score_batch(task(**rules), engine(lambda rows: lists([[1, 50], [9, 2]])), users([[1], [7]]))
    assert [(r["seen_count"], r["forbidden_count"]) for r in scored.to_pylist()] == [(1, 1), (0, 1)]


BEYOND = {"seen": ("item_ids", "older_item_ids")}


def with_older(batch: pa.RecordBatch, older: list[list[int] | None]) -> pa.RecordBatch:
    return batch.append_column("older_item_ids", pa.array(older, pa.list_(pa.int64())))


def test_what_was_seen_is_counted_whatever_the_model_takes() -> None:
    """The column that the model gets says nothing of what it must not recommend."""
    scored = score_batch(
        task(**BEYOND, inputs=("user_id",)),
        lambda batch, params: _from_arrow(lists([[1, 9]] * batch.num_rows), LISTS),
        with_older(users([[1, 9], [1], [], None]), [None] * 4),
    )
    assert [r["seen_count"] for r in scored.to_pylist()] == [2, 1, 0, 0]


@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_model_that_is_not_told_of_older_items_is_asked_for_more(k: int) -> None:
    """It ranks 30 items and leaves out those of the history that it is shown; nobody else is asked again."""
    dice = np.random.default_rng(k)
    seen = [dice.permutation(30)[: dice.integers(0, 30)].tolist() for _ in range(40)]
    shown = [items[-3:] for items in seen]
    older = [sorted(items[:-3]) or None for items in seen]
    calls: list[tuple[int, int]] = []

    def call(batch: pa.RecordBatch, params: Mapping[str, Any]) -> pa.RecordBatch:
        calls.append((batch.num_rows, params["k"]))
        best = [[i for i in range(30) if i not in row][: params["k"]] for row in batch.column("item_ids").to_pylist()]
        return lists(best, [[1.0 - i / 100 for i in row] for row in best])

    told = with_older(users(shown), older)
    scored = score_batch(task(**BEYOND, k=k, params={"k": k}), call, told).to_pylist()
    assert [r["outcome"] for r in scored] == ["scored"] * 40
    found = [[i["item_id"] for i in r["recommendations"]] for r in scored]
    assert found == [[i for i in range(30) if i not in items][:k] for items in seen]
    scores = [i["score"] for r in scored for i in r["recommendations"]]
    assert scores == pytest.approx([1.0 - i / 100 for row in found for i in row])
    assert calls[0] == (40, k)
    assert all(rows < 40 for rows, _ in calls[1:])
    assert len(calls) < 6


def test_a_model_that_takes_no_k_gives_shorter_lists_without_older_items() -> None:
    told = with_older(users([[1], [2]]), [[7, 8], None])
    scored = score_batch(task(**BEYOND), engine(lambda rows: lists([[7, 9], [7, 9]])), told).to_pylist()
    assert [[i["item_id"] for i in r["recommendations"]] for r in scored] == [[9], [7, 9]]


def test_a_model_that_fails_for_everybody_is_not_called_twice_per_user() -> None:
    """Once more users have failed than the run may have, what fails is not looked into any further."""
    calls = []

    def answer(rows: list[list[int]]) -> Any:
        calls.append(len(rows))
        raise ZeroDivisionError

    guarded = task(guard=WorkerLimits(failures=3))
    scored = score_batch(guarded, engine(answer), users([[i] for i in range(1000)]))
    codes = [code for _, _, code in outcomes(scored)]
    assert codes.count("MODEL_RAISED") + codes.count("NOT_TRIED") == 1000
    assert 4 <= codes.count("MODEL_RAISED") < 10
    assert len(calls) < 30


class Tabular:
    """A stand-in for a loaded pyfunc: gives back what it was made with."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def predict(self, rows: pd.DataFrame, params: Any = None) -> Any:
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [
        np.array([0.25, 0.5]),
        np.array([[0.25], [0.5]]),
        pd.Series([0.25, 0.5], index=[7, 3]),
        pd.DataFrame({"p": [0.25, 0.5]}),
        pd.DataFrame({"anything": [0.25, 0.5]}),
        [0.25, 0.5],
        {"p": [0.25, 0.5]},
    ],
)
def test_each_shape_a_pyfunc_may_return_becomes_columns(answer: Any) -> None:
    outputs = pa.schema([("p", pa.float64())])
    batch = pa.RecordBatch.from_pydict({"x": [1, 2]})
    assert _by_pandas(Tabular(answer), batch, {}, outputs).to_pydict() == {"p": [0.25, 0.5]}


@pytest.mark.parametrize("threads", [1, 2])
def test_blas_has_the_threads_of_the_task_whoever_used_the_process_before(
    threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[int] = []

    def answer(histories: list[list[int]]) -> pa.RecordBatch:
        found.extend(pool["num_threads"] for pool in threadpool_info())
        return lists([[7]] * len(histories))

    loaded = engine(answer)
    monkeypatch.setattr(scoring_task, "load_model", lambda *_, **__: loaded)  # as one that the process has already
    with threadpool_limits(3 - threads):
        list(score_batches(task(threads=threads), iter([users([[1]])])))
    assert set(found) == {threads}
