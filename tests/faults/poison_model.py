"""A recommender that goes wrong, in the way an item says, for users who have seen that item. Logged as code."""

import ctypes
import os
import time
from typing import Any

import mlflow
import pandas as pd

# what the item in a history does to the model, and the code its user has to end with
KINDS = {
    9001: ("raises", "MODEL_RAISED"),
    9002: ("NaN", "NULL_OUTPUT"),  # pandas has one word for both
    9013: ("infinite", "NOT_FINITE"),
    9003: ("null", "NULL_OUTPUT"),
    9004: ("too few rows", "ROW_COUNT"),
    9005: ("too many rows", "ROW_COUNT"),
    9006: ("an item twice", "DUPLICATE_ITEM"),
    9007: ("wrong type", "WRONG_TYPE"),
    9008: ("hangs", "MODEL_HANGS"),
    9009: ("crashes", "MODEL_CRASHED"),
    9010: ("exits", "MODEL_EXITED"),
    9011: ("sys.exit", "MODEL_EXITED"),
    9012: ("eats all memory", "OUT_OF_MEMORY"),
}
GOOD = [101, 102, 103]


class Poisoned(mlflow.pyfunc.PythonModel):
    def predict(self, context: Any, model_input: pd.DataFrame, params: Any = None) -> Any:
        seen = [set(map(int, items)) for items in model_input["item_ids"]]
        if any(9100 in items for items in seen):
            time.sleep(1)  # slow, so that there is time to be killed
        harm = {KINDS[item][0] for items in seen for item in items if item in KINDS}
        _harm_the_process(harm)
        rows = [_list(items) for items in seen]
        answer = pd.DataFrame({"item_ids": [r[0] for r in rows], "scores": [r[1] for r in rows]})
        if "too few rows" in harm:
            return answer.iloc[:-1]
        if "too many rows" in harm:
            return pd.concat([answer, answer.iloc[:1]])
        return answer


def _harm_the_process(harm: set[str]) -> None:
    if "raises" in harm:
        raise ZeroDivisionError("nine thousand and one; postgresql://app:hush@db/x")
    if "crashes" in harm:
        ctypes.string_at(0)
    if "exits" in harm:
        os._exit(0)
    if "sys.exit" in harm:
        raise SystemExit(3)
    if "hangs" in harm:
        time.sleep(3600)
    if "eats all memory" in harm:
        held = []
        while True:
            held.append(bytearray(1 << 28))


def _list(items: set[int]) -> tuple[Any, Any]:
    ids: Any = list(GOOD)
    scores: Any = [3.0, 2.0, 1.0]
    kinds = {KINDS[item][0] for item in items if item in KINDS}
    if "NaN" in kinds:
        scores = [float("nan"), 2.0, 1.0]
    if "infinite" in kinds:
        scores = [float("inf"), 2.0, 1.0]
    if "null" in kinds:
        ids = None
    if "an item twice" in kinds:
        ids = [101, 101, 103]
    if "wrong type" in kinds:
        ids = ["one", "two", "three"]
    return ids, scores


mlflow.models.set_model(Poisoned())
